"""What a tensor, an engine and a model are, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16", "int8"]
Target = Literal["openvino", "tensorrt", "torch-tensorrt", "cuda"]
"""What an engine is built with; "cuda" is eager torch in CUDA graphs."""

Kind = Literal["values", "picture", "labels", "embedding", "points"]
"""What is in an output, which decides how two engines are compared (compile/gate.py)."""

Dtype = Literal["float32", "int64", "uint8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of an engine.

    `shape` holds sizes, or names for sizes that are free ("N" is the batch). `kind` matters for outputs only.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: Dtype = "float32"
    range: str
    meaning: str
    kind: Kind = "values"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One compiled network.

    weights:   id in the manifest
    part:      which of the entry's networks ("" where it has only one)
    precision: the lowest that the engine may compute in on a CPU, and gpu_precision on a GPU; anything under float32
               only where the parity gate passes on real weights
    max_batch: the largest that a GPU engine takes at once
    tolerance: of the gate on outputs of kind "values": mean absolute error against float32, in units of the float32
               output's standard deviation
    sizes:     usual values of the free sizes other than the batch, to trace and to measure with
    buckets:   least and most of every free size, in which GPU engines take them; one optimisation profile each
    """

    weights: str
    part: str = ""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision = "float32"
    gpu_precision: Precision = "float32"
    max_batch: int = 1
    tolerance: float = 0.02
    sizes: Mapping[str, int] = field(default_factory=dict)
    buckets: tuple[Mapping[str, tuple[int, int]], ...] = ({},)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one replica is given, and how many there may be.

    gpu_memory_mb: of 2**20 bytes, all that its process takes; 0 means that the model never runs on a GPU
    cpus: cores that a busy replica keeps at work; what is reserved of a machine is a share of it
    min_replicas: 0 for models used now and then, which start when they are called and end when they idle
    batch_wait_ms: how long the first call of a batch waits for others, where engines run batches; about what a call
                   takes to arrive
    """

    gpu_memory_mb: int = 0
    cpus: float = 1.0
    min_replicas: int = 0
    max_replicas: int = 4
    batch_wait_ms: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model: pre-processing, engines, post-processing.

    id:    snake_case; the name of its folder, its deployment and its metric label
    paper: the published method, or "classical" with the names of the techniques
    """

    id: str
    role: str
    paper: str
    licence: str
    engines: Mapping[str, EngineSpec] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
