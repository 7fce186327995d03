"""Which nodes of a float32 ONNX graph stay float32 when the others compute in 16 bits."""

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

FLOAT = TensorProto.FLOAT

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


def kept_nodes(
    model: ModelProto, types: Mapping[str, int], constants: Mapping[str, TensorProto], dtype: type
) -> set[int]:
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
