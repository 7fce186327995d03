"""Convolutional networks that upstream exported to ONNX for one batch and an older opset -> ours.

Tensors keep their names, the batch becomes free. Height and width become free too, except where the network resizes
to sizes that it asks of other tensors: then they stay as upstream fixed them, and each such resize gets the constant
quotient of its sizes, which takes all arithmetic with shapes out of the graph.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference, version_converter

from modiste.errors import WeightsUnavailable
from weights.convert.graph import IR_VERSION, OPSET

ALIKE = (
    *("Add", "BatchNormalization", "Concat", "Constant", "Conv", "ConvTranspose"),
    *("MaxPool", "Relu", "Resize", "Sigmoid"),
)
"""Operators that treat every picture of a batch alike, whatever their constants."""


def convert(files: Mapping[str, Path], out: Path) -> None:
    """files: one .onnx of one input. raises: WeightsUnavailable, which names an operator that may fix the batch"""
    (path,) = files.values()
    # For the sizes that upstream exported with, which the arithmetic with shapes comes to.
    model = shape_inference.infer_shapes(
        version_converter.convert_version(onnx.load(path), OPSET), strict_mode=True, data_prop=True
    )
    graph = model.graph
    constants = {constant.name for constant in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    shapes = {value.name: _sizes(value) for value in (*graph.value_info, *inputs, *graph.output)}
    nodes = [_by_quotient(graph, node, shapes) if node.op_type == "Resize" else node for node in graph.node]
    kept = _needed(nodes, {value.name for value in graph.output})
    for node in kept:
        if node.op_type not in ALIKE:
            raise WeightsUnavailable(f"Expected operators among {', '.join(ALIKE)}; got {node.op_type!r}.")
    resized = any(node.op_type == "Resize" for node in kept)
    for value in (*inputs, *graph.output):
        _free(value, () if resized else ("H", "W") if value in inputs else ("H_out", "W_out"))
    used = {name for node in kept for name in node.input}
    held = [constant for constant in graph.initializer if constant.name in used]
    for field, values in (("node", kept), ("input", inputs), ("initializer", held), ("value_info", [])):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(out))


def _sizes(value: Any) -> list[int]:
    return [size.dim_value for size in value.type.tensor_type.shape.dim]


def _free(value: Any, sides: tuple[str, ...]) -> None:
    """Names for the batch and, where given, for height and width of [N, C, H, W]."""
    sizes = value.type.tensor_type.shape.dim
    for size, name in ((sizes[0], "N"), *zip(sizes[2:], sides, strict=False)):
        size.dim_param = name


def _by_quotient(graph: Any, node: Any, shapes: Mapping[str, list[int]]) -> Any:
    """The Resize with constant scales, which become one of the graph's constants."""
    before, after = shapes[node.input[0]], shapes[node.output[0]]
    if any(made % size for made, size in zip(after, before, strict=True)):
        raise WeightsUnavailable(f"Expected Resize {node.output[0]} to a multiple; got {before} to {after}.")
    quotients = np.array([made // size for made, size in zip(after, before, strict=True)], np.float32)
    name = f"{node.output[0]}_scales"
    graph.initializer.append(numpy_helper.from_array(quotients, name))
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.ClearField("input")
    made.input.extend([node.input[0], "", name])
    return made


def _needed(nodes: list[Any], names: set[str]) -> list[Any]:
    """The nodes that something needs for the given tensors, in their order."""
    found: list[Any] = []
    wanted = set(names)
    for node in reversed(nodes):
        if wanted & set(node.output):
            found.append(node)
            wanted |= set(node.input)
    return found[::-1]
