"""What a replica takes of a GPU's memory: weights, the tensors that live at once, inputs and outputs, and the context.

Counted from graphs, without a GPU. What kernels need besides, while they run, depends on which of them the builder
takes; declared memory is therefore above what is counted here, and a report of a built engine says what it really took.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

import onnx

from compile.feeds import free_size
from deployments import MODELS, model_class
from deployments.base import SIZES
from modiste.spec import EngineSpec, Precision

MB = 2**20
TABLE = Path(__file__).with_name("gpu_memory.json")

CONTEXT_MB = 400
"""Of every process on a GPU: a CUDA context with kernels loaded as they are used takes about 300 MB (as PyTorch's
developers put it, pytorch/pytorch issue 107667), cuBLAS on Hopper 32 MB, the rest is for the kernels of our networks.
From others' words, not measured here."""

HEADROOM = 1.15
"""Least declared over counted, rounded up to 100 MB: for what kernels need while they run."""

BYTES: Mapping[Precision, int] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
"""Whose output is their input's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Bytes, with all floats in four. activations: the most that lives at once besides weights, inputs and outputs"""

    weights: int
    activations: int
    io: int


def largest_sizes(spec: EngineSpec) -> list[dict[str, int]]:
    """The free sizes at the upper end of each bucket, with the largest batch."""
    free = {size for tensor in spec.inputs for size in tensor.shape if isinstance(size, str)}
    usual = {size: free_size(spec, size, spec.max_batch) for size in sorted(free)}
    return [usual | {size: most for size, (_, most) in bucket.items()} for bucket in spec.buckets]


def graph_memory(spec: EngineSpec, graph: Path, sizes: Mapping[str, int]) -> Counted:
    """Of an ONNX file with these free sizes, node by node in its order.

    raises: ValueError where a tensor's shape does not follow from the inputs' shapes
    """
    model = _fixed(onnx.load(graph), spec, sizes)
    network = model.graph
    known = {
        of.name: (of.type.tensor_type.elem_type, [dim.dim_value for dim in of.type.tensor_type.shape.dim])
        for of in (*network.value_info, *network.output, *network.input)
        if of.type.tensor_type.HasField("shape")
    }
    constants = {tensor.name: _elements(tensor.data_type, tensor.dims) for tensor in network.initializer}
    for node in network.node:
        if node.op_type == "Constant":
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            constants[node.output[0]] = 0 if value is None else _elements(value.data_type, value.dims)

    storage: dict[str, str] = {}
    outside = {tensor.name for tensor in (*network.input, *network.output)} | set(constants)
    last: dict[str, int] = {}
    for i, node in enumerate(network.node):
        if node.op_type in VIEWS and node.input[0] not in outside:
            storage[node.output[0]] = storage.get(node.input[0], node.input[0])
        for name in (*node.input, *node.output):
            last[storage.get(name, name)] = i

    live, peak = 0, 0
    held: dict[str, int] = {}
    for i, node in enumerate(network.node):
        for name in node.output:
            if name and name not in outside and name not in storage:
                if name not in known or not all(dim > 0 for dim in known[name][1]):
                    raise ValueError(f"{graph.name}: expected the shape of {name} ({node.op_type}) to follow, got none")
                held[name] = _elements(*known[name])
                live += held[name]
        peak = max(peak, live)
        for name in [name for name in held if last[name] <= i]:
            live -= held.pop(name)
    io = sum(_elements(*known[of.name]) for of in (*network.input, *network.output) if of.name not in constants)
    return Counted(weights=sum(constants.values()), activations=peak, io=io)


def _fixed(model: Any, spec: EngineSpec, sizes: Mapping[str, int]) -> Any:
    """With all shapes that follow from these sizes."""
    shapes = {t.name: [sizes[s] if isinstance(s, str) else s for s in t.shape] for t in spec.inputs}
    del model.graph.value_info[:]
    for tensor in model.graph.input:
        if tensor.name in shapes:
            for dim, size in zip(tensor.type.tensor_type.shape.dim, shapes[tensor.name], strict=True):
                dim.dim_value = size
    for tensor in model.graph.output:
        tensor.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _elements(kind: int, dims: Any) -> int:
    """Bytes, with every kind of float as four: the precision is the engine's."""
    kinds = onnx.TensorProto
    floats = (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16)
    return (4 if kind in floats else int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)) * int(prod(dims))


def engine_row(spec: EngineSpec, counted: Sequence[Counted]) -> dict[str, Any]:
    """MB of an engine in float32, and the sizes that they were counted for. counted: for each bucket"""
    # Engines keep the buffers of eight shapes. One of each batch size (1 to 8, or powers of two) takes so many times
    # the largest; of free sizes few are as large as can be.
    kept = 2 if spec.max_batch > SIZES else (spec.max_batch + 1) / 2
    if any(size != "N" for size in largest_sizes(spec)[0]):
        kept = max(kept, 4)
    return {
        "sizes": largest_sizes(spec),
        "weights_mb": round(max(of.weights for of in counted) / MB, 1),
        "activations_mb": round(max(of.activations for of in counted) / MB, 1),
        "io_mb": round(kept * max(of.io for of in counted) / MB, 1),
    }


def needed_mb(engines: Mapping[str, EngineSpec], rows: Mapping[str, Mapping[str, Any]]) -> int:
    """What a replica takes with all its engines, each in the precision that it has on GPUs.

    They run one after the other, and each keeps what it has. Inputs and outputs are float32 always. Layers that stay
    in float32 are few and short-lived; the headroom is for them, too.
    """
    total = float(CONTEXT_MB)
    for name, spec in engines.items():
        row, part = rows[name], BYTES[spec.gpu_precision] / 4
        total += part * (row["weights_mb"] + row["activations_mb"]) + row["io_mb"]
    return ceil(total)


def declared_for(needed: int) -> int:
    """The least that a model declares which needs this."""
    return 100 * ceil(needed * HEADROOM / 100)


def table() -> dict[str, dict[str, dict[str, Any]]]:
    """model -> engine -> row, as last counted."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(TABLE.read_text())
    return found


MOST = 1.5
"""Declared over counted from which on the rest would be memory that no replica ever takes."""


def misdeclared() -> list[str]:
    """A sentence for every model on GPUs that declares less than was counted, or far more."""
    rows = table()
    found = []
    for model_id in MODELS:
        of = model_class(model_id).spec
        declared = of.resources.gpu_memory_mb
        if not declared:
            continue
        needed = needed_mb(of.engines, rows[model_id])
        if not needed * HEADROOM <= declared <= max(needed * MOST, declared_for(needed)):
            found.append(
                f"{model_id}: expected gpu_memory_mb={declared_for(needed)}, got {declared}; needs {needed} MB"
            )
    return found


def outdated(model_id: str) -> list[str]:
    """Engines that were counted for other batches or sizes than they declare now, or never."""
    rows = table().get(model_id, {})
    engines = model_class(model_id).spec.engines
    return [name for name, spec in engines.items() if rows.get(name, {}).get("sizes") != largest_sizes(spec)]
