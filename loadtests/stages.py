"""Where a flow's time goes: each model's engines, what surrounds them on the CPU, and the flow's own work.

With the edition and target of the settings, all in one process.
"""

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import Any, cast

from compile.engine import Engine
from deployments import open_model
from deployments.base import Model
from graphs.local import LocalRunner
from graphs.report import run
from graphs.signature import signature
from loadtests.cases import cases
from loadtests.overhead import decoded, sample_catalogue
from modiste.errors import ModisteError

Row = dict[str, Any]
WARM_UP, RUNS = 1, 3


class Timed:
    """An engine or a model that adds up the milliseconds its calls took."""

    def __init__(self, timed: Any) -> None:
        self.timed, self.spec, self.ms, self.calls = timed, timed.spec, 0.0, 0

    def __call__(self, given: Any) -> Any:
        started = perf_counter()
        try:
            return self.timed(given)
        finally:
            self.ms += (perf_counter() - started) * 1e3
            self.calls += 1

    def close(self) -> None:
        self.timed.close()


class Stages:
    """Models opened so that they and their engines are timed."""

    def __init__(self) -> None:
        self.models: dict[str, tuple[Timed, list[Timed]]] = {}

    def opened(self, model_id: str) -> Model[Any, Any]:
        model = open_model(model_id)
        engines = {name: Timed(engine) for name, engine in model.engines.items()}
        model.engines = cast("dict[str, Engine]", engines)
        timed = Timed(model)
        self.models[model_id] = timed, list(engines.values())
        return cast("Model[Any, Any]", timed)

    def clear(self) -> None:
        for model, engines in self.models.values():
            for timed in (model, *engines):
                timed.ms, timed.calls = 0.0, 0

    def row(self) -> Row:
        return {
            model_id: {
                "calls": model.calls,
                "ms": round(model.ms, 1),
                "engine_ms": round(sum(engine.ms for engine in engines), 1),
            }
            for model_id, (model, engines) in self.models.items()
            if model.calls
        }


def rows() -> Iterator[Row]:
    """One for each flow that answers at once.

    ms:     of the whole flow, from decoded pictures to pictures, in the median run
    models: by id: calls, ms in all of them, and engine_ms of it in engines, copies included; the rest is pre- and
            post-processing. Models work side by side where the flow lets them
    """
    with sample_catalogue():
        for flow in (name for name in cases() if not signature(name).takes_video):
            row: Row = {"row": "flow", "name": flow}
            try:
                yield row | _measured(flow)
            except (ModisteError, RuntimeError, OSError, ImportError) as error:
                yield row | {"missed": f"{type(error).__name__}: {error}"[:300]}


def _measured(flow: str) -> Row:
    stages = Stages()
    request = decoded(flow, cases()[flow], cases()[flow].read())
    found: list[Row] = []
    with LocalRunner(stages.opened) as runner:
        for _ in range(WARM_UP + RUNS):
            stages.clear()
            report = asyncio.run(run(flow, runner.graph(flow), request)).report
            found.append({"ms": report.total_ms, "models": stages.row()})
    warm = sorted(found[WARM_UP:], key=lambda one: float(one["ms"]))
    return warm[RUNS // 2]
