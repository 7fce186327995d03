"""What is put into every process of a server under test: which flows there are, and a brake.

CHAOS_FLOWS names the flows that are served, "small" the small ones: servers whose parts are killed again and again are
kept to what a test calls.

The brake makes a model's replicas sleep after each call, for as long as the folder CHAOS_FAULTS holds a file
slow_<model>: "10" for ten times as long, "+0.5" for half a second more. It sleeps, so that other models keep
their share of the cores.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any


def install() -> None:
    from deployments.replica import Replica
    from graphs import GRAPHS

    if os.environ["CHAOS_FLOWS"] == "small":
        import tiny

        tiny.register()
    else:
        for name in set(GRAPHS) - set(os.environ["CHAOS_FLOWS"].split()):
            del GRAPHS[name]  # type: ignore[attr-defined]
    run: Callable[..., Any] = Replica._run

    def braked(self: Replica, *given: Any) -> Any:
        started = perf_counter()
        answers = run(self, *given)
        brake = Path(os.environ["CHAOS_FAULTS"]) / f"slow_{self._id}"
        if brake.exists():
            told, took = brake.read_text(), perf_counter() - started
            sleep(float(told) if told.startswith("+") else (float(told) - 1) * took)
        return answers

    setattr(Replica, "_run", braked)  # noqa: B010 - not known to the type
