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

from modiste.spec import Precision

VERSION = 1
"""Goes up with every change here that changes graphs, so that engines in caches are not taken for current ones."""

FLOAT = TensorProto.FLOAT
LOW: Mapping[Precision, tuple[int, type]] = {
    "float16": (TensorProto.FLOAT16, np.float16),
    "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
}

SUMS = {
    *("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
    *("ReduceProd", "GlobalAveragePool", "CumSum", "Softmax", "LogSoftmax", "LpNormalization", "LayerNormalization"),
    *("InstanceNormalization", "BatchNormalization", "GroupNormalization", "MeanVarianceNormalization"),
}
STEEP = {"Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Sin", "Cos", "Softplus"}
POSITIONS = {"GridSample": 1, "RoiAlign": 1, "Floor": 0, "Ceil": 0, "Round": 0, "NonMaxSuppression": 0}
"""Op -> the input that holds places in a picture, or becomes whole numbers."""
KEPT = SUMS | STEEP | set(POSITIONS) | {"Cast", "Mod", "RandomNormalLike", "RandomUniformLike"}
"""Ops that are computed in float32 wherever they are."""

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "Sum", "Clip"}
LAYOUT = {
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Split", "Slice", "Gather", "Expand"),
    *("Tile", "Identity", "Where", "Pad"),
}
FACTORS = {"Sqrt": 0, "Reciprocal": 0, "Log": 0, "Pow": 0, "Div": 1}
"""Op -> the input where sums of squares and the like stand, as in StyleGAN2's demodulation."""
MAKE_FACTORS = ARITHMETIC | LAYOUT | {"MatMul", "Gemm", "Einsum"}
MAKE_POSITIONS = MAKE_FACTORS | {"Resize"}
"""Ops that are followed back from there."""
FLOAT32_INPUTS: Mapping[str, set[int]] = {"Resize": {1, 2}}
"""Inputs that ONNX wants in float32 whatever the node computes in."""
LOSS = 1e-3
"""Largest rounding error of a constant, relative to its largest value."""
BIASED: Mapping[str, int] = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}
"""Inputs that are added to a sum over many values, where small ones may become 0."""
WITHOUT_BFLOAT16 = {"ConvTranspose"}
"""Ops that TensorRT has in float32 and float16 only (seen with TensorRT-RTX 1.7)."""


def lowered(model: ModelProto, precision: Precision) -> ModelProto:
    """The same network in `precision`; the given model is changed and must not be used after that.

    raises: ValueError for a graph with branches or loops, or with tensors whose types cannot be inferred
    """
    to, dtype = LOW[precision]
    _hoist_constants(model)
    _spell_out_norms(model)
    types = _types(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = _kept(model, types, constants, dtype)
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


def _kept(model: ModelProto, types: Mapping[str, int], constants: Mapping[str, TensorProto], dtype: type) -> set[int]:
    """Indices of nodes that stay in float32."""
    nodes = model.graph.node
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    varying = {value.name for value in model.graph.input} - set(constants)
    for node in nodes:
        if node.op_type not in ("Shape", "Size") and varying & set(node.input):
            varying.update(node.output)
    kept = set()
    for index, node in enumerate(nodes):
        # What follows from shapes and constants alone is computed once, or is about sizes.
        divides = node.op_type == "Div" and node.input[1] in varying
        if not varying & set(node.output) or node.op_type in KEPT or _squares(node) or divides:
            kept.add(index)
    for index, node in enumerate(nodes):
        if index not in kept or not varying & set(node.output):
            continue
        if (place := FACTORS.get(node.op_type)) is not None:
            _keep_back(nodes, makers, varying, node.input[place], MAKE_FACTORS, kept)
        elif (place := POSITIONS.get(node.op_type)) is not None:
            _keep_back(nodes, makers, varying, node.input[place], MAKE_POSITIONS, kept)
        elif node.op_type == "Cast" and types[node.input[0]] == FLOAT and types[node.output[0]] != FLOAT:
            _keep_back(nodes, makers, varying, node.input[0], MAKE_POSITIONS, kept)

    def is_float32(name: str) -> bool:
        return name not in makers or makers[name] in kept

    for index, node in enumerate(nodes):
        if index in kept:
            continue
        floats = [name for name in node.input if name in varying and types[name] == FLOAT]
        between = node.op_type in ARITHMETIC and floats and all(map(is_float32, floats))
        refused = dtype is ml_dtypes.bfloat16 and node.op_type in WITHOUT_BFLOAT16
        if between or refused or _loses(node, constants, dtype):
            kept.add(index)
    return kept


def _squares(node: NodeProto) -> bool:
    return bool(node.op_type == "Mul" and node.input[0] == node.input[1])


def _keep_back(
    nodes: Sequence[NodeProto],
    makers: Mapping[str, int],
    varying: set[str],
    name: str,
    through: set[str],
    kept: set[int],
) -> None:
    """Keep what makes this tensor, back to where it is no plain arithmetic any more."""
    todo = [name]
    while todo:
        name = todo.pop()
        index = makers.get(name)
        if index is None or name not in varying or index in kept or nodes[index].op_type not in through:
            continue
        kept.add(index)
        todo.extend(nodes[index].input)


def _loses(node: NodeProto, constants: Mapping[str, TensorProto], dtype: type) -> bool:
    """Whether a constant of this node is too large or too small for float16; bfloat16 has float32's range."""
    if dtype is not np.float16:
        return False
    for place, name in enumerate(node.input):
        tensor = constants.get(name)
        if tensor is None or tensor.data_type != FLOAT or place in FLOAT32_INPUTS.get(node.op_type, ()):
            continue
        value = numpy_helper.to_array(tensor)
        finite = value[np.isfinite(value)]
        with np.errstate(over="ignore"):
            rounded = finite.astype(np.float16).astype(np.float32)
        if not np.isfinite(rounded).all():
            return True
        if BIASED.get(node.op_type) == place:
            continue
        if bool(np.abs(rounded - finite).max(initial=0) > LOSS * np.abs(finite).max(initial=0)):
            return True
        if node.op_type == "Div" and place == 1 and bool(((rounded == 0) & (finite != 0)).any()):
            return True
    return False


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
