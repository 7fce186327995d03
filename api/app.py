"""The HTTP service on Ray Serve: starting it, and how it calls flows."""

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
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from api.routes import http_app
from deployments.app import answer, busy
from graphs import GRAPHS
from graphs.replica import bind_flows
from graphs.report import Outcome
from modiste.errors import ModisteError
from modiste.settings import settings
from modiste.telemetry import log

APPLICATION = "modiste"
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
    """Flows as deployments."""

    handles: Mapping[str, DeploymentHandle[Any]]

    async def run(self, name: str, request: object) -> Outcome[Any]:
        outcome: Outcome[Any] = await answer(lambda: self.handles[name].run.remote(request))
        return outcome

    async def stream(self, name: str, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        try:
            async with aclosing(self._stream_once(name, request)) as stream:
                async for news in stream:
                    yield news
        except RayActorError as death:
            if isinstance(death, RayTaskError):
                raise
            log.warning("replica_died", reason=str(death).partition("\n")[0])
            async with aclosing(self._stream_once(name, request)) as stream:
                async for news in stream:
                    yield news

    async def _stream_once(self, name: str, request: object) -> AsyncGenerator[float | Outcome[Any], None]:
        response = self.handles[name].options(stream=True).stream.remote(request)
        try:
            async for news in response:
                if isinstance(news, ModisteError):
                    raise news
                yield news
        except BackPressureError as error:
            raise busy() from error
        finally:
            response.cancel()


def ingress() -> FastAPI:
    """Runs in the replica that answers HTTP."""
    handles = {name: serve.get_deployment_handle(name, APPLICATION) for name in GRAPHS}
    return http_app(ServeFlows(handles), httpx.AsyncClient(base_url=address()))


def address() -> str:
    """Where this machine reaches the server."""
    host = "127.0.0.1" if settings().host == "0.0.0.0" else settings().host  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings().port}"


def application() -> serve.Application:
    served = serve.deployment(serve.ingress(ingress)()).options(
        name="http",
        num_replicas=1,  # the worker of jobs lives in it
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": 0.1},
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=5.0,
    )
    return served.bind(bind_flows())


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
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
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
        )
        listening = HTTPOptions(host=settings().host, port=settings().port)
        serve.start(proxy_location="HeadOnly", http_options=listening, logging_config=quiet)
        serve.run(application(), name=APPLICATION, logging_config=quiet)

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
