"""Whose work is done, and what it did: context, wall time per step, progress of long work, structured logs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from time import perf_counter, time

import structlog

from modiste.spans import span, traceparent

log: structlog.stdlib.BoundLogger = structlog.get_logger("modiste")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Whose work is done and until when it is wanted; goes along with every call between processes.

    deadline:    seconds since 1970 by the clock of the machine that took the request; None where nobody waits
    traceparent: the span that the work belongs to (W3C Trace Context); "" where none is recorded
    """

    request: str = ""
    tenant: str = ""
    flow: str = ""
    job: str = ""
    deadline: float | None = None
    traceparent: str = ""

    def expired(self) -> bool:
        return self.deadline is not None and time() > self.deadline


_context: ContextVar[Context] = ContextVar("context", default=Context())  # noqa: B039 - frozen


def context() -> Context:
    """Of the work that runs now."""
    return _context.get()


def onward() -> Context:
    """The same, for another process: what it does is inside of the span that runs now."""
    running = traceparent()
    return replace(context(), traceparent=running) if running else context()


@contextmanager
def within(given: Context) -> Iterator[None]:
    """Work inside the block is done in this context."""
    token = _context.set(given)
    try:
        yield
    finally:
        _context.reset(token)


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
        with span(f"step {name}"):
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
