"""Reads a TensorFlow Lite flatbuffer: tensors, constants of any storage as plain arrays, operators with options."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable

IDENTIFIER = b"TFL3"
DENSE = 0  # of tflite.DimensionType

DTYPES: Mapping[int, np.dtype[Any]] = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
    tflite.TensorType.INT64: np.dtype("<i8"),
}
KINDS: Mapping[int, str] = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
OPTIONS: Mapping[int, str] = {code: name for name, code in vars(tflite.BuiltinOptions).items() if isinstance(code, int)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """kind: as in the schema (CONV_2D), or CUSTOM:name; inputs: indices of tensors, -1 where an optional one is left
    out; options: the schema's table of that kind, None where it has none"""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteFile:
    """names, shapes: of tensors, by index, for a batch of 1; constants: those tensors that the file holds"""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, NDArray[Any]]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(path: Path) -> TfliteFile:
    """The one subgraph of a file. raises: WeightsUnavailable for other formats and storages"""
    content = path.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise WeightsUnavailable(f"Expected {path.name} to be a tflite file, which says {IDENTIFIER!r}; it does not.")
    model = tflite.Model.GetRootAs(content, 0)
    if model.SubgraphsLength() != 1:
        raise WeightsUnavailable(f"Expected one subgraph in {path.name}; got {model.SubgraphsLength()}.")
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    constants = {i: _constant(model, tensor) for i, tensor in enumerate(tensors) if _stored(model, tensor)}
    return TfliteFile(
        names=tuple(tensor.Name().decode() for tensor in tensors),
        shapes=tuple(_integers(tensor.ShapeAsNumpy()) for tensor in tensors),
        constants=constants,
        operators=tuple(_operator(model, graph.Operators(i)) for i in range(graph.OperatorsLength())),
        inputs=_integers(graph.InputsAsNumpy()),
        outputs=_integers(graph.OutputsAsNumpy()),
    )


def _integers(vector: Any) -> tuple[int, ...]:
    """Of a vector of the flatbuffer, which reads as 0 where it is absent."""
    return tuple(int(value) for value in np.atleast_1d(vector)) if np.ndim(vector) else ()


def _stored(model: Any, tensor: Any) -> bool:
    return bool(model.Buffers(tensor.Buffer()).DataLength())


def _constant(model: Any, tensor: Any) -> NDArray[Any]:
    if tensor.Type() not in DTYPES:
        kinds = ", ".join(str(dtype) for dtype in DTYPES.values())
        raise WeightsUnavailable(f"Expected {tensor.Name().decode()} to hold {kinds}; got type {tensor.Type()}.")
    values = np.frombuffer(model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
    shape = _integers(tensor.ShapeAsNumpy())
    sparsity = tensor.Sparsity()
    return values.reshape(shape) if sparsity is None else _dense(values, shape, sparsity)


def _dense(values: NDArray[Any], shape: tuple[int, ...], sparsity: Any) -> NDArray[Any]:
    """Values stored along the levels of a tree. A level runs over one axis, or over one axis of the blocks that tile
    an axis, and either every index is there or those that are listed for each branch above."""
    order, blocks = _integers(sparsity.TraversalOrderAsNumpy()), _integers(sparsity.BlockMapAsNumpy())
    branch = np.zeros(1, np.int64)  # position in storage of every branch that is there, so far down
    along: list[NDArray[np.int64]] = []  # and its index on every level above
    sizes = []
    for level in range(len(order)):
        of = sparsity.DimMetadata(level)
        if of.Format() == DENSE:
            sizes.append(of.DenseSize())
            counts = np.full(len(branch), sizes[-1])
            index = np.tile(np.arange(sizes[-1]), len(branch))
            branch = np.repeat(branch, counts) * sizes[-1] + index
        else:
            segments = _indices(of.ArraySegments(), of.ArraySegmentsType())
            listed = _indices(of.ArrayIndices(), of.ArrayIndicesType())
            sizes.append(0)
            counts = segments[branch + 1] - segments[branch]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            branch = np.repeat(segments[branch], counts) + within
            index = listed[branch]
        along = [*(np.repeat(above, counts) for above in along), index]
    place: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(shape)
    for level, axis in enumerate(order):
        if axis < len(shape):
            place[axis] = along[level]
    for level, axis in enumerate(order):
        if axis >= len(shape):
            tiled = blocks[axis - len(shape)]
            place[tiled] = place[tiled] * sizes[level] + along[level]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(place)] = values[branch]
    return dense


def _indices(table: Any, kind: int) -> NDArray[np.int64]:
    names = {code: name for name, code in vars(tflite.SparseIndexVector).items() if isinstance(code, int)}
    vector = getattr(tflite, names[kind])()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)


def _operator(model: Any, operator: Any) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    # Files older than the 128th operator have its number in the first field only.
    kind = KINDS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    if kind == "CUSTOM":
        kind = f"CUSTOM:{code.CustomCode().decode()}"
    options, table = None, operator.BuiltinOptions()
    if table is not None:
        options = getattr(tflite, OPTIONS[operator.BuiltinOptionsType()])()
        options.Init(table.Bytes, table.Pos)
    return Operator(
        kind=kind,
        inputs=_integers(operator.InputsAsNumpy()),
        outputs=_integers(operator.OutputsAsNumpy()),
        options=options,
    )
