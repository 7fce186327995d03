"""What an engine is built with: one module per target, all with the names of `Backend`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from compile.engine import Case, Engine
from modiste.spec import EngineSpec, Precision, Target

MODULES: Mapping[Target, str] = {
    "openvino": "compile.openvino",
    "tensorrt": "compile.tensorrt",
    "torch-tensorrt": "compile.torch_tensorrt",
    "cuda": "compile.cuda",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an engine is built from, made when it is asked for.

    graph:  the ONNX file
    module: the torch module in evaluation mode, on the CPU, that takes and returns the spec's tensors in their order
    threads: of the CPU, for engines that run on it
    """

    graph: Callable[[], Path]
    module: Callable[[], Any]
    threads: int = 1


class Backend(Protocol):
    @property
    def BATCHED(self) -> bool:  # noqa: N802  # a constant of the module
        """Whether a batch runs at once, or as singles."""
        ...

    def runtime(self, precision: Precision) -> Mapping[str, str]:
        """All that a built engine depends on besides its network: exact versions, the device, options."""
        ...

    def build(self, spec: EngineSpec, source: Source, precision: Precision, cases: Sequence[Case]) -> bytes:
        """The engine as it is stored. Cases are what int8 is calibrated with."""
        ...

    def load(self, spec: EngineSpec, source: Source, blob: bytes, precision: Precision) -> Engine:
        """raises: RuntimeError for a blob that this runtime does not take"""
        ...

    def used_mb(self) -> float:
        """Memory that this process takes now where engines run."""
        ...


def backend(target: Target) -> Backend:
    """Imported when asked for: TensorRT and torch need what other targets' machines lack."""
    return cast(Backend, import_module(MODULES[target]))
