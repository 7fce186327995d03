"""The HTTP service as a plain FastAPI application: one operation for each flow, jobs, files, health."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from api import errors
from api.deps import Flows, Jobs, Services
from api.files import FileStore
from api.observed import Observed
from api.routes import files, flows, health, jobs
from api.tenants import load_tenants
from modiste.settings import settings


def http_app(called: Flows, kept: Jobs, user: httpx.AsyncClient) -> FastAPI:
    """The application, with its files under the configured state folder.

    called: how flows are run; kept: who has the jobs; user: reaches this very application the way users do
    """
    services = Services(
        flows=called,
        jobs=kept,
        files=FileStore(settings().state / "files"),
        tenants=load_tenants(settings().tenants),
        user=user,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        app.state.services = services
        yield
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
    app.add_middleware(Observed)
    errors.install(app)
    flows.add(app)
    for routes in (files, jobs, health):
        app.include_router(routes.router)
    flows.describe_options(app)
    return app
