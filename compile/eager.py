"""Any ONNX graph of ours as a torch module, op by op: for GPUs without TensorRT, and to measure engines against.

The graph becomes a `torch.fx.GraphModule`, which is plain Python once it is made: it runs on any device, in any float
type and batch, can be captured in a CUDA graph, and exported.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch.fx import Graph, GraphModule

from compile.torch_ops import OPS
from modiste.spec import EngineSpec

FACTORS = ("Add", "Sub", "Mul", "Div")
"""Ops whose constant may be a number, which has no float type of its own."""
NUMBERS = {"Clip": (1, 2), "Resize": (2,), "Pad": (2,)}
"""Inputs that are float numbers of an op, not tensors: by op type, their places."""


def graph_module(spec: EngineSpec, path: Path) -> GraphModule:
    """The graph in evaluation mode, on the CPU, in float32. Takes the spec's inputs and returns a tuple of its outputs,
    both in the spec's order; the batch is as free as it is in the graph.

    Float constants are its buffers. Whole numbers, and all that is computed from sizes, stay Python numbers.

    raises: ValueError for an op, or a form of one, that has no torch function here
    """
    proto = onnx.load(path).graph
    unknown = sorted({node.op_type for node in proto.node} - {*OPS, "Constant"})
    if unknown:
        raise ValueError(f"expected ops of {sorted(OPS)}, got {unknown} in {spec.weights}")
    holder, graph = torch.nn.Module(), Graph()
    arrays = dict(_constants(proto))
    values: dict[str, Any] = {tensor.name: graph.placeholder(f"input_{i}") for i, tensor in enumerate(spec.inputs)}

    def constant(name: str, op: str, place: int) -> Any:
        array = arrays[name]
        numeric = array.dtype.kind != "f" or place in NUMBERS.get(op, ())
        if numeric or (op in FACTORS and array.size == 1 and array.ndim <= 1):
            return _numbers(array)
        if name not in values:
            buffer = f"constant_{len(values)}"
            holder.register_buffer(buffer, torch.from_numpy(array.copy()))
            values[name] = graph.get_attr(buffer)
        return values[name]

    for node in proto.node:
        if node.op_type == "Constant":
            continue
        inputs = [
            None if not name else constant(name, node.op_type, place) if name in arrays else values[name]
            for place, name in enumerate(node.input)
        ]
        attributes = {a.name: _text(helper.get_attribute_value(a)) for a in node.attribute}
        produced = graph.call_function(OPS[node.op_type], tuple(inputs), attributes)
        if len(node.output) == 1:
            values[node.output[0]] = produced
        else:
            values |= {name: graph.call_function(_one, (produced, i)) for i, name in enumerate(node.output)}
    graph.output(tuple(values[tensor.name] for tensor in spec.outputs))
    return GraphModule(holder, graph).eval()


def _one(several: tuple[Any, ...], place: int) -> Any:
    return several[place]


def _constants(graph: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    for stored in graph.initializer:
        yield stored.name, numpy_helper.to_array(stored)
    for node in graph.node:
        if node.op_type == "Constant":
            yield node.output[0], numpy_helper.to_array(node.attribute[0].t)


def _numbers(array: NDArray[Any]) -> Any:
    """A number, or a tuple of them."""
    return tuple(array.tolist()) if array.ndim else array.item()


def _text(attribute: Any) -> Any:
    return attribute.decode() if isinstance(attribute, bytes) else attribute
