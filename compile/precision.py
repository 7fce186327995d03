"""A float32 ONNX graph as a strongly typed one that computes in float16 or bfloat16, with every Cast written out.

What a 16 bit number cannot carry stays float32: sums over many values, squares and what is divided by them, sampling
positions and all that becomes whole numbers, and constants outside its range. Inputs and outputs stay float32.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compile.kept import FLOAT, FLOAT32_INPUTS, kept_nodes
from modiste.spec import Precision

VERSION = 1
"""Goes up with every change here that changes graphs, so that engines in caches are not taken for current ones."""

LOW: Mapping[Precision, tuple[int, type]] = {
    "float16": (TensorProto.FLOAT16, np.float16),
    "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
}


def lowered(model: ModelProto, precision: Precision) -> ModelProto:
    """The same network in `precision`; the given model is changed and must not be used after that.

    raises: ValueError for a graph with branches or loops, or with tensors whose types cannot be inferred
    """
    to, dtype = LOW[precision]
    _hoist_constants(model)
    _spell_out_norms(model)
    types = _types(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = kept_nodes(model, types, constants, dtype)
    _rewrite(model, types, constants, kept, to, dtype)
    return model


def with_outputs(model: ModelProto, names: Sequence[str]) -> None:
    """Leave only these outputs, in this order, and what they need."""
    graph = model.graph
    outputs = {output.name: output for output in graph.output}
    wanted = [outputs[name] for name in names]
    del graph.output[:]
    graph.output.extend(wanted)
    needed, left = set(names), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            left.append(node)
    _replace(graph.node, reversed(left))
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])


def _hoist_constants(model: ModelProto) -> None:
    """Constant nodes become initialisers, as all others."""
    left = []
    for node in model.graph.node:
        if any(attribute.type in (attribute.GRAPH, attribute.GRAPHS) for attribute in node.attribute):
            raise ValueError(f"expected a graph without branches and loops, got {node.op_type} {node.name}")
        if node.op_type != "Constant":
            left.append(node)
            continue
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        tensor = value if isinstance(value, TensorProto) else numpy_helper.from_array(_array(attribute.type, value))
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
    _replace(model.graph.node, left)


def _array(kind: int, value: object) -> NDArray[np.generic]:
    whole = kind in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS)
    return np.asarray(value, np.int64 if whole else np.float32)


def _spell_out_norms(model: ModelProto) -> None:
    """Batch norms become a factor and a term per channel, rounded once: their variances leave float16's range. Where
    the number of axes does not follow from the operators they stay, in float32."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    ranks = _ranks(model) if any(node.op_type == "BatchNormalization" for node in model.graph.node) else {}
    nodes = []
    for node in model.graph.node:
        known = node.op_type == "BatchNormalization" and node.input[0] in ranks
        if not known or not all(name in constants for name in node.input[1:]):
            nodes.append(node)
            continue
        gain, bias, mean, variance = (numpy_helper.to_array(constants[name]) for name in node.input[1:5])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = gain / np.sqrt(variance + np.float32(epsilon))
        shape = (-1, *(1,) * (ranks[node.input[0]] - 2))
        out = node.output[0]
        for name, value in ((f"{out}:factor", factor), (f"{out}:term", bias - mean * factor)):
            model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32).reshape(shape), name))
        nodes.append(helper.make_node("Mul", [node.input[0], f"{out}:factor"], [f"{out}:scaled"]))
        nodes.append(helper.make_node("Add", [f"{out}:scaled", f"{out}:term"], [out]))
    _replace(model.graph.node, nodes)


def _inferred(model: ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """All tensors but constants, with their types, and shapes where these are known."""
    outline = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = outline.graph
    graph.name = model.graph.name
    for to, of in (
        (graph.input, model.graph.input),
        (graph.output, model.graph.output),
        (graph.node, model.graph.node),
    ):
        to.extend(of)
    for tensor in model.graph.initializer:
        # Without large values: a graph over 2 GB could not be passed on.
        small = np.prod(tensor.dims) <= 1024
        graph.initializer.append(
            tensor if small else TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        )
    found = onnx.shape_inference.infer_shapes(outline).graph
    yield from (*found.input, *found.output, *found.value_info)


def _ranks(model: ModelProto) -> dict[str, int]:
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in _inferred(model)
        if value.type.tensor_type.HasField("shape")
    }


def _types(model: ModelProto) -> dict[str, int]:
    types = {value.name: value.type.tensor_type.elem_type for value in _inferred(model)}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    unknown = [name for node in model.graph.node for name in node.output if name and not types.get(name)]
    if unknown:
        raise ValueError(f"expected tensors whose types follow from the operators, got {unknown[:4]}")
    return types


@dataclass(slots=True)
class _Casts:
    """Nodes as they are written; each tensor is cast once per type."""

    constants: Mapping[str, TensorProto]
    dtype: type
    low: int
    types: dict[str, int]
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def as_type(self, name: str, to: int) -> str:
        """The name under which a tensor is found in a type."""
        if self.types[name] == to:
            return name
        cast = f"{name}:{TensorProto.DataType.Name(to).lower()}"
        if cast in self.made:
            return cast
        self.made.add(cast)
        if name in self.constants:
            value = numpy_helper.to_array(self.constants[name])
            self.initializers[cast] = numpy_helper.from_array(value.astype(self.dtype), cast)
        else:
            self.nodes.append(helper.make_node("Cast", [name], [cast], f"{cast}:cast", to=to))
        return cast


def _rewrite(
    model: ModelProto,
    types: Mapping[str, int],
    constants: Mapping[str, TensorProto],
    kept: set[int],
    low: int,
    dtype: type,
) -> None:
    casts = _Casts(constants, dtype, low, dict(types))
    outputs = {output.name for output in model.graph.output}
    renamed: dict[str, str] = {}
    for index, node in enumerate(model.graph.node):
        to = FLOAT if index in kept else low
        apart = FLOAT32_INPUTS.get(node.op_type, set())
        for place, given in enumerate(node.input):
            name = renamed.get(given, given)
            if name and types[given] == FLOAT:
                node.input[place] = casts.as_type(name, FLOAT if place in apart else to)
        casts.nodes.append(node)
        for place, name in enumerate(node.output):
            if not name or types[name] != FLOAT or to == FLOAT:
                continue
            if name not in outputs:
                casts.types[name] = low
                continue
            renamed[name] = f"{name}:computed"
            casts.types[renamed[name]] = low
            node.output[place] = renamed[name]
            casts.nodes.append(helper.make_node("Cast", [renamed[name]], [name], f"{name}:cast", to=FLOAT))
    used = {name for node in casts.nodes for name in node.input} | outputs
    left = [tensor for tensor in model.graph.initializer if tensor.name in used]
    _replace(model.graph.initializer, [*left, *casts.initializers.values()])
    _replace(model.graph.node, casts.nodes)
    del model.graph.value_info[:]


def _replace(held: Any, wanted: Iterable[object]) -> None:
    """Other elements in a repeated field."""
    kept = list(wanted)
    del held[:]
    held.extend(kept)
