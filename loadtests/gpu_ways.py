"""The ways in which `loadtests.gpu` runs an engine's network, and how each is timed. Needs torch."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from compile.backend import Source, backend
from compile.engine import Tensors
from compile.feeds import random_feeds
from compile.gate import relative_error
from deployments.full_size import FullSize, graph_of, module_of
from modiste.spec import Precision, Target

Row = dict[str, Any]
Outputs = Mapping[str, np.ndarray]

BATCHES = (1, 8)
LEAST_RUNS, MOST_S = 3, 1.0
"""Runs of which the median counts are fewer than planned where those would take longer, but never under these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """seconds: after which nothing new is begun; models: ids, None for all; runs: of which the median counts"""

    device: torch.device
    kits: Sequence[Path]
    seconds: float
    models: Sequence[str] | None = None
    precision: Precision = "float16"
    batches: Sequence[int] = BATCHES
    runs: int = 50


class Subject:
    """An engine's network on the device, with inputs and the float32 outputs to judge by."""

    def __init__(self, of: FullSize, batch: int, device: torch.device) -> None:
        self.of, self.batch, self.device = of, batch, device
        self.module = module_of(of).to(device)
        self.feeds = random_feeds(of.spec, batch=batch)
        self.tensors = [torch.from_numpy(self.feeds[tensor.name]).to(device) for tensor in of.spec.inputs]
        self.expected = self.outputs(self.module(*self.tensors))

    def outputs(self, given: Any) -> Outputs:
        several = [given] if isinstance(given, torch.Tensor) else given
        found = [x.float().cpu().numpy() if x.is_floating_point() else x.cpu().numpy() for x in several]
        return dict(zip([tensor.name for tensor in self.of.spec.outputs], found, strict=True))


def cost(subject: Subject, plan: Plan) -> Row:
    """FLOPs, and bytes of the weights once and of what layers with weights write, once written and once read."""
    with FlopCounterMode(display=False) as flops, _Traffic() as traffic:
        subject.module(*subject.tensors)
    size = {"float32": 4}.get(plan.precision, 2)
    weights = sum(p.numel() for p in subject.module.parameters()) or sum(b.numel() for b in subject.module.buffers())
    return {
        "gflop": round(flops.get_total_flops() / 1e9, 2),
        "mb": round((weights + 2 * traffic.values) * size / 1e6, 1),
    }


class _Traffic(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
    """Counts the values that convolutions and matrix products give."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if any(kind in str(func) for kind in ("conv", "mm", "matmul", "linear", "scaled_dot_product")):
            self.values += sum(x.numel() for x in ([made] if isinstance(made, torch.Tensor) else made[:1]))
        return made


def eager(subject: Subject, plan: Plan) -> Row:
    return timed(subject, plan, lambda: subject.module(*subject.tensors))


def low(subject: Subject, plan: Plan) -> Row:
    return timed(subject, plan, lambda: _lowered(subject, plan, subject.module))


def compiled(subject: Subject, plan: Plan) -> Row:
    fast = torch.compile(subject.module)
    return timed(subject, plan, lambda: _lowered(subject, plan, fast))


def graphs(subject: Subject, plan: Plan) -> Row:
    """The low precision, replayed as a CUDA graph."""
    if plan.device.type != "cuda":
        raise RuntimeError("expected a CUDA device, which graphs are captured on")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            _lowered(subject, plan, subject.module)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        given = _lowered(subject, plan, subject.module)

    def replay() -> Any:
        graph.replay()
        return given

    return timed(subject, plan, replay)


def _lowered(subject: Subject, plan: Plan, module: Callable[..., Any]) -> Any:
    # Without autocast's cache of cast weights a graph holds what it needs itself.
    with torch.autocast(plan.device.type, getattr(torch, plan.precision), cache_enabled=False):
        return module(*subject.tensors)


def served_by(target: Target) -> Callable[[Subject, Plan], Row]:
    """The engine as it serves: arrays in, arrays out."""

    def measure(subject: Subject, plan: Plan) -> Row:
        spec = subject.of.spec
        with TemporaryDirectory() as folder:
            source = Source(
                graph=lambda: graph_of(subject.of, subject.module.cpu(), Path(folder)),
                module=subject.module.cpu,
            )
            of = backend(target)
            started = perf_counter()
            blob = of.build(spec, source, plan.precision, ())
            built = perf_counter() - started
            engine = of.load(spec, source, blob, plan.precision)
        try:
            outputs = engine(subject.feeds)
            runs = _runs(_wall(lambda: engine(subject.feeds)), plan)
            ms = [_wall(lambda: engine(subject.feeds)) for _ in range(runs)]
        finally:
            engine.close()
        subject.module.to(plan.device)
        return {
            "ms": round(float(np.median(ms)), 3),
            "error": error(outputs, subject.expected),
            "build_s": round(built, 1),
            "blob_mb": round(len(blob) / 1e6, 1),
        }

    return measure


WAYS: Mapping[str, Callable[[Subject, Plan], Row]] = {
    "cost": cost,
    "float32": eager,
    "low": low,
    "graphs": graphs,
    "cuda": served_by("cuda"),
    "tensorrt": served_by("tensorrt"),
    "compiled": compiled,
}
"""low: autocast to the plan's precision, and graphs and compiled in the same; cuda, tensorrt: as they serve."""


def timed(subject: Subject, plan: Plan, run: Callable[[], Any]) -> Row:
    on_gpu = plan.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    outputs = subject.outputs(run())
    wait = torch.cuda.synchronize if on_gpu else lambda: None

    def once() -> None:
        run()
        wait()

    runs = _runs(_wall(once), plan)
    for _ in range(runs // 2):
        once()
    ms = [_event_ms(run) if on_gpu else _wall(once) for _ in range(runs)]
    memory = {"memory_mb": round(torch.cuda.max_memory_allocated() / 1e6)} if on_gpu else {}
    return {"ms": round(float(np.median(ms)), 3), "error": error(outputs, subject.expected), **memory}


def error(outputs: Tensors, expected: Outputs) -> float | None:
    """The gate's for values; None where it is no number."""
    worst = max(relative_error(outputs[name], wanted) for name, wanted in expected.items())
    return float(f"{worst:.2e}") if np.isfinite(worst) else None


def _runs(ms: float, plan: Plan) -> int:
    return int(min(plan.runs, max(LEAST_RUNS, MOST_S * 1e3 // max(ms, 1e-3))))


def _wall(run: Callable[[], Any]) -> float:
    started = perf_counter()
    run()
    return (perf_counter() - started) * 1e3


def _event_ms(run: Callable[[], Any]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def machine(device: torch.device) -> Row:
    """The device, versions, and the two rates that floors are worked out from."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    plan = Plan(device=device, kits=(), seconds=0)
    product = _rate(lambda: a @ a, plan)
    copy = _rate(a.clone, plan)
    return {
        "row": "machine",
        "name": "machine",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}",
        "tflops": float(f"{2 * side**3 / product / 1e9:.3g}"),
        "gb_s": float(f"{2 * a.numel() * a.element_size() / copy / 1e6:.3g}"),
    }


def _rate(run: Callable[[], Any], plan: Plan) -> float:
    """ms"""
    for _ in range(3):
        run()
    on_gpu = plan.device.type == "cuda"
    return float(np.median([_event_ms(run) if on_gpu else _wall(run) for _ in range(10)]))
