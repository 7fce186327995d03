"""What is put into every process of a server under test: which flows there are, and a brake.

CHAOS_FLOWS names the flows that are served, "small" the small ones: servers whose parts are killed again and again are
kept to what a test calls.

The brake makes a model sleep at the end of each call, for as long as the folder CHAOS_FAULTS holds a file
slow_<model>: "10" for ten times as long, "+0.5" for half a second more. It sleeps, so that other models keep
their share of the cores.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any


def install() -> None:
    import deployments.replica
    from deployments.base import Model
    from graphs import GRAPHS

    if os.environ["CHAOS_FLOWS"] == "small":
        import tiny

        tiny.register()
    else:
        for name in set(GRAPHS) - set(os.environ["CHAOS_FLOWS"].split()):
            del GRAPHS[name]  # type: ignore[attr-defined]
    opened: Callable[..., Model[Any, Any]] = vars(deployments.replica)["open_model"]

    def braked(model_id: str, *given: Any) -> Model[Any, Any]:
        model = opened(model_id, *given)
        outcomes = model.outcomes
        brake = Path(os.environ["CHAOS_FAULTS"]) / f"slow_{model_id}"

        def slower(batch: Sequence[Any]) -> Sequence[Any]:
            started = perf_counter()
            made = outcomes(batch)
            if brake.exists():
                told, took = brake.read_text(), perf_counter() - started
                sleep(float(told) if told.startswith("+") else (float(told) - 1) * took)
            return made

        vars(model)["outcomes"] = slower
        return model

    vars(deployments.replica)["open_model"] = braked
