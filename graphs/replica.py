"""The one class that Ray Serve runs for every flow."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Any

import cv2
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments import model_for
from deployments.app import answer, bind, options
from graphs import GRAPHS, graph_class
from graphs.report import Outcome, run
from graphs.watch import watch
from modiste.errors import ModisteError
from modiste.settings import settings
from modiste.spec import Resources

WAKE_EVERY_S = 300.0
"""Well under the time after which an unused model's last replica ends."""


@dataclass(frozen=True, slots=True)
class HandleCall:
    """Reaches a role's model through its deployment."""

    handle: DeploymentHandle[Any]

    async def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        results: list[Any] = await answer(lambda: self.handle.remote(list(inputs)))
        return results


class GraphReplica:
    """One flow, wired to the deployments of the models that play its roles.

    Models that are seldom used have no replica until one is called. A flow calls its models one after the other,
    and so would wait for one cold start after the other; hence it calls all of them at once, without inputs, when
    it is itself first used after a while.
    """

    def __init__(self, name: str, models: Mapping[str, DeploymentHandle[Any]]) -> None:
        cv2.setNumThreads(settings().threads or 1)
        self._name = name
        self._calls = {role: HandleCall(handle) for role, handle in models.items()}
        self._graph = graph_class(name)(self._calls)
        self._woken = float("-inf")
        self._waking: asyncio.Future[list[Any]] | None = None

    def _wake(self) -> None:
        if monotonic() - self._woken > WAKE_EVERY_S:
            self._waking = asyncio.gather(*(call([]) for call in self._calls.values()), return_exceptions=True)
        self._woken = monotonic()

    async def run(self, request: object) -> Outcome[Any] | ModisteError:
        """The outcome; or the refusal, which as an exception would be logged as a failure."""
        self._wake()
        try:
            return await run(self._name, self._graph, request)
        except ModisteError as refusal:
            return refusal

    async def stream(self, request: object) -> AsyncGenerator[float | Outcome[Any] | ModisteError, None]:
        """Progress (0-1) as it comes, then the outcome or the refusal. Closing the stream stops the work."""
        self._wake()
        async with aclosing(watch(self._name, self._graph, request)) as news:
            try:
                async for item in news:
                    yield item
            except ModisteError as refusal:
                yield refusal


def bind_flow(name: str) -> serve.Application:
    """The flow's deployment, bound to those of its models; flows share the deployments of models."""
    models = {role: bind(model_for(role)) for role in graph_class(name).roles()}
    resources = Resources(cpus=1.0, min_replicas=1, max_replicas=4, target_ongoing_requests=4.0)
    return serve.deployment(GraphReplica).options(name=name, **options(resources)).bind(name, models)


def bind_flows() -> dict[str, serve.Application]:
    """Every flow's deployment by name."""
    return {name: bind_flow(name) for name in GRAPHS}
