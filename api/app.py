"""The server on Ray Serve: one application per model, one per flow, one that keeps jobs, one that answers HTTP."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx
import ray
from fastapi import FastAPI
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

import deployments.app
import graphs.replica
from api.files import FileStore
from api.gauges import measure
from api.jobs import Job, JobStore
from api.routes import http_app
from api.worker import Worker
from deployments import model_for
from deployments.app import LOST, answer, busy, handle_of, options
from deployments.load import ProcessLoad
from deployments.observed import start
from graphs import GRAPHS, graph_class
from graphs.report import Outcome
from modiste.errors import ModisteError
from modiste.metrics import RETRIES, record
from modiste.settings import settings
from modiste.spec import Resources
from modiste.telemetry import log, onward

HTTP, JOBS = "http", "jobs"
INGRESS = Resources(cpus=1.0, min_replicas=1, max_replicas=4)
KEEPER = Resources(cpus=1.0, min_replicas=1, max_replicas=1)
"""One keeps all jobs; two for a moment, during an upgrade, do no harm."""
INGRESS_TAKES = {"max_ongoing_requests": 1024, "max_queued_requests": -1}
"""So many that requests are refused at the door (api/door.py), which says why and until when, and not by Serve."""
SWEEP_EVERY_S = 600.0
OBJECT_STORE_BYTES = 512_000_000
"""Pictures in flight between processes; a 40 megapixel picture takes 120 MB."""
INLINE_BYTES = 1_000_000
"""Up to this size crops of faces travel inside the call, which is quicker; larger pictures are quicker through the
object store (`loadtests/hops.py`)."""


class AlreadyServing(ModisteError):
    """Port or state folder belong to another server."""

    code = "already_serving"


@dataclass(frozen=True, slots=True)
class ServeFlows:
    """Flows as applications."""

    handles: Mapping[str, DeploymentHandle[Any]]

    async def run(self, name: str, request: object) -> Outcome[Any]:
        given = onward()
        outcome: Outcome[Any] = await answer(lambda: self.handles[name].run.remote(request, given), name)
        return outcome

    async def stream(self, name: str, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        try:
            async with aclosing(self._stream_once(name, request)) as stream:
                async for news in stream:
                    yield news
        except LOST as death:
            if isinstance(death, RayTaskError):
                raise
            record(RETRIES, deployment=name)
            log.warning("replica_died", called=name, reason=str(death).partition("\n")[0])
            async with aclosing(self._stream_once(name, request)) as stream:
                async for news in stream:
                    yield news

    async def _stream_once(self, name: str, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        response = self.handles[name].options(stream=True).stream.remote(request, onward())
        try:
            async for news in response:
                if isinstance(news, ModisteError):
                    raise news
                yield news
        except BackPressureError as error:
            raise busy() from error
        finally:
            response.cancel()


def serve_flows() -> ServeFlows:
    """raises: NotDeployed"""
    return ServeFlows({name: handle_of(name) for name in GRAPHS})


@dataclass(frozen=True, slots=True)
class ServeJobs:
    """Jobs in the application that keeps them."""

    handle: DeploymentHandle[Any]

    async def add(self, job_id: str, flow: str, options: str, image_format: str, tenant: str) -> Job:
        added: Job = await answer(lambda: self.handle.add.remote(job_id, flow, options, image_format, tenant), JOBS)
        return added

    async def get(self, job_id: str) -> Job:
        found: Job = await answer(lambda: self.handle.get.remote(job_id), JOBS)
        return found

    async def cancel(self, job_id: str) -> Job:
        cancelled: Job = await answer(lambda: self.handle.cancel.remote(job_id), JOBS)
        return cancelled


class JobsReplica:
    """Keeps and runs the jobs, and throws away what is too old."""

    async def __init__(self) -> None:  # type: ignore[misc]
        start(JOBS)
        flows = await asyncio.to_thread(serve_flows)
        self._store, self._files = JobStore(settings().state), FileStore(settings().state / "files")
        self._worker = Worker(flows, self._store, self._files)
        self._tasks = [
            asyncio.create_task(self._worker.run()),
            asyncio.create_task(self._sweep()),
            asyncio.create_task(measure(self._store)),
        ]

    async def add(self, job_id: str, flow: str, options: str, image_format: str, tenant: str) -> Job:
        return await self._worker.add(job_id, flow, options, image_format, tenant)

    async def get(self, job_id: str) -> Job | ModisteError:
        try:
            return await self._worker.get(job_id)
        except ModisteError as refusal:
            return refusal

    async def cancel(self, job_id: str) -> Job | ModisteError:
        try:
            return await self._worker.cancel(job_id)
        except ModisteError as refusal:
            return refusal

    async def check_health(self) -> None:
        """Raises what ended its work."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _sweep(self) -> None:
        keep_s = settings().keep_hours * 3600
        while True:
            await asyncio.to_thread(self._files.sweep, keep_s)
            await asyncio.to_thread(self._store.sweep, keep_s)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def __del__(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def ingress() -> FastAPI:
    """Runs in the replicas that answer HTTP."""
    start(HTTP)
    return http_app(serve_flows(), ServeJobs(handle_of(JOBS)), httpx.AsyncClient(base_url=address()))


class Ingress:
    """Beside the HTTP app: what the policy that scales it asks for."""

    def __init__(self) -> None:
        self._load = ProcessLoad()

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._load.stats()


class NoArguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


def http(_arguments: NoArguments) -> serve.Application:
    """For configuration files: `import_path: api.app:http`."""
    served = serve.deployment(serve.ingress(ingress)(Ingress))
    return served.options(name=HTTP, **(options(HTTP, INGRESS) | INGRESS_TAKES)).bind()


def jobs(_arguments: NoArguments) -> serve.Application:
    """For configuration files: `import_path: api.app:jobs`."""
    return serve.deployment(JobsReplica).options(name=JOBS, **options(JOBS, KEEPER)).bind()


def applications() -> dict[str, serve.Application]:
    """All that the settings ask for, by name; callers after those whom they call."""
    models = dict.fromkeys(model_for(role) for name in GRAPHS for role in graph_class(name).roles())
    return (
        {model_id: deployments.app.bind(model_id) for model_id in models}
        | {name: graphs.replica.bind(name) for name in GRAPHS}
        | {JOBS: jobs(NoArguments()), HTTP: http(NoArguments())}
    )


def deploy(logging: LoggingConfig | None = None) -> None:
    """Deploy all applications into the Ray that this process is connected to; returns when they run."""
    targets = [
        serve.RunTarget(application, name=name, route_prefix="/" if name == HTTP else None, logging_config=logging)
        for name, application in applications().items()
    ]
    serve.run_many(targets)


def address() -> str:
    """Where this machine reaches the server."""
    host = "127.0.0.1" if settings().host == "0.0.0.0" else settings().host  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings().port}"


class Server:
    """A Ray of its own on this machine with the application on it; nothing is left when the block ends."""

    def __enter__(self) -> "Server":
        self._lock = FileLock(settings().state / "server.lock")
        settings().state.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise AlreadyServing(f"another server uses {settings().state}; end it, or set MODISTE_STATE") from None
        # What a killed server left; its processes ended with it.
        self._note = settings().state / "ray-folder"
        if self._note.exists():
            shutil.rmtree(self._note.read_text(), ignore_errors=True)
        # Sockets lie in it, and their paths may not be long.
        self._note.write_text(tempfile.mkdtemp(prefix="modiste-ray-"))
        try:
            self._start(self._note.read_text())
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, folder: str) -> None:
        _check_port()
        quiet = LoggingConfig(log_level="WARNING", encoding="JSON", enable_access_log=False)
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=True,
            configure_logging=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _system_config={
                "max_direct_call_object_size": INLINE_BYTES,
                "task_rpc_inlined_bytes_limit": 4 * INLINE_BYTES,
            },
            _temp_dir=folder,
            _metrics_export_port=settings().metrics_port,
        )
        listening = HTTPOptions(host=settings().host, port=settings().port)
        serve.start(proxy_location="HeadOnly", http_options=listening, logging_config=quiet)
        deploy(quiet)

    def __exit__(self, *_: object) -> None:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()
        shutil.rmtree(self._note.read_text(), ignore_errors=True)
        self._note.unlink()
        self._lock.release()


def _check_port() -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings().host, settings().port))
        except OSError as error:
            raise AlreadyServing(
                f"expected port {settings().port} of {settings().host} to be free: {error.strerror}; set MODISTE_PORT"
            ) from error
