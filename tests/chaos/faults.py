"""What is put into every process of a server under test: the small model and flows where asked for, and a brake.

The brake makes a model's replicas sleep after each call as if it took so many times as long, for as long as the folder
CHAOS_FAULTS holds a file slow_<model> with that number. It sleeps, so that other models keep their share of the cores.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any


def install() -> None:
    from deployments.replica import Replica

    if os.environ.get("CHAOS_SMALL"):
        import tiny

        tiny.register()
    run: Callable[..., Any] = Replica._run

    def braked(self: Replica, *given: Any) -> Any:
        started = perf_counter()
        answers = run(self, *given)
        brake = Path(os.environ["CHAOS_FAULTS"]) / f"slow_{self._id}"
        if brake.exists():
            sleep((float(brake.read_text()) - 1) * (perf_counter() - started))
        return answers

    setattr(Replica, "_run", braked)  # noqa: B010 - not known to the type
