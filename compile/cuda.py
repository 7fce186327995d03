"""Torch on NVIDIA GPUs, for those without TensorRT: 16 bits, channels last, one CUDA graph for each shape of inputs.

Nothing is compiled: what is stored of an engine says with which versions it passed the gate, and the network itself is
built again whenever the engine is opened. Chosen explicitly; where there is no GPU it refuses. float32 is exact here:
TF32 stays off.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compile.backend import Source
from compile.engine import Case, GPUOutOfMemory, Tensors, check_feeds
from compile.islands import LowPrecision
from modiste.spec import EngineSpec, Precision

BATCHED = True
LOW: Mapping[Precision, Any] = {"float16": torch.float16, "bfloat16": torch.bfloat16}
GRAPHS = 8
"""Shapes of inputs that an engine keeps graphs for; the one that was not asked for the longest goes first."""
WARM_UP = 3
"""Runs before a capture, in which cuDNN tries its ways and torch's allocator finds its sizes."""


class TorchEngine:
    """Engine over a torch module, on any device.

    net:      on the device; takes and returns the spec's tensors in their order; the engine's own from then on
    captured: whether it is recorded, for a GPU, and replayed
    """

    def __init__(self, spec: EngineSpec, net: torch.nn.Module, *, device: torch.device, captured: bool) -> None:
        self.spec, self._device, self._net = spec, device, net
        self._graphs: OrderedDict[tuple[torch.Size, ...], Captured] = OrderedDict()
        self._place = (torch.cuda.Stream(device), torch.cuda.graph_pool_handle()) if captured else None

    def __call__(self, feeds: Tensors) -> Tensors:
        """raises: GPUOutOfMemory, after which the engine holds no graphs"""
        batch, most = check_feeds(self.spec, feeds), self.spec.max_batch
        # Arrays that came between processes are read-only, which torch warns of.
        fed = [torch.from_numpy(np.require(feeds[tensor.name], requirements=("C", "W"))) for tensor in self.spec.inputs]
        try:
            with torch.inference_mode():
                parts = [self._run([x[first : first + most] for x in fed]) for first in range(0, batch, most)]
        except torch.cuda.OutOfMemoryError as error:
            self._graphs.clear()
            torch.cuda.empty_cache()
            raise GPUOutOfMemory(f"{self.spec.weights} with a batch of {min(batch, most)}: {error}") from error
        return {
            tensor.name: self._array(tensor.dtype, outputs)
            for tensor, *outputs in zip(self.spec.outputs, *parts, strict=True)
        }

    def _run(self, fed: Sequence[torch.Tensor]) -> Sequence[NDArray[Any]]:
        if self._place is None:
            return [x.cpu().numpy() for x in _tuple(self._net(*(x.to(self._device) for x in fed)))]
        shapes = tuple(x.shape for x in fed)
        if shapes not in self._graphs:
            while len(self._graphs) >= GRAPHS:
                self._graphs.popitem(last=False)
            self._graphs[shapes] = Captured(self._net, fed, self._device, *self._place)
        self._graphs.move_to_end(shapes)
        return self._graphs[shapes](fed)

    def _array(self, dtype: str, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if whole.dtype != np.dtype(dtype):
            raise RuntimeError(f"{self.spec.weights}: expected outputs in {dtype}, got {whole.dtype}")
        return whole

    def close(self) -> None:
        self._graphs.clear()
        del self._net


def on_cpu(spec: EngineSpec, module: torch.nn.Module, precision: Precision) -> TorchEngine:
    """An engine to measure or to test with: the same rules and no graphs. module: as for `prepared`"""
    cpu = torch.device("cpu")
    net = laid_out(prepared(module, precision, cpu), precision)
    return TorchEngine(spec, net, device=cpu, captured=False)


class Captured:
    """A module's work on inputs of these very shapes, recorded once, with the tensors that it reads and writes.

    Graphs of one engine share their memory, because it is never needed by two at once.
    """

    def __init__(
        self, net: torch.nn.Module, fed: Sequence[torch.Tensor], device: torch.device, stream: Any, pool: Any
    ) -> None:
        self._stream = stream
        self._host = [torch.empty_like(x, memory_format=torch.contiguous_format, pin_memory=True) for x in fed]
        self._inputs = [torch.empty_like(x, device=device) for x in self._host]
        self._feed(fed)  # the warm-up, too, must see real ones: whole numbers may be places in a table
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                net(*self._inputs)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._outputs = [x.contiguous() for x in _tuple(net(*self._inputs))]
        self._given = [torch.empty(x.shape, dtype=x.dtype, pin_memory=True) for x in self._outputs]

    def __call__(self, fed: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        self._feed(fed)
        with torch.cuda.stream(self._stream):
            self._graph.replay()
            for host, x in zip(self._given, self._outputs, strict=True):
                host.copy_(x, non_blocking=True)
        self._stream.synchronize()
        return [host.numpy().copy() for host in self._given]

    def _feed(self, fed: Sequence[torch.Tensor]) -> None:
        with torch.cuda.stream(self._stream):
            for x, host, given in zip(self._inputs, self._host, fed, strict=True):
                host.copy_(given)
                x.copy_(host, non_blocking=True)


def _tuple(given: Any) -> tuple[torch.Tensor, ...]:
    return (given,) if isinstance(given, torch.Tensor) else tuple(given)


def prepared(module: torch.nn.Module, precision: Precision, device: torch.device) -> torch.nn.Module:
    """The module on a device, in a precision.

    module: in evaluation mode; is changed
    raises: RuntimeError for a precision that torch does not run networks in
    """
    if precision == "float32":
        return module.requires_grad_(False).to(device)
    if precision not in LOW:
        raise RuntimeError(f"expected torch to compute in float32, float16 or bfloat16, got {precision}")
    return LowPrecision(module.requires_grad_(False), LOW[precision]).to(device)


def laid_out(net: torch.nn.Module, precision: Precision) -> torch.nn.Module:
    """The net with its planes' channels last where the kernels for its precision want them; what it makes of other
    tensors has the same order."""
    if precision in LOW:
        for x in (*net.parameters(), *net.buffers()):
            if x.ndim == 4:
                x.data = x.data.contiguous(memory_format=torch.channels_last)
    return net


def gpu() -> torch.device:
    """Where engines of this target run; the only place that decides it.

    raises: RuntimeError where there is no GPU
    """
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"expected an NVIDIA GPU for engines on torch, got none that torch {torch.__version__} can use"
        )
    return torch.device("cuda")


def runtime(precision: Precision) -> Mapping[str, str]:
    of = torch.cuda.get_device_properties(gpu())
    return {
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "device": f"{of.name} sm{of.major}{of.minor}",
        "precision": precision,
    }


def build(spec: EngineSpec, source: Source, precision: Precision, cases: Sequence[Case]) -> bytes:
    return json.dumps(runtime(precision), sort_keys=True).encode()


def load(spec: EngineSpec, source: Source, blob: bytes, precision: Precision) -> TorchEngine:
    if blob != build(spec, source, precision, ()):
        raise RuntimeError(f"expected an engine that passed with {runtime(precision)}, got one with {blob[:300]!r}")
    device = gpu()
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    net = laid_out(prepared(source.module(), precision, device), precision)
    return TorchEngine(spec, net, device=device, captured=True)


def used_mb() -> float:
    """Of torch's own memory on the GPU; CUDA's, some hundred MB a process, is not in it."""
    return float(torch.cuda.memory_reserved(gpu())) / 2**20
