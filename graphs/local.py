"""All of a graph in one process: for the command line, notebooks and tests. The same graph code as under Ray."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from deployments import model_for, open_model
from deployments.base import Model
from graphs import graph_class
from graphs.base import Call, Graph
from graphs.report import Outcome, run


class LocalRunner:
    """Opens models as they are first used and keeps them. Use as a context manager, or call `close`.

    opened: how a model is opened, by its id
    """

    def __init__(self, opened: Callable[[str], Model[Any, Any]] = open_model) -> None:
        self._opened = opened
        self._models: dict[str, tuple[Model[Any, Any], Lock]] = {}
        self._opening = Lock()

    def graph(self, name: str) -> Graph[Any, Any]:
        found = graph_class(name)
        return found(self.calls(found))

    def calls(self, graph: type[Graph[Any, Any]]) -> dict[str, Call]:
        """What a graph is made from; for graphs that are no flows of their own."""
        return {role: _LocalCall(self, role) for role in graph.roles()}

    def open(self, graph: type[Graph[Any, Any]]) -> None:
        """Open a graph's models now instead of at their first use."""
        for role in graph.roles():
            self._model(role)

    def run(self, name: str, request: object) -> Outcome[Any]:
        """Run a flow once, blocking."""
        return asyncio.run(run(name, self.graph(name), request))

    def call(self, role: str, inputs: Sequence[Any]) -> list[Any]:
        model, lock = self._model(role)
        with lock:
            return model(inputs)

    def _model(self, role: str) -> tuple[Model[Any, Any], Lock]:
        model_id = model_for(role)
        with self._opening:
            if model_id not in self._models:
                self._models[model_id] = (self._opened(model_id), Lock())
            return self._models[model_id]

    def close(self) -> None:
        for model, _ in self._models.values():
            model.close()
        self._models.clear()

    def __enter__(self) -> "LocalRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _LocalCall:
    def __init__(self, runner: LocalRunner, role: str) -> None:
        self._runner, self._role = runner, role

    async def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        return await asyncio.to_thread(self._runner.call, self._role, inputs)
