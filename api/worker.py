"""Keeps jobs and runs them."""

import asyncio
from contextlib import aclosing
from time import monotonic

from api.deps import Flows
from api.errors import describe, problem
from api.files import FileStore
from api.flows import build_request, parse_options, store_result
from api.jobs import LEASE_S, Job, JobStore, State
from graphs.report import Outcome
from graphs.signature import signature
from modiste.errors import ModisteError
from modiste.image import Format
from modiste.metrics import JOB_SECONDS, record
from modiste.settings import settings
from modiste.spans import span
from modiste.telemetry import Context, log, within

REPORT_EVERY_S = 0.5
RENEW_EVERY_S = LEASE_S / 5
LOOK_EVERY_S = 2.0
"""For jobs that another server left."""

_INTERRUPTED = problem("internal", 500, "the server ended each time that this job ran")


class Worker:
    """Takes jobs from the store as long as it runs; as many at once as the settings say, which is one where videos use
    every core."""

    def __init__(self, flows: Flows, jobs: JobStore, files: FileStore) -> None:
        self._flows, self._jobs, self._files = flows, jobs, files
        self._work = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}

    async def add(self, job_id: str, flow: str, options: str, image_format: str, tenant: str) -> Job:
        """Queue a job whose inputs lie in its folder; adding it again changes nothing."""
        job = await asyncio.to_thread(self._jobs.add, job_id, flow, options, image_format, tenant)
        self._work.set()
        return job

    async def get(self, job_id: str) -> Job:
        """raises: NotFound"""
        return await asyncio.to_thread(self._jobs.get, job_id)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended; returns when its work has stopped, where it is done here.

        raises: NotFound
        """
        await self.get(job_id)
        async with self._claiming:
            if job_id in self._running:
                _, task = self._running[job_id]
                task.cancel()
                await asyncio.wait([task])
            await asyncio.to_thread(self._jobs.cancel, job_id)
        return await self.get(job_id)

    async def run(self) -> None:
        """Work until cancelled; what is not done by then goes back to the queue."""
        try:
            async with asyncio.TaskGroup() as turns:
                for _ in range(settings().jobs_at_once):
                    turns.create_task(self._take_turns())
        finally:
            for job, _ in self._running.values():
                await asyncio.to_thread(self._jobs.release, job)

    async def _take_turns(self) -> None:
        while True:
            async with self._claiming:
                await asyncio.to_thread(self._jobs.reap, _INTERRUPTED.model_dump(exclude_defaults=True))
                job = await asyncio.to_thread(self._jobs.claim)
                if job is not None:
                    task = asyncio.create_task(self._finish(job))
                    self._running[job.id] = (job, task)
            if job is None:
                await asyncio.wait([looking := asyncio.create_task(self._work.wait())], timeout=LOOK_EVERY_S)
                looking.cancel()
                self._work.clear()
                continue
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                raise
            del self._running[job.id]

    async def _finish(self, job: Job) -> None:
        """Do the job and tell the store, as long as the job is ours."""
        started = monotonic()
        with within(_context(job)):
            work = asyncio.create_task(self._result(job))
        try:
            while not (await asyncio.wait([work], timeout=RENEW_EVERY_S))[0]:
                if not await asyncio.to_thread(self._jobs.renew, job):
                    log.warning("job_lost", job=job.id)
                    return
            result = work.result()
        except Exception as error:  # the job's outcome, not the worker's
            if not isinstance(error, ModisteError):
                log.error("job_failed", job=job.id, exc_info=error)
            document = describe(error)
            await asyncio.to_thread(self._jobs.fail, job, document.model_dump(exclude_defaults=True))
            _tell(job, "failed", document.code, started)
        else:
            await asyncio.to_thread(self._jobs.succeed, job, result)
            _tell(job, "succeeded", "ok", started)
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def _result(self, job: Job) -> dict[str, object]:
        with span("job", flow=job.flow):
            return await self._run(job)

    async def _run(self, job: Job) -> dict[str, object]:
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
                    await asyncio.to_thread(self._jobs.report, job, news)
        raise RuntimeError(f"{of.flow} ended without an outcome")


def _context(job: Job) -> Context:
    return Context(tenant=job.tenant, flow=job.flow, job=job.id)


def _tell(job: Job, state: State, code: str, started: float) -> None:
    seconds = monotonic() - started
    record(JOB_SECONDS, seconds, flow=job.flow, state=state)
    with within(_context(job)):
        log.info("job_ended", state=state, code=code, ms=round(seconds * 1e3), attempts=job.attempts)


def _format(job: Job) -> Format:
    formats: dict[str, Format] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
    return formats[job.format]
