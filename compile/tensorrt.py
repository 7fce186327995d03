"""TensorRT on NVIDIA GPUs: ONNX -> plan -> engine, one way for versions 8.6 to 11.

Nothing here imports torch, and `tensorrt` is imported nowhere else. Each shape has its own execution context, tensors
and CUDA graph; contexts share one scratch memory, since they take turns on one stream.
"""

import json
import platform
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.backend import Source
from compile.cache import folder
from compile.device import Device, Graph, Memory, Stream, Transfer, current_device
from compile.engine import Case, Tensors, check_feeds
from compile.plan import failure, log_of, plan, typed_graph
from compile.precision import VERSION as TYPES_VERSION
from modiste.spec import EngineSpec, Precision, TensorSpec

BATCHED = True
WORKSPACE_SHARE = 0.5
"""Of the GPU's free memory, for what kernels need while they run. Under a limit of CUDA's MPS free memory is what is
left of the limit, so that engines are built for the share that they are served with."""
SHAPES = 8
"""Whose contexts, tensors and CUDA graphs are kept; the one that was longest not asked for goes first."""
GRAPH_FROM = 2
"""The run of a shape from which on it is a CUDA graph: the first lets TensorRT settle what it puts off till then."""


def runtime(precision: Precision) -> Mapping[str, str]:
    device = current_device()
    options = {"workspace": WORKSPACE_SHARE, "tf32": False, "types": TYPES_VERSION}
    return {
        "tensorrt": _trt().__version__,
        "cuda": str(device.cuda),
        "device": f"{device.name} sm{device.sm}",
        "system": f"{platform.system()}-{platform.machine()}",
        "options": json.dumps(options, sort_keys=True),
    }


def build(spec: EngineSpec, source: Source, precision: Precision, cases: Sequence[Case]) -> bytes:
    """raises: GPUOutOfMemory, RuntimeError with what the parser or the builder said"""
    trt, device = _trt(), current_device()
    with tempfile.TemporaryDirectory() as staged:
        graph = typed_graph(spec, source.graph(), precision, Path(staged))
        return plan(
            trt, spec, graph, precision, workspace=int(device.free * WORKSPACE_SHARE), timings=_timings(trt, device)
        )


def load(spec: EngineSpec, source: Source, blob: bytes, precision: Precision) -> "TensorRTEngine":
    return TensorRTEngine(spec, blob)


def used_mb() -> float:
    """Of the whole GPU: what a process takes of it is told by differences."""
    device = current_device()
    return (device.total - device.free) / 2**20


def bucket_of(spec: EngineSpec, feeds: Tensors) -> int:
    """Which bucket, and so which profile, inputs lie in.

    raises: ValueError with their shapes and the buckets
    """
    sizes: dict[str, int] = {}
    for tensor in spec.inputs:
        for size, got in zip(tensor.shape[1:], feeds[tensor.name].shape[1:], strict=True):
            if isinstance(size, str) and sizes.setdefault(size, got) != got:
                raise ValueError(f"{tensor.name}: expected {size} = {sizes[size]} as in other inputs, got {got}")
    for index, bucket in enumerate(spec.buckets):
        if all(low <= sizes[size] <= high for size, (low, high) in bucket.items()):
            return index
    raise ValueError(f"expected sizes within one of {[dict(bucket) for bucket in spec.buckets]}, got {sizes}")


class TensorRTEngine:
    """Engine over one plan."""

    def __init__(self, spec: EngineSpec, blob: bytes) -> None:
        """raises: RuntimeError for a plan of another version, GPU or network, GPUOutOfMemory"""
        self.spec = spec
        trt = _trt()
        self._trt, self._log = trt, log_of(trt)
        self._log.errors.clear()
        self._runs: OrderedDict[tuple[object, ...], _Run] = OrderedDict()
        with ExitStack() as owned:
            self._runtime = trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(blob)
            if self._engine is None:
                raise failure(self._log, f"TensorRT {trt.__version__} takes no such plan of {spec.weights}")
            self._require_as_declared()
            self._stream = Stream()
            owned.callback(self._stream.close)
            size = getattr(self._engine, "device_memory_size_v2", None)
            self._scratch = Memory(self._engine.device_memory_size if size is None else size)
            owned.callback(self._scratch.close)
            owned.callback(self._close_runs)
            self._require_shapes_ahead()
            self._owned = owned.pop_all()

    def __call__(self, feeds: Tensors) -> Tensors:
        batch, most = check_feeds(self.spec, feeds), self.spec.max_batch
        profile = bucket_of(self.spec, feeds)
        parts = [
            self._infer(profile, {name: fed[start : start + most] for name, fed in feeds.items()})
            for start in range(0, batch, most)
        ]
        return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def close(self) -> None:
        self._owned.close()
        del self._engine, self._runtime

    def _infer(self, profile: int, feeds: Tensors) -> dict[str, NDArray[Any]]:
        key = (profile, *(feeds[tensor.name].shape for tensor in self.spec.inputs))
        if key not in self._runs:
            while len(self._runs) >= SHAPES:
                self._runs.popitem(last=False)[1].close()
            self._runs[key] = self._run(profile, {name: fed.shape for name, fed in feeds.items()})
        self._runs.move_to_end(key)
        return self._runs[key](feeds)

    def _run(self, profile: int, shapes: Mapping[str, Sequence[int]]) -> "_Run":
        return _Run(self._trt, self.spec, self._engine, self._context(profile, shapes), self._stream)

    def _context(self, profile: int, shapes: Mapping[str, Sequence[int]]) -> Any:
        """An execution context for these shapes, in the memory that all share."""
        strategies = getattr(self._trt, "ExecutionContextAllocationStrategy", None)
        if strategies is None:
            context = self._engine.create_execution_context_without_device_memory()
        else:
            context = self._engine.create_execution_context(strategies.USER_MANAGED)
        if context is None:
            raise failure(self._log, f"TensorRT made no context for {self.spec.weights}")
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._scratch.address, self._scratch.size)
        else:
            context.device_memory = self._scratch.address
        taken = context.set_optimization_profile_async(profile, self._stream.handle)
        self._stream.wait()
        for name, shape in shapes.items():
            taken = taken and context.set_input_shape(name, tuple(shape))
        if not taken:
            raise failure(self._log, f"TensorRT took no input shapes {dict(shapes)} for {self.spec.weights}")
        return context

    def _require_as_declared(self) -> None:
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = {name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
        declared = {tensor.name for tensor in self.spec.inputs}, {tensor.name for tensor in self.spec.outputs}
        if (inputs, set(names) - inputs) != declared or engine.num_optimization_profiles != len(self.spec.buckets):
            raise RuntimeError(
                f"expected a plan of {declared} with {len(self.spec.buckets)} profiles, got {names} with "
                f"{engine.num_optimization_profiles}"
            )

    def _require_shapes_ahead(self) -> None:
        """Without output shapes that are known before a run there is no CUDA graph, and nothing here runs without."""
        for profile in range(len(self.spec.buckets)):
            usual = {t.name: self._engine.get_tensor_profile_shape(t.name, profile)[1] for t in self.spec.inputs}
            context = self._context(profile, usual)
            for tensor in self.spec.outputs:
                shape = tuple(context.get_tensor_shape(tensor.name))
                if min(shape, default=1) < 0:
                    raise RuntimeError(
                        f"{tensor.name} of {self.spec.weights}: expected a shape that follows from the inputs' shapes, "
                        f"got {shape}; engines with output shapes that depend on values are not served"
                    )

    def _close_runs(self) -> None:
        while self._runs:
            self._runs.popitem()[1].close()


class _Run:
    """One shape of an engine."""

    def __init__(self, trt: Any, spec: EngineSpec, engine: Any, context: Any, stream: Stream) -> None:
        self._spec, self._context, self._stream, self._log = spec, context, stream, log_of(trt)
        self._times = 0
        self._graph: Graph | None = None

        def tensors(of: Sequence[TensorSpec]) -> Transfer:
            kinds = {
                t.name: (context.get_tensor_shape(t.name), trt.nptype(engine.get_tensor_dtype(t.name))) for t in of
            }
            return Transfer({name: (tuple(shape), dtype) for name, (shape, dtype) in kinds.items()})

        with ExitStack() as owned:
            self._inputs = tensors(spec.inputs)
            owned.callback(self._inputs.close)
            self._outputs = tensors(spec.outputs)
            owned.callback(self._outputs.close)
            for name, address in {**self._inputs.addresses, **self._outputs.addresses}.items():
                context.set_tensor_address(name, address)
            self._owned = owned.pop_all()

    def __call__(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        for name, array in self._inputs.arrays.items():
            np.copyto(array, feeds[name], casting="same_kind")
        if self._times + 1 == GRAPH_FROM:
            self._graph = Graph(self._stream, self._enqueue)
            self._owned.callback(self._graph.close)
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        self._stream.wait()
        self._times += 1
        return {t.name: self._outputs.arrays[t.name].astype(t.dtype) for t in self._spec.outputs}

    def _enqueue(self) -> None:
        self._inputs.to_device(self._stream.handle)
        if not self._context.execute_async_v3(self._stream.handle):
            raise failure(self._log, f"TensorRT did not run {self._spec.weights}")
        self._outputs.to_host(self._stream.handle)

    def close(self) -> None:
        self._owned.close()
        del self._context


@cache
def _trt() -> Any:
    import tensorrt

    return tensorrt


def _timings(trt: Any, device: Device) -> Path:
    return folder() / "timings" / f"{device.name.replace(' ', '_')}-sm{device.sm}-{trt.__version__}.bin"
