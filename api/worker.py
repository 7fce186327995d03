"""Runs queued jobs, one at a time, inside the server."""

import asyncio
from contextlib import aclosing
from time import monotonic

from api.deps import Flows
from api.errors import describe, problem
from api.files import FileStore
from api.flows import build_request, parse_options, store_result
from api.jobs import Job, JobStore
from graphs.report import Outcome
from graphs.signature import signature
from modiste.errors import ModisteError
from modiste.image import Format
from modiste.telemetry import log

REPORT_EVERY_S = 0.5


class Worker:
    """Takes jobs from the store as long as it runs. Videos use every core; side by side they would only be slower."""

    def __init__(self, flows: Flows, jobs: JobStore, files: FileStore) -> None:
        self._flows, self._jobs, self._files = flows, jobs, files
        self._work = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._running: tuple[str, asyncio.Task[None]] | None = None

    def wake(self) -> None:
        """There is a new job."""
        self._work.set()

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended; returns when its work has stopped.

        raises: NotFound
        """
        await asyncio.to_thread(self._jobs.get, job_id)
        async with self._claiming:
            if self._running is not None and self._running[0] == job_id:
                self._running[1].cancel()
                await asyncio.wait([self._running[1]])
            await asyncio.to_thread(self._jobs.cancel, job_id)
        return await asyncio.to_thread(self._jobs.get, job_id)

    async def run(self) -> None:
        """Work until cancelled. A job that is running then goes back to the queue at the next start."""
        interrupted = problem("internal", 500, "the server ended each time that this job ran")
        await asyncio.to_thread(self._jobs.requeue, interrupted.model_dump(exclude_defaults=True))
        while True:
            async with self._claiming:
                job = await asyncio.to_thread(self._jobs.claim)
                task = None if job is None else asyncio.create_task(self._finish(job))
                self._running = None if job is None or task is None else (job.id, task)
            if task is None:
                await self._work.wait()
                self._work.clear()
                continue
            try:
                await asyncio.wait([task])
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def _finish(self, job: Job) -> None:
        try:
            result = await self._result(job)
        except Exception as error:  # the job's outcome, not the worker's
            if not isinstance(error, ModisteError):
                log.error("job_failed", job=job.id, exc_info=error)
            await asyncio.to_thread(self._jobs.fail, job.id, describe(error).model_dump(exclude_defaults=True))
        else:
            await asyncio.to_thread(self._jobs.succeed, job.id, result)

    async def _result(self, job: Job) -> dict[str, object]:
        of = signature(job.flow)
        contents = {path.stem: path for path in self._jobs.inputs(job.id).iterdir()}
        request = await build_request(of, contents, parse_options(of, job.options))
        reported = 0.0
        async with aclosing(self._flows.stream(of.flow, request)) as stream:
            async for news in stream:
                if isinstance(news, Outcome):
                    return await store_result(of, request, news, self._files, _format(job))
                if monotonic() - reported > REPORT_EVERY_S:
                    reported = monotonic()
                    await asyncio.to_thread(self._jobs.report, job.id, news)
        raise RuntimeError(f"{of.flow} ended without an outcome")


def _format(job: Job) -> Format:
    formats: dict[str, Format] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
    return formats[job.format]
