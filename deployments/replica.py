"""The one class that Ray Serve runs for every model."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Any

import cv2

from compile.engine import GPUOutOfMemory
from deployments import gpu_device, model_class, open_model, threads_of
from deployments.load import WorkLoad
from deployments.observed import TimedEngine, start
from deployments.placement import gpu_share
from modiste.errors import DeadlineExceeded, ModisteError, OutOfMemory
from modiste.metrics import (
    BATCH_SIZE,
    COLD_START,
    GPU_MEMORY,
    GPU_MEMORY_DECLARED,
    MODEL_SECONDS,
    QUEUE_SECONDS,
    record,
)
from modiste.spans import failed, span
from modiste.telemetry import Context, log, within


@dataclass(frozen=True, slots=True)
class Call:
    """Inputs, whose they are, and when they came (this process's clock)."""

    inputs: Sequence[Any]
    given: Context
    arrived: float = field(default_factory=perf_counter)


STUCK_AFTER_S = 600.0
"""No model's call takes this long; one that does will not come back."""

LAST_WORDS_S = 0.1
"""For the answers of a replica that ends to leave it."""


class Replica:
    """One opened model. Calls run one after the other on a thread of their own, off the event loop.

    Calls are not gathered into batches: a CPU engine runs a batch as singles, so waiting for company would only
    cost time. A caller with several inputs sends them in one call.

    raises: RuntimeError where its GPU has less free memory than the model declares
    """

    def __init__(self, model_id: str) -> None:
        # Serve constructs replicas on a thread of their own: opening may take its time.
        began = perf_counter()
        start(model_id)
        cv2.setNumThreads(threads_of(model_class(model_id).spec.resources))
        resources = model_class(model_id).spec.resources
        self._on_gpu = gpu_share(resources) > 0
        if self._on_gpu:
            gpu_device.require_free(resources.gpu_memory_mb)
            record(GPU_MEMORY_DECLARED, resources.gpu_memory_mb * gpu_device.MB, model=model_id)
        self._id = model_id
        try:
            self._model = open_model(model_id, TimedEngine)
        except ModisteError as error:  # Serve tells the reason in its status, and starts another
            log.error("model_not_opened", code=error.code)
            raise
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=model_id)
        self._started: float | None = None
        self._spent: str | None = None
        self._load, self._room = WorkLoad(), 1
        record(COLD_START, perf_counter() - began, model=model_id)
        log.info("model_opened", ms=_ms(perf_counter() - began))

    def record_autoscaling_stats(self) -> dict[str, float]:
        """For the policy that scales this deployment; Serve asks by this name."""
        return self._load.stats()

    async def __call__(self, inputs: Sequence[Any], given: Context) -> list[Any] | ModisteError:
        """One result per input, in order; or the refusal, which as an exception would be logged as a failure.

        A call without inputs only wakes the deployment. One that is cancelled before its turn is not begun.
        """
        if not inputs:
            return []
        with self._load.taken(len(inputs)):
            return (await self.answers([Call(inputs, given)]))[0]

    async def answers(self, calls: Sequence[Call]) -> list[list[Any] | ModisteError]:
        """One answer per call."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._run, calls)
        except GPUOutOfMemory as error:
            # What is left of the GPU's memory in this process nobody knows; its end gives back all of it.
            log.error("out_of_gpu_memory", reason=str(error))
            self._spent = str(error)
            loop.call_later(LAST_WORDS_S, os._exit, 1)
            return [OutOfMemory("expected room on the GPU, got none; send the request again later") for _ in calls]

    def _run(self, calls: Sequence[Call]) -> list[list[Any] | ModisteError]:
        if self._spent is not None:
            raise GPUOutOfMemory(self._spent)
        late = DeadlineExceeded("expected to begin before the deadline, came to it afterwards")
        answers: list[list[Any] | ModisteError] = [late for _ in calls]
        wanted = [i for i, call in enumerate(calls) if not call.given.expired()]
        for i in set(range(len(calls))).difference(wanted):
            with within(calls[i].given):
                queued = _ms(perf_counter() - calls[i].arrived)
                log.info("model_call", code=late.code, inputs=len(calls[i].inputs), queue_ms=queued, ms=0.0)
        if not wanted:
            return answers
        self._started = monotonic()
        try:
            with self._load.worked(sum(len(calls[i].inputs) for i in wanted), self._room):
                for i, answer in zip(wanted, self._told([calls[i] for i in wanted]), strict=True):
                    answers[i] = answer
        finally:
            self._started = None
        return answers

    def _told(self, calls: Sequence[Call]) -> list[list[Any] | ModisteError]:
        """One answer per call, with all that is told of it: times, a line in the log, spans. The engines' spans are
        inside of the first call's."""
        size = sum(len(call.inputs) for call in calls)
        started = perf_counter()
        with ExitStack() as inside:
            for call in reversed(calls):
                name, parent = f"model {self._id}", call.given.traceparent
                inside.enter_context(span(name, parent=parent, serves=True, inputs=len(call.inputs), batch=size))
            inside.enter_context(within(calls[0].given))
            answers = self._answers(calls)
            if isinstance(answers[0], ModisteError):
                failed(answers[0].code)
        seconds = perf_counter() - started
        record(MODEL_SECONDS, seconds, model=self._id)
        record(BATCH_SIZE, size, model=self._id)
        for call, answer in zip(calls, answers, strict=True):
            queued = started - call.arrived
            record(QUEUE_SECONDS, queued, model=self._id)
            with within(call.given):
                code = answer.code if isinstance(answer, ModisteError) else "ok"
                log.info("model_call", code=code, inputs=len(call.inputs), queue_ms=_ms(queued), ms=_ms(seconds))
        return answers

    def _answers(self, calls: Sequence[Call]) -> list[list[Any] | ModisteError]:
        try:
            if len(calls) == 1:
                return [self._model(calls[0].inputs)]
            outcomes = iter(self._model.outcomes([x for call in calls for x in call.inputs]))
            return [_answer([next(outcomes) for _ in call.inputs]) for call in calls]
        except ModisteError as refusal:
            return [refusal for _ in calls]

    def _weigh(self) -> None:
        with suppress(RuntimeError):  # a driver that does not answer is no reason to end what it serves
            if (taken := gpu_device.own_bytes()) is not None:
                record(GPU_MEMORY, taken, model=self._id)

    async def check_health(self) -> None:
        """A replica whose call is stuck, or whose GPU had no room, is to be replaced; raising says so to Serve."""
        if self._on_gpu:
            await asyncio.to_thread(self._weigh)
        if self._spent is not None:
            raise RuntimeError(f"expected room on the GPU, got none: {self._spent}")
        started = self._started
        if started is not None and monotonic() - started > STUCK_AFTER_S:
            raise RuntimeError(f"a call has run for more than {STUCK_AFTER_S:.0f} s")


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 1)


def _answer(outcomes: Sequence[Any]) -> list[Any] | ModisteError:
    """What one call is told: its results, or the first refusal."""
    return next((outcome for outcome in outcomes if isinstance(outcome, ModisteError)), list(outcomes))
