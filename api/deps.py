"""What routes need: flows to call, files and jobs to keep. Built once for each server process."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

import httpx
from fastapi import Depends, Request

from api.files import FileStore
from api.jobs import JobStore
from graphs.report import Outcome

if TYPE_CHECKING:
    from api.worker import Worker


class Flows(Protocol):
    """Calls a flow by name: through Ray Serve in the server, in one process in tests."""

    async def run(self, name: str, request: object) -> Outcome[Any]: ...

    def stream(self, name: str, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        """Progress 0-1, then the outcome. Closing it stops the work."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """user: a client that reaches this server the way its users do, for the golden request."""

    flows: Flows
    files: FileStore
    jobs: JobStore
    worker: "Worker"
    user: httpx.AsyncClient


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Deps = Annotated[Services, Depends(_services)]
