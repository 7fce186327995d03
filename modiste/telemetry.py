"""What a request did: wall time per step, progress of long work, and structured logs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("modiste")


@dataclass(slots=True)
class StepTime:
    """Wall time spent waiting for one step, summed over its calls. Steps that run side by side overlap."""

    calls: int = 0
    ms: float = 0.0


@dataclass(slots=True)
class Trace:
    """What one run of a graph recorded."""

    steps: dict[str, StepTime] = field(default_factory=dict)
    on_progress: Callable[[float], None] | None = None


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Steps and progress inside the block are recorded in `trace`."""
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Time a part of a graph, under the name that the result reports."""
    started = perf_counter()
    try:
        yield
    finally:
        trace = _trace.get()
        if trace is not None:
            entry = trace.steps.setdefault(name, StepTime())
            entry.calls += 1
            entry.ms += (perf_counter() - started) * 1e3


def progress(fraction: float) -> None:
    """Tell whoever watches how much is done, 0-1."""
    trace = _trace.get()
    if trace is not None and trace.on_progress is not None:
        trace.on_progress(min(1.0, max(0.0, fraction)))
