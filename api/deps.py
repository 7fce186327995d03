"""What routes need: flows to call, files and jobs to keep. Built once for each server process."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

import httpx
from fastapi import Depends, Request

from api.files import FileStore
from api.jobs import Job
from api.tenants import Tenant, Tenants
from graphs.report import Outcome


class Flows(Protocol):
    """Calls a flow by name: through Ray Serve in the server, in one process in tests."""

    async def run(self, name: str, request: object) -> Outcome[Any]: ...

    def stream(self, name: str, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        """Progress 0-1, then the outcome. Closing it stops the work."""
        ...


class Jobs(Protocol):
    """Keeps and runs jobs: a worker, in this process or in the one that all ingress replicas share."""

    async def add(self, job_id: str, flow: str, options: str, image_format: str, tenant: str) -> Job: ...

    async def get(self, job_id: str) -> Job: ...

    async def cancel(self, job_id: str) -> Job: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """user: a client that reaches this server the way its users do, for the golden request."""

    flows: Flows
    jobs: Jobs
    files: FileStore
    tenants: Tenants
    user: httpx.AsyncClient


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Deps = Annotated[Services, Depends(_services)]


def _caller(request: Request, services: Deps) -> Tenant:
    found = services.tenants.of(request.headers.get("authorization"))
    request.state.tenant = found.name
    return found


Caller = Annotated[Tenant, Depends(_caller)]
"""Whose request it is."""
