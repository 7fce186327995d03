"""The one class that Ray Serve runs for every model."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import cv2

from deployments import open_model
from modiste.errors import ModisteError
from modiste.settings import settings

STUCK_AFTER_S = 600.0
"""No model's call takes this long; one that does will not come back."""


class Replica:
    """One opened model. Calls run one after the other on a thread of their own, off the event loop.

    Calls are not gathered into batches: a CPU engine runs a batch as singles, so waiting for company would only
    cost time. A caller with several inputs sends them in one call.
    """

    def __init__(self, model_id: str) -> None:
        # Serve constructs replicas on a thread of their own: opening may take its time.
        cv2.setNumThreads(settings().threads)
        self._model = open_model(model_id)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=model_id)
        self._started: float | None = None

    async def __call__(self, inputs: Sequence[Any]) -> list[Any] | ModisteError:
        """One result per input, in order; or the refusal, which as an exception would be logged as a failure.

        A call without inputs only wakes the deployment.
        """
        if not inputs:
            return []
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, inputs)

    def _run(self, inputs: Sequence[Any]) -> list[Any] | ModisteError:
        self._started = monotonic()
        try:
            return self._model(inputs)
        except ModisteError as refusal:
            return refusal
        finally:
            self._started = None

    async def check_health(self) -> None:
        """A replica whose call is stuck is to be replaced; raising says so to Serve."""
        started = self._started
        if started is not None and monotonic() - started > STUCK_AFTER_S:
            raise RuntimeError(f"a call has run for more than {STUCK_AFTER_S:.0f} s")
