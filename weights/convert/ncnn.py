"""ncnn models of plain convolutional networks (`.param` text and `.bin`) -> ONNX.

Input "image" [N, C, H, W] float32, output "output" [N, C', H', W'] float32; height and width stay free.
For realesrgan-x4plus (Wang et al., "Real-ESRGAN", ICCVW 2021, arXiv:2107.10833) both
are RGB in 0..1, and the output is four times as high and wide.
"""

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert.graph import Graph

MAGIC = "7767517"
FLOAT16 = 0x01306B47
FLOAT32 = 0
ARRAY = -23300  # a key k of an array is written as ARRAY - k

Parameters = Mapping[int, float | tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Parameters

    def integer(self, key: int, default: int = 0) -> int:
        value = self.parameters.get(key, default)
        if isinstance(value, tuple):
            raise WeightsUnavailable(f"Expected a number as parameter {key} of {self.name}; got an array.")
        return int(value)

    def array(self, key: int) -> tuple[float, ...]:
        value = self.parameters.get(key, ())
        if not isinstance(value, tuple):
            raise WeightsUnavailable(f"Expected an array as parameter {key} of {self.name}; got a number.")
        return value


def convert(files: Mapping[str, Path], out: Path) -> None:
    """files: one .param and one .bin."""
    (param,) = (path for name, path in files.items() if name.endswith(".param"))
    (binary,) = (path for name, path in files.items() if name.endswith(".bin"))
    layers = read_param(param.read_text())
    graph, weights = Graph(param.stem), io.BytesIO(binary.read_bytes())
    blobs: dict[str, str] = {}
    channels: int | None = None
    for layer in layers:
        if layer.kind not in LAYERS:
            raise WeightsUnavailable(f"Expected layers among {', '.join(LAYERS)}; got {layer.kind!r}.")
        if layer.kind == "Convolution" and channels is None:
            kernel = layer.integer(1) * layer.integer(11, layer.integer(1))
            channels = layer.integer(6) // (layer.integer(0) * kernel)
        result = LAYERS[layer.kind](graph, layer, [blobs[name] for name in layer.inputs], weights)
        blobs |= dict.fromkeys(layer.outputs, result)
    if rest := weights.read():
        raise WeightsUnavailable(f"Expected {binary.name} to end with the last layer; {len(rest)} bytes are left.")
    shape = ("N", "C_out", "H_out", "W_out")
    last = blobs[layers[-1].outputs[0]]
    graph.save({"image": ("N", channels or "C", "H", "W")}, {"output": (last, shape)}, out)


def read_param(text: str) -> list[Layer]:
    """One layer a line: kind, name, counts, the input blobs, the output blobs, then key=value parameters."""
    lines = text.split("\n")
    if lines[0].strip() != MAGIC:
        raise WeightsUnavailable(f"Expected an ncnn param file, which begins with {MAGIC}; got {lines[0][:20]!r}.")
    layers = []
    for line in filter(str.strip, lines[2:]):
        kind, name, consumed, produced, *rest = line.split()
        inputs, outputs = int(consumed), int(produced)
        layers.append(
            Layer(
                kind=kind,
                name=name,
                inputs=tuple(rest[:inputs]),
                outputs=tuple(rest[inputs : inputs + outputs]),
                parameters=dict(_parameter(word) for word in rest[inputs + outputs :]),
            )
        )
    return layers


def _parameter(word: str) -> tuple[int, float | tuple[float, ...]]:
    key, value = word.split("=")
    if int(key) > ARRAY:
        return int(key), float(value)
    count, *values = value.split(",")
    if int(count) != len(values):
        raise WeightsUnavailable(f"Expected {count} values in an ncnn array; got {len(values)}.")
    return ARRAY - int(key), tuple(map(float, values))


def _take(weights: io.BytesIO, dtype: str, count: int) -> NDArray[np.float32]:
    size = count * np.dtype(dtype).itemsize
    chunk = weights.read(size)
    if len(chunk) != size:
        raise WeightsUnavailable(f"Expected {size} more bytes of ncnn weights; got {len(chunk)}.")
    return np.frombuffer(chunk, dtype).astype(np.float32)


def _input(_graph: Graph, _layer: Layer, _inputs: list[str], _weights: io.BytesIO) -> str:
    return "image"


def _convolution(graph: Graph, layer: Layer, inputs: list[str], weights: io.BytesIO) -> str:
    """Parameters (x and y apart where there are two): 0 filters, 1 and 11 kernel, 2 and 12 dilation,
    3 and 13 stride, 4 and 14 padding, 5 bias or not, 6 count of weights, 9 activation, 10 its constants.

    Weights: a tag; [out, in, height, width] in float16 (filled up to 4 bytes) or float32; biases in float32.
    """
    filters, count = layer.integer(0), layer.integer(6)
    width, height = layer.integer(1), layer.integer(11, layer.integer(1))
    (tag,) = struct.unpack("<I", weights.read(4))
    if tag not in (FLOAT16, FLOAT32):
        raise WeightsUnavailable(f"Expected float16 or float32 weights in {layer.name}; got tag {tag:#x}.")
    kernel = _take(weights, "<f2" if tag == FLOAT16 else "<f4", count).reshape(filters, -1, height, width)
    if tag == FLOAT16 and count % 2:
        weights.read(2)
    bias = _take(weights, "<f4", filters) if layer.integer(5) else None
    pad_x, pad_y = layer.integer(4), layer.integer(14, layer.integer(4))
    x = graph.convolution(
        inputs[0],
        kernel,
        bias,
        dilations=[layer.integer(12, layer.integer(2, 1)), layer.integer(2, 1)],
        strides=[layer.integer(13, layer.integer(3, 1)), layer.integer(3, 1)],
        pads=[pad_y, pad_x, pad_y, pad_x],
    )
    activation = layer.integer(9)
    if activation == 0:
        return x
    if activation == 1:
        return graph.node("Relu", x)
    if activation == 2:
        return graph.node("LeakyRelu", x, alpha=layer.array(10)[0])
    raise WeightsUnavailable(f"Expected no activation, ReLU or leaky ReLU in {layer.name}; got {activation}.")


def _split(_graph: Graph, _layer: Layer, inputs: list[str], _weights: io.BytesIO) -> str:
    return inputs[0]


def _concatenate(graph: Graph, layer: Layer, inputs: list[str], _weights: io.BytesIO) -> str:
    return graph.node("Concat", *inputs, axis=layer.integer(0) + 1)  # ncnn does not count the batch


def _eltwise(graph: Graph, layer: Layer, inputs: list[str], _weights: io.BytesIO) -> str:
    """A weighted sum."""
    if layer.integer(0) != 1:
        raise WeightsUnavailable(f"Expected a sum in {layer.name}; got operation {layer.integer(0)}.")
    factors = layer.array(1) or (1.0,) * len(inputs)
    terms = [
        x if factor == 1 else graph.node("Mul", x, graph.constant(np.array(factor, np.float32)))
        for x, factor in zip(inputs, factors, strict=True)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = graph.node("Add", total, term)
    return total


def _binary(graph: Graph, layer: Layer, inputs: list[str], _weights: io.BytesIO) -> str:
    if layer.integer(0) != 0 or len(inputs) != 2:
        raise WeightsUnavailable(f"Expected an addition of two in {layer.name}; got {layer.integer(0)}.")
    return graph.node("Add", *inputs)


def _resize(graph: Graph, layer: Layer, inputs: list[str], _weights: io.BytesIO) -> str:
    if layer.integer(0) != 1:
        raise WeightsUnavailable(f"Expected nearest-neighbour resizing in {layer.name}; got {layer.integer(0)}.")
    scales = np.array([1, 1, layer.parameters[1], layer.parameters[2]], np.float32)
    return graph.node(
        "Resize",
        inputs[0],
        "",
        graph.constant(scales),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


LAYERS: Mapping[str, Callable[[Graph, Layer, list[str], io.BytesIO], str]] = {
    "Input": _input,
    "Convolution": _convolution,
    "Split": _split,
    "Concat": _concatenate,
    "Eltwise": _eltwise,
    "BinaryOp": _binary,
    "Interp": _resize,
}
