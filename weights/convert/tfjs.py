"""TensorFlow.js graph models of convolutional networks -> ONNX.

In:  the model's one placeholder, channels last.
Out: input "image" [N, C, H, W] float32, output "logits" [N, classes, H, W] float32. Height and width stay
     free where they were. A closing Softmax, ArgMax or Squeeze is left out: it belongs to post-processing.
TensorFlow's SAME padding (more at the bottom and the right) becomes auto_pad SAME_UPPER, the same rule.
"""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert.graph import Graph
from weights.convert.tfjs_weights import read_weights

Node = Mapping[str, Any]
CLOSING = ("Softmax", "ArgMax", "Squeeze", "Identity")
TO_CHANNELS_FIRST = (0, 2, 3, 1)  # the position of each channels-last axis in a channels-first tensor


def convert(files: Mapping[str, Path], out: Path) -> None:
    """files: model.json and the shards it names."""
    model = json.loads(files["model.json"].read_text())
    translation = _Translation(model["modelTopology"]["node"], read_weights(model["weightsManifest"], files))
    translation.save(out)


class _Translation:
    """One model: translates each node when something first needs it."""

    def __init__(self, nodes: list[Node], weights: Mapping[str, NDArray[Any]]) -> None:
        self.graph = Graph("tfjs")
        self.nodes = {node["name"]: node for node in nodes}
        self.weights = weights
        self.translated: dict[str, str] = {}

    def save(self, out: Path) -> None:
        (placeholder,) = (node for node in self.nodes.values() if node["op"] == "Placeholder")
        sizes = [int(dim["size"]) for dim in placeholder["attr"]["shape"]["shape"]["dim"]]
        height, width = (size if size > 0 else name for size, name in zip(sizes[1:3], "HW", strict=True))
        self.translated[placeholder["name"]] = "image"
        last = self._last()
        logits = self.tensor(last["name"])
        inputs = {"image": ("N", sizes[3], height, width)}
        self.graph.save(inputs, {"logits": (logits, ("N", "C", "H_out", "W_out"))}, out)

    def tensor(self, name: str) -> str:
        """The ONNX name of a node's output."""
        name = name.removeprefix("^").split(":")[0]
        if name not in self.translated:
            node = self.nodes[name]
            if node["op"] not in OPERATIONS:
                raise WeightsUnavailable(f"Expected operations among {', '.join(OPERATIONS)}; got {node['op']!r}.")
            self.translated[name] = OPERATIONS[node["op"]](self, node)
        return self.translated[name]

    def activation(self, node: Node, index: int) -> str:
        """An operand of an element-wise node; a constant is turned channels first so that it broadcasts."""
        name = node["input"][index]
        value = self.weights.get(name)
        if value is None or value.ndim == 0 or not np.issubdtype(value.dtype, np.floating):
            return self.tensor(name)
        widened = value.reshape((1,) * (4 - value.ndim) + value.shape)
        return self.graph.constant(widened.transpose(0, 3, 1, 2))

    def _last(self) -> Node:
        used = {name for node in self.nodes.values() for name in node.get("input", ())}
        (node,) = (node for node in self.nodes.values() if node["name"] not in used)
        while node["op"] in CLOSING:
            node = self.nodes[node["input"][0]]
        return node


def _spatial(node: Node, key: str) -> list[int]:
    """Height and width of a [1, height, width, 1] attribute."""
    return [int(value) for value in node["attr"][key]["list"]["i"][1:3]]


def _padding(node: Node) -> str:
    text = base64.b64decode(node["attr"]["padding"]["s"]).decode()
    if text not in ("SAME", "VALID"):
        raise WeightsUnavailable(f"Expected SAME or VALID padding; got {text!r}.")
    return {"SAME": "SAME_UPPER", "VALID": "VALID"}[text]


def _placeholder(_of: _Translation, node: Node) -> str:
    raise WeightsUnavailable(f"Expected one placeholder; got a second one, {node['name']}.")


def _constant(of: _Translation, node: Node) -> str:
    value = of.weights[node["name"]]
    # ONNX wants its shape arithmetic in int64.
    return of.graph.constant(value.astype(np.int64) if value.dtype == np.int32 else value)


def _convolution(of: _Translation, node: Node) -> str:
    """Convolution, then `fused_ops` in their order; weights come as [height, width, in, out]."""
    kernel = of.weights[node["input"][1]]
    depthwise = "Depthwise" in node["op"]
    if depthwise:
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.reshape(height, width, 1, channels * multiplier)
    x = of.graph.convolution(
        of.tensor(node["input"][0]),
        kernel.transpose(3, 2, 0, 1),
        group=channels if depthwise else 1,
        strides=_spatial(node, "strides"),
        dilations=_spatial(node, "dilations"),
        auto_pad=_padding(node),
    )
    operand = 2
    for fused in node["attr"].get("fused_ops", {}).get("list", {}).get("s", ()):
        name = base64.b64decode(fused).decode()
        if name == "BiasAdd":
            x, operand = of.graph.node("Add", x, of.activation(node, operand)), operand + 1
        elif name == "Prelu":
            x, operand = of.graph.node("PRelu", x, of.activation(node, operand)), operand + 1
        elif name == "Relu":
            x = of.graph.node("Relu", x)
        elif name == "Relu6":
            x = of.graph.relu6(x)
        else:
            raise WeightsUnavailable(f"Expected BiasAdd, Prelu, Relu or Relu6 after a convolution; got {name!r}.")
    return x


def _elementwise(op: str) -> Callable[[_Translation, Node], str]:
    def translate(of: _Translation, node: Node) -> str:
        return of.graph.node(op, *(of.activation(node, i) for i in range(len(node["input"]))))

    return translate


def _pool(op: str, **attributes: Any) -> Callable[[_Translation, Node], str]:
    def translate(of: _Translation, node: Node) -> str:
        return of.graph.node(
            op,
            of.tensor(node["input"][0]),
            kernel_shape=_spatial(node, "ksize"),
            strides=_spatial(node, "strides"),
            auto_pad=_padding(node),
            **attributes,
        )

    return translate


def _mean(of: _Translation, node: Node) -> str:
    if not node["attr"]["keep_dims"]["b"]:
        raise WeightsUnavailable(f"Expected a mean that keeps its dimensions; got {node['name']}.")
    axes = sorted(TO_CHANNELS_FIRST[axis] for axis in np.ravel(of.weights[node["input"][1]]))
    return of.graph.node("ReduceMean", of.tensor(node["input"][0]), axes=axes, keepdims=1)


def _concatenate(of: _Translation, node: Node) -> str:
    *parts, axis = node["input"]
    return of.graph.node("Concat", *map(of.tensor, parts), axis=TO_CHANNELS_FIRST[int(of.weights[axis].item())])


def _shape(of: _Translation, node: Node) -> str:
    """[N, H, W, C], as the arithmetic that follows expects."""
    order = of.graph.constant(np.array([0, 2, 3, 1], np.int64))
    return of.graph.node("Gather", of.graph.node("Shape", of.tensor(node["input"][0])), order, axis=0)


def _slice(of: _Translation, node: Node) -> str:
    """Of a shape vector only."""
    masks = {key: int(node["attr"][f"{key}_mask"]["i"]) for key in ("begin", "end", "ellipsis", "new_axis")}
    if any(masks.values()):
        raise WeightsUnavailable(f"Expected a plain slice of a shape; got masks {masks}.")
    x, start, stop, step = map(of.tensor, node["input"])
    axes = of.graph.constant(np.array([0], np.int64))
    part = of.graph.node("Slice", x, start, stop, axes, step)
    shrink = int(node["attr"]["shrink_axis_mask"]["i"])
    return of.graph.node("Squeeze", part, axes) if shrink else part


def _pack(of: _Translation, node: Node) -> str:
    axis = of.graph.constant(np.array([0], np.int64))
    parts = [of.graph.node("Unsqueeze", of.tensor(name), axis) for name in node["input"]]
    return of.graph.node("Concat", *parts, axis=0)


def _resize(of: _Translation, node: Node) -> str:
    x, size = of.tensor(node["input"][0]), of.tensor(node["input"][1])
    half_pixel = node["attr"].get("half_pixel_centers", {}).get("b", False)
    corners = node["attr"].get("align_corners", {}).get("b", False)
    mode = "half_pixel" if half_pixel else "align_corners" if corners else "asymmetric"
    front = of.graph.constant(np.array([0, 1], np.int64))
    batch_and_channels = of.graph.node("Gather", of.graph.node("Shape", x), front, axis=0)
    sizes = of.graph.node("Concat", batch_and_channels, size, axis=0)
    return of.graph.node("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode=mode)


OPERATIONS: Mapping[str, Callable[[_Translation, Node], str]] = {
    "Placeholder": _placeholder,
    "Const": _constant,
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "Add": _elementwise("Add"),
    "AddV2": _elementwise("Add"),
    "Mul": _elementwise("Mul"),
    "Relu": _elementwise("Relu"),
    "Sigmoid": _elementwise("Sigmoid"),
    "MaxPool": _pool("MaxPool"),
    "AvgPool": _pool("AveragePool", count_include_pad=0),
    "Mean": _mean,
    "ConcatV2": _concatenate,
    "Shape": _shape,
    "StridedSlice": _slice,
    "Pack": _pack,
    "ResizeBilinear": _resize,
}
