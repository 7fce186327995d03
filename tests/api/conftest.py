"""The HTTP application in this process, on small real flows, without Ray."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny

from api.door import Door
from api.files import FileStore
from api.jobs import JobStore
from api.routes import http_app
from api.worker import Worker
from deployments import EDITIONS, MODELS
from graphs import GRAPHS
from graphs.local import LocalRunner
from graphs.report import Outcome, run
from graphs.signature import signature
from graphs.watch import watch
from modiste.settings import settings
from modiste.telemetry import context


class LocalFlows:
    """Flows in this process."""

    def __init__(self) -> None:
        self.runner = LocalRunner()

    async def run(self, name: str, request: object) -> Outcome[Any]:
        return await run(name, self.runner.graph(name), request)

    def stream(self, name: str, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        return watch(name, self.runner.graph(name), request, context())


@pytest.fixture
def small_flows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[None, None, None]:
    monkeypatch.setenv("MODISTE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TINY_TRACE", str(tmp_path / "trace"))
    before = [(table, dict(table)) for table in (MODELS, EDITIONS["default"], GRAPHS)]
    settings.cache_clear()
    signature.cache_clear()
    tiny.register()
    yield
    for table, entries in before:
        table.clear()  # type: ignore[attr-defined]
        table.update(entries)  # type: ignore[attr-defined]
    settings.cache_clear()
    signature.cache_clear()


Serving = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serving(small_flows: None) -> Serving:
    """Starts the application anew each time it is called, on the same state."""

    @asynccontextmanager
    async def start() -> AsyncGenerator[httpx.AsyncClient, None]:
        flows, state = LocalFlows(), settings().state
        worker = Worker(flows, JobStore(state), FileStore(state / "files"))
        user = httpx.AsyncClient(base_url="http://test")
        app = http_app(flows, worker, user)
        user._transport = httpx.ASGITransport(app)
        transport = httpx.ASGITransport(Door(app), raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as c,
        ):
            working = asyncio.create_task(worker.run())
            yield c
            working.cancel()
            await asyncio.wait([working])

    return start


@pytest.fixture
async def client(serving: Serving) -> AsyncGenerator[httpx.AsyncClient, None]:
    async with serving() as started:
        yield started
