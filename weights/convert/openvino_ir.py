"""OpenVINO IR (.xml and .bin) of convolutional networks -> ONNX.

Inputs and outputs keep their names; the batch becomes free. The file is written for a batch of 1 and its sizes are
fixed, so that a reshape's arithmetic is not translated: the batch stays outermost, the rest is what the file says.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert.graph import Graph, Shape
from weights.convert.openvino_blocks import as_matrix, bands, constant, key

WIDENING = ("Add", "Multiply", "Broadcast", "Tile")
"""Operations that widen an operand of batch 1 by themselves."""


def convert(files: Mapping[str, Path], out: Path) -> None:
    """files: one .xml and its .bin. raises: WeightsUnavailable, which names the operation that has no translation"""
    (xml,) = (path for name, path in files.items() if name.endswith(".xml"))
    (binary,) = (path for name, path in files.items() if name.endswith(".bin"))
    model = ov.Core().read_model(xml, binary)
    of = _Translation(xml.stem)
    inputs, outputs = {}, {}
    for parameter in model.inputs:
        of.translated[key(parameter)] = parameter.get_any_name()
        inputs[parameter.get_any_name()] = _free(parameter)
    for result in model.outputs:
        source = result.get_node().input_value(0)
        outputs[result.get_any_name()] = (of.tensor(source), _free(source))
    of.graph.save(inputs, outputs, out)


class _Translation:
    """One model: translates each operation when something first needs it, which leaves arithmetic with shapes out."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self.translated: dict[tuple[str, int], str] = {}

    def tensor(self, output: Any) -> str:
        """The ONNX name of an operation's output."""
        if key(output) not in self.translated:
            node = output.get_node()
            kind = node.get_type_name()
            if kind not in OPERATIONS:
                raise WeightsUnavailable(f"Expected operations among {', '.join(OPERATIONS)}; got {kind!r}.")
            made = OPERATIONS[kind](self, node)
            for index, name in enumerate([made] if isinstance(made, str) else made):
                self.translated[node.get_name(), index] = name
        return self.translated[key(output)]

    def inputs(self, node: Any) -> list[str]:
        return [self.tensor(value) for value in node.input_values()]


Made = str | list[str]


def _free(output: Any) -> Shape:
    batch, *rest = output.get_shape()
    if batch != 1:
        raise WeightsUnavailable(f"Expected {output.get_any_name()} to have a batch of 1; got {batch}.")
    return ("N", *rest)


def _value(node: Any, position: int) -> NDArray[Any]:
    value = constant(node.input_value(position))
    if value is None:
        of = f"{node.get_type_name()} {node.get_friendly_name()}"
        raise WeightsUnavailable(f"Expected input {position} of {of} to be a constant; it is computed.")
    return value


def _inner_axes(node: Any, position: int) -> list[int]:
    """Axes counted from the front, none of them the batch."""
    rank = len(node.input_value(0).get_shape())
    axes = sorted(int(axis) % rank for axis in np.ravel(_value(node, position)))
    if 0 in axes:
        raise WeightsUnavailable(f"Expected {node.get_friendly_name()} to leave the batch alone; got axes {axes}.")
    return axes


def _constant(of: _Translation, node: Any) -> Made:
    value = constant(node.output(0))
    if value is None:
        raise WeightsUnavailable(f"Expected {node.get_friendly_name()} to convert a constant; it is computed.")
    return of.graph.constant(value)


def _elementwise(op: str) -> Callable[[_Translation, Any], Made]:
    return lambda of, node: of.graph.node(op, *of.inputs(node))


def _sum(of: _Translation, node: Any) -> Made:
    found = bands(node.output(0))
    made = as_matrix(found) if found else None
    if made is None:
        return of.graph.node("Add", *of.inputs(node))
    source, matrix, side = made
    x = of.graph.convolution(of.tensor(source), matrix[:, :, None, None])
    return of.graph.node("DepthToSpace", x, blocksize=side, mode="DCR")


def _power(of: _Translation, node: Any) -> Made:
    """Squares, roots and reciprocals by name: they keep more digits in half precision than a logarithm does."""
    x = of.tensor(node.input_value(0))
    exponent = _value(node, 1)
    if exponent.size == 1 and exponent.item() == 2:
        return of.graph.node("Mul", x, x)
    if exponent.size == 1 and exponent.item() in (0.5, -1):
        return of.graph.node("Sqrt" if exponent.item() == 0.5 else "Reciprocal", x)
    return of.graph.node("Pow", x, of.graph.constant(exponent))


def _mean(of: _Translation, node: Any) -> Made:
    keep = int(node.get_attributes()["keep_dims"])
    return of.graph.node("ReduceMean", of.tensor(node.input_value(0)), axes=_inner_axes(node, 1), keepdims=keep)


def _product(of: _Translation, node: Any) -> Made:
    """With a constant matrix."""
    attributes, matrix = node.get_attributes(), _value(node, 1)
    if attributes["transpose_a"]:
        raise WeightsUnavailable(f"Expected {node.get_friendly_name()} to take its first factor as it is.")
    turned = matrix.swapaxes(-1, -2) if attributes["transpose_b"] else matrix
    return of.graph.node("MatMul", of.tensor(node.input_value(0)), of.graph.constant(turned))


def _leaky_relu(of: _Translation, node: Any) -> Made:
    x, slope = of.tensor(node.input_value(0)), _value(node, 1)
    if slope.size == 1:
        return of.graph.node("LeakyRelu", x, alpha=float(slope.item()))
    return of.graph.node("PRelu", x, of.graph.constant(slope.reshape(-1, *(1,) * (len(node.get_output_shape(0)) - 2))))


def _window(node: Any) -> dict[str, Any]:
    attributes = node.get_attributes()
    if attributes["auto_pad"] != "explicit":
        raise WeightsUnavailable(f"Expected explicit padding of {node.get_friendly_name()}; got another kind.")
    return {
        "strides": attributes["strides"],
        "dilations": attributes["dilations"],
        "pads": [*attributes["pads_begin"], *attributes["pads_end"]],
    }


def _convolution(of: _Translation, node: Any) -> Made:
    """Weights: [out, in, height, width]; of groups [group, out, in, height, width]."""
    kernel, groups = _value(node, 1), 1
    if node.get_type_name() == "GroupConvolution":
        groups = kernel.shape[0]
        kernel = kernel.reshape(-1, *kernel.shape[2:])
    return of.graph.convolution(of.tensor(node.input_value(0)), kernel, group=groups, **_window(node))


def _transposed_convolution(of: _Translation, node: Any) -> Made:
    """Weights: [group, in, out, height, width]."""
    kernel = _value(node, 1)
    return of.graph.node(
        "ConvTranspose",
        of.tensor(node.input_value(0)),
        of.graph.constant(kernel.reshape(-1, *kernel.shape[2:])),
        kernel_shape=list(kernel.shape[3:]),
        group=kernel.shape[0],
        output_padding=node.get_attributes()["output_padding"],
        **_window(node),
    )


def _reshape(of: _Translation, node: Any) -> Made:
    """The batch is outermost in memory, so it stays so in whatever is made of the inner axes."""
    shape = np.array([-1, *node.get_output_shape(0)[1:]], np.int64)
    return of.graph.node("Reshape", of.tensor(node.input_value(0)), of.graph.constant(shape))


def _for_the_batch(of: _Translation, node: Any) -> Made:
    """A repetition that for a batch of 1 repeats nothing, before what widens its operands by itself: left out."""
    users = {target.get_node().get_type_name() for target in node.output(0).get_target_inputs()}
    if node.get_output_shape(0) != node.get_input_shape(0) or not users <= set(WIDENING):
        raise WeightsUnavailable(f"Expected {node.get_friendly_name()} to repeat for a batch only; it does more.")
    return of.tensor(node.input_value(0))


def _split(of: _Translation, node: Any) -> Made:
    (axis,) = _inner_axes(node, 1)
    return of.graph.split(of.tensor(node.input_value(0)), _value(node, 2), axis)


def _squeeze(op: str) -> Callable[[_Translation, Any], Made]:
    def translate(of: _Translation, node: Any) -> Made:
        axes = of.graph.constant(np.array(_inner_axes(node, 1), np.int64))
        return of.graph.node(op, of.tensor(node.input_value(0)), axes)

    return translate


OPERATIONS: Mapping[str, Callable[[_Translation, Any], Made]] = {
    "Constant": _constant,
    "Convert": _constant,
    "Add": _sum,
    "Multiply": _elementwise("Mul"),
    "Power": _power,
    "ReduceMean": _mean,
    "MatMul": _product,
    "PRelu": _leaky_relu,
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "GroupConvolutionBackpropData": _transposed_convolution,
    "Reshape": _reshape,
    "Broadcast": _for_the_batch,
    "Tile": _for_the_batch,
    "VariadicSplit": _split,
    "Squeeze": _squeeze("Squeeze"),
}
