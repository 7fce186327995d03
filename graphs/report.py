"""What a result says about how it was made: models, weights, milliseconds."""

from dataclasses import dataclass
from time import perf_counter
from typing import Generic

from deployments import model_class, model_for
from graphs.base import Graph, Request, Result
from modiste.spans import span, traceparent
from modiste.telemetry import Trace, context, tracing
from weights.manifest import digest, load_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """weights: manifest id -> digest; empty for models without weights."""

    role: str
    model: str
    weights: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUse:
    """ms: wall time waited for the step, summed over its calls; steps that run side by side overlap."""

    step: str
    calls: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    flow: str
    models: tuple[ModelUse, ...]
    steps: tuple[StepUse, ...]
    total_ms: float


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    result: Result
    report: Report


def model_uses(graph: type[Graph[Request, Result]]) -> tuple[ModelUse, ...]:
    """Which model plays each of the graph's roles, and the digests of its weights."""
    uses = []
    for role in graph.roles():
        model = model_for(role)
        ids = {engine.weights for engine in model_class(model).spec.engines.values()}
        digests = {weight: digest(load_manifest()[weight]) for weight in sorted(ids)}
        uses.append(ModelUse(role=role, model=model, weights=digests))
    return tuple(uses)


async def run(
    name: str, graph: Graph[Request, Result], request: Request, trace: Trace | None = None
) -> Outcome[Result]:
    """Run the graph once and report what it did."""
    trace = trace or Trace()
    started = perf_counter()
    parent = "" if traceparent() else context().traceparent  # of this process, or of the one that called
    with tracing(trace), span(f"flow {name}", parent=parent, serves=True, flow=name):
        result = await graph(request)
    total_ms = (perf_counter() - started) * 1e3
    steps = tuple(StepUse(step=s, calls=t.calls, ms=round(t.ms, 1)) for s, t in trace.steps.items())
    return Outcome(result, Report(flow=name, models=model_uses(type(graph)), steps=steps, total_ms=round(total_ms, 1)))
