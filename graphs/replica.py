"""The one class that Ray Serve runs for every flow."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import cv2
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments import model_for
from deployments.app import answer, bind, options
from graphs import GRAPHS, graph_class
from graphs.report import Outcome, run
from graphs.watch import watch
from modiste.settings import settings
from modiste.spec import Resources


@dataclass(frozen=True, slots=True)
class HandleCall:
    """Reaches a role's model through its deployment."""

    handle: DeploymentHandle[Any]

    async def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        results: list[Any] = await answer(lambda: self.handle.remote(list(inputs)))
        return results


class GraphReplica:
    """One flow, wired to the deployments of the models that play its roles."""

    def __init__(self, name: str, models: Mapping[str, DeploymentHandle[Any]]) -> None:
        cv2.setNumThreads(settings().threads)
        self._name = name
        self._graph = graph_class(name)({role: HandleCall(handle) for role, handle in models.items()})

    async def run(self, request: object) -> Outcome[Any]:
        return await run(self._name, self._graph, request)

    async def stream(self, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        """Progress (0-1) as it comes, then the outcome. Closing the stream stops the work."""
        async with aclosing(watch(self._name, self._graph, request)) as news:
            async for item in news:
                yield item


def bind_flow(name: str) -> serve.Application:
    """The flow's deployment, bound to those of its models; flows share the deployments of models."""
    models = {role: bind(model_for(role)) for role in graph_class(name).roles()}
    resources = Resources(cpus=1.0, min_replicas=1, max_replicas=4, target_ongoing_requests=4.0)
    return serve.deployment(GraphReplica).options(name=name, **options(resources)).bind(name, models)


def bind_flows() -> dict[str, serve.Application]:
    """Every flow's deployment by name."""
    return {name: bind_flow(name) for name in GRAPHS}
