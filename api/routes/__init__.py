"""The HTTP service as a plain FastAPI application: one operation for each flow, jobs, files, health."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from api import errors
from api.deps import Flows, Services
from api.files import FileStore
from api.jobs import JobStore
from api.routes import files, flows, health, jobs
from api.worker import Worker
from modiste.settings import settings

SWEEP_EVERY_S = 600.0


def http_app(called: Flows, user: httpx.AsyncClient) -> FastAPI:
    """The application, with its stores under the configured state folder.

    called: how flows are run; user: reaches this very application the way users do
    """
    state = settings().state
    state.mkdir(parents=True, exist_ok=True)
    file_store, job_store = FileStore(state / "files"), JobStore(state)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        worker = Worker(called, job_store, file_store)
        app.state.services = Services(flows=called, files=file_store, jobs=job_store, worker=worker, user=user)
        tasks = [asyncio.create_task(worker.run()), asyncio.create_task(_sweep(file_store, job_store))]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await user.aclose()

    app = FastAPI(
        title="Modiste",
        summary="Virtual models, try-on, anonymization, ID photos and sketch search.",
        version="1",
        lifespan=lifespan,
        responses={
            "4XX": {"model": errors.Problem, "description": "what to change"},
            "5XX": {"model": errors.Problem, "description": "the server's fault"},
        },
    )
    errors.install(app)
    flows.add(app)
    for routes in (files, jobs, health):
        app.include_router(routes.router)
    flows.describe_options(app)
    return app


async def _sweep(file_store: FileStore, job_store: JobStore) -> None:
    keep_s = settings().keep_hours * 3600
    while True:
        await asyncio.to_thread(file_store.sweep, keep_s)
        await asyncio.to_thread(job_store.sweep, keep_s)
        await asyncio.sleep(SWEEP_EVERY_S)
