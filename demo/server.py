"""A server of one's own: started, awaited, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from modiste.settings import settings

START_TIMEOUT_S, STOP_TIMEOUT_S = 300.0, 60.0


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    pid: int


@contextmanager
def running_server(environment: Mapping[str, str]) -> Iterator[Server]:
    """Runs `python -m api serve` until it answers its golden request, and stops it however the block ends.

    raises: RuntimeError where the server ends instead, httpx.HTTPError where it is not ready in time
    """
    address = f"http://{settings().host}:{settings().port}"
    process = subprocess.Popen([sys.executable, "-m", "api", "serve"], env=dict(environment), start_new_session=True)

    def check() -> None:
        if process.poll() is not None:
            raise RuntimeError(f"the server stopped with exit code {process.returncode}")
        httpx.get(f"{address}/readyz", timeout=60).raise_for_status()

    try:
        Retrying(
            retry=retry_if_exception_type(httpx.HTTPError),
            wait=wait_fixed(0.25),
            stop=stop_after_delay(START_TIMEOUT_S),
            reraise=True,
        )(check)
        yield Server(address, process.pid)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
