"""ONNX -> TensorRT plan, one way for versions 8.6 to 11, and for TensorRT for RTX, which builds without a GPU.

Networks are strongly typed: `compile.precision` writes every type into the graph. Versions without strong typing
(8.6 to 9) are told to obey the same types. The module, `tensorrt` or `tensorrt_rtx`, is always an argument.
"""

import hashlib
import tempfile
from collections import deque
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from compile.engine import GPUOutOfMemory
from compile.feeds import FREE_SIZE
from compile.precision import LOW, lowered, with_outputs
from modiste.spec import EngineSpec, Precision, TensorSpec


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
    log = log_of(trt)
    log.errors.clear()
    builder = trt.Builder(log)
    flags = _flags(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", "STRONGLY_TYPED")
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if hasattr(trt, "OnnxParserFlag"):  # 8.6.0 has none, and its own plugin for it
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
            raise failure(log, f"TensorRT took no profile of {dict(bucket)} for {spec.weights} {spec.part}")
    measured = None
    if timings is not None:
        measured = config.create_timing_cache(_read(timings))
        config.set_timing_cache(measured, ignore_mismatch=False)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise failure(log, f"TensorRT built no engine of {spec.weights} {spec.part}")
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


@cache
def log_of(trt: Any) -> Any:
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


def failure(log: Any, what: str) -> RuntimeError:
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
