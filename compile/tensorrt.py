"""TensorRT on NVIDIA GPUs: ONNX -> plan -> engine, one way for versions 8.6 to 11.

Networks are strongly typed: `compile.precision` writes every type into the graph. Versions without strong typing
(8.6 to 9) are told to obey the same types. Nothing here imports torch, and `tensorrt` is imported nowhere else.

At run time each shape has its own execution context, tensors and CUDA graph; contexts share one scratch memory, since
they take turns on one stream.
"""

import hashlib
import json
import platform
import tempfile
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compile.backend import Source
from compile.cache import folder
from compile.device import Device, Graph, Memory, Stream, Transfer, current_device
from compile.engine import Case, GPUOutOfMemory, Tensors, check_feeds
from compile.feeds import FREE_SIZE
from compile.precision import LOW, lowered, with_outputs
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


def typed_graph(spec: EngineSpec, graph: Path, precision: Precision, to: Path) -> Path:
    """The graph with the spec's outputs alone and all types as they are computed in; weights lie beside it, since one
    file may not exceed 2 GB.

    graph: in float32; for int8, with the layers marked that compute in it
    """
    model = onnx.load(graph)
    with_outputs(model, [tensor.name for tensor in spec.outputs])
    if precision in LOW:  # in int8 are the layers that are given so
        model = lowered(model, precision)
    path = to / "typed.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.weights", size_threshold=1024)
    return path


def plan(
    trt: Any,
    spec: EngineSpec,
    graph: Path,
    precision: Precision,
    *,
    workspace: int | None = None,
    timings: Path | None = None,
    capability: str | None = None,
) -> bytes:
    """A typed graph as a serialized engine with one optimisation profile per bucket of the spec.

    trt:        the `tensorrt` module, or `tensorrt_rtx`, which has the same names and builds without a GPU
    workspace:  bytes that kernels may use
    timings:    file with what was measured of kernels on this kind of GPU, extended here
    capability: of the GPU to build for where none is at hand, e.g. "SM89"
    """
    log = _log(trt)
    log.errors.clear()
    builder = trt.Builder(log)
    flags = _flags(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", "STRONGLY_TYPED")
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    if not parser.parse_from_file(str(graph)):
        told = "; ".join(_told(parser.get_error(i)) for i in range(parser.num_errors))
        raise RuntimeError(f"TensorRT's parser refused {spec.weights} {spec.part}: {told}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        _obey_types(trt, network, config, precision)
    for bucket in spec.buckets:
        optimisation = builder.create_optimization_profile()
        for tensor in spec.inputs:
            optimisation.set_shape(tensor.name, *profile_shapes(spec, tensor, bucket))
        if config.add_optimization_profile(optimisation) < 0:
            raise _failure(log, f"TensorRT took no profile of {dict(bucket)} for {spec.weights} {spec.part}")
    measured = None
    if timings is not None:
        measured = config.create_timing_cache(_read(timings))
        config.set_timing_cache(measured, ignore_mismatch=False)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise _failure(log, f"TensorRT built no engine of {spec.weights} {spec.part}")
    if timings is not None and measured is not None:
        _write(timings, bytes(measured.serialize()))
    return bytes(built)


def profile_shapes(
    spec: EngineSpec, tensor: TensorSpec, bucket: Mapping[str, tuple[int, int]]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The least, the usual and the largest shape. Usual are half of the largest batch and the spec's sizes, as far as
    they lie in the bucket."""
    missing = [size for size in tensor.shape if isinstance(size, str) and size not in {"N", *bucket}]
    if missing:
        raise ValueError(f"{spec.weights} {spec.part}: expected buckets with all free sizes, got none for {missing}")
    least = {"N": 1} | {size: low for size, (low, _) in bucket.items()}
    most = {"N": spec.max_batch} | {size: high for size, (_, high) in bucket.items()}
    wanted = {"N": -(-spec.max_batch // 2), **{size: spec.sizes.get(size, FREE_SIZE) for size in bucket}}
    usual = {size: min(max(wanted[size], least[size]), most[size]) for size in most}
    shapes = (tuple(of[s] if isinstance(s, str) else s for s in tensor.shape) for of in (least, usual, most))
    return next(shapes), next(shapes), next(shapes)


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
        self._trt, self._log = trt, _log(trt)
        self._log.errors.clear()
        self._runs: OrderedDict[tuple[object, ...], _Run] = OrderedDict()
        with ExitStack() as owned:
            self._runtime = trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(blob)
            if self._engine is None:
                raise _failure(self._log, f"TensorRT {trt.__version__} takes no such plan of {spec.weights}")
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
            raise _failure(self._log, f"TensorRT made no context for {self.spec.weights}")
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._scratch.address, self._scratch.size)
        else:
            context.device_memory = self._scratch.address
        taken = context.set_optimization_profile_async(profile, self._stream.handle)
        self._stream.wait()
        for name, shape in shapes.items():
            taken = taken and context.set_input_shape(name, tuple(shape))
        if not taken:
            raise _failure(self._log, f"TensorRT took no input shapes {dict(shapes)} for {self.spec.weights}")
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
        self._spec, self._context, self._stream, self._log = spec, context, stream, _log(trt)
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
            raise _failure(self._log, f"TensorRT did not run {self._spec.weights}")
        self._outputs.to_host(self._stream.handle)

    def close(self) -> None:
        self._owned.close()
        del self._context


@cache
def _trt() -> Any:
    import tensorrt

    return tensorrt


@cache
def _log(trt: Any) -> Any:
    """TensorRT keeps the first logger of a process for everything; this one remembers errors for exceptions."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    log = Log()
    trt.init_libnvinfer_plugins(log, "")
    return log


def _failure(log: Any, what: str) -> RuntimeError:
    """With the last errors that TensorRT told."""
    told = "; ".join(log.errors)
    log.errors.clear()
    full = any(sign in told.lower() for sign in ("out of memory", "outofmemory", "memory allocation"))
    return (GPUOutOfMemory if full else RuntimeError)(f"{what}: {told or 'no reason told'}")


def _told(error: Any) -> str:
    named = f"{error.node_operator()} {error.node_name()}" if hasattr(error, "node_operator") else error.node()
    return f"node {named}: {error.desc()}"


def _flags(of: Any, *names: str) -> int:
    """Those that this version still or already has."""
    return sum(1 << int(getattr(of, name)) for name in names if hasattr(of, name))


def _obey_types(trt: Any, network: Any, config: Any, precision: Precision) -> None:
    """Versions without strong typing: allow the type, and hold every layer to the one that the graph gives it."""
    allowed = {"float16": "FP16", "bfloat16": "BF16", "int8": "INT8"}.get(precision)
    if allowed is not None:
        if not hasattr(trt.BuilderFlag, allowed):
            raise RuntimeError(f"TensorRT {trt.__version__} has no {precision}; expected another precision")
        config.set_flag(getattr(trt.BuilderFlag, allowed))
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    floats = [getattr(trt, name) for name in ("float32", "float16", "bfloat16") if hasattr(trt, name)]
    untyped = (trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.CAST)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for place in range(layer.num_outputs):
            dtype = layer.get_output(place).dtype
            if layer.type not in untyped and dtype in floats:
                layer.precision = dtype
                layer.set_output_type(place, dtype)


def _timings(trt: Any, device: Device) -> Path:
    return folder() / "timings" / f"{device.name.replace(' ', '_')}-sm{device.sm}-{trt.__version__}.bin"


def _read(path: Path) -> bytes:
    """Nothing where there is nothing, or it is damaged: TensorRT does not look."""
    stored = path.read_bytes() if path.exists() else b""
    return stored[32:] if hashlib.sha256(stored[32:]).digest() == stored[:32] else b""


def _write(path: Path, content: bytes) -> None:
    """All or nothing: others may read it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as side:
        side.write(hashlib.sha256(content).digest() + content)
    Path(side.name).replace(path)
