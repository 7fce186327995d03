"""Each flow as a Ray Serve application of its own, over those of its models."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

import cv2
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments import model_for
from deployments.app import call_model, handle_of, options
from deployments.load import ProcessLoad
from deployments.observed import start
from graphs import graph_class
from graphs.report import Outcome, run
from graphs.watch import watch
from modiste.errors import ModisteError
from modiste.metrics import FLOW_SECONDS, STEP_SECONDS, record
from modiste.settings import settings
from modiste.spec import Resources
from modiste.telemetry import Context, log, within

FLOW = Resources(cpus=1.0, min_replicas=1, max_replicas=4)

WAKE_EVERY_S = 300.0
"""Well under the time after which an unused model's last replica ends."""


@dataclass(frozen=True, slots=True)
class HandleCall:
    """Reaches a role's model through its application."""

    handle: DeploymentHandle[Any]

    async def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        return await call_model(self.handle, inputs)


class GraphReplica:
    """One flow, wired to the applications of the models that play its roles.

    Models that are seldom used have no replica until one is called. A flow calls its models one after the other,
    and so would wait for one cold start after the other; hence it calls all of them at once, without inputs, when
    it is itself first used after a while.

    raises: NotDeployed; Serve then tries again
    """

    def __init__(self, name: str) -> None:
        start(name)
        cv2.setNumThreads(settings().threads or 1)
        self._name = name
        self._calls = {role: HandleCall(handle_of(model_for(role))) for role in graph_class(name).roles()}
        self._graph = graph_class(name)(self._calls)
        self._woken = float("-inf")
        self._waking: asyncio.Future[list[Any]] | None = None
        self._load = ProcessLoad()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """For the policy that scales this deployment; Serve asks by this name."""
        return self._load.stats()

    def _wake(self) -> None:
        if monotonic() - self._woken > WAKE_EVERY_S:
            self._waking = asyncio.gather(*(call([]) for call in self._calls.values()), return_exceptions=True)
        self._woken = monotonic()

    async def run(self, request: object, given: Context) -> Outcome[Any] | ModisteError:
        """The outcome; or the refusal, which as an exception would be logged as a failure."""
        self._wake()
        started = perf_counter()
        try:
            with within(given):
                outcome: Outcome[Any] | ModisteError = await run(self._name, self._graph, request)
        except ModisteError as refusal:
            outcome = refusal
        except Exception:
            tell(self._name, None, perf_counter() - started, given)
            raise
        tell(self._name, outcome, perf_counter() - started, given)
        return outcome

    async def stream(
        self, request: object, given: Context
    ) -> AsyncGenerator[float | Outcome[Any] | ModisteError, None]:
        """Progress (0-1) as it comes, then the outcome or the refusal. Closing the stream stops the work."""
        self._wake()
        started = perf_counter()
        async with aclosing(watch(self._name, self._graph, request, given)) as news:
            try:
                async for item in news:
                    if isinstance(item, Outcome):
                        tell(self._name, item, perf_counter() - started, given)
                    yield item
            except ModisteError as refusal:
                tell(self._name, refusal, perf_counter() - started, given)
                yield refusal
            except Exception:
                tell(self._name, None, perf_counter() - started, given)
                raise


def tell(flow: str, outcome: Outcome[Any] | ModisteError | None, seconds: float, given: Context) -> None:
    """Record how a run of a flow ended. outcome: None where it failed for reasons of ours"""
    ms: dict[str, float] = {}
    if isinstance(outcome, Outcome):
        ms = {used.step: used.ms for used in outcome.report.steps}
        for step, spent in ms.items():
            record(STEP_SECONDS, spent / 1e3, flow=flow, step=step)
    code = "ok" if isinstance(outcome, Outcome) else "internal" if outcome is None else outcome.code
    record(FLOW_SECONDS, seconds, flow=flow, code=code)
    with within(given):
        log.info("flow_ran", code=code, ms=round(seconds * 1e3, 1), steps=ms)


class FlowArguments(BaseModel):
    """Of the application, in configuration files."""

    model_config = ConfigDict(extra="forbid")
    flow: str


def application(arguments: FlowArguments) -> serve.Application:
    """For configuration files: `import_path: graphs.replica:application`."""
    return bind(arguments.flow)


def bind(name: str) -> serve.Application:
    """The flow as an application whose one deployment has its name."""
    return serve.deployment(GraphReplica).options(name=name, **options(name, FLOW)).bind(name)
