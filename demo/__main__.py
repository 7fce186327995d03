"""`python -m demo`: starts the server, runs every case over HTTP, writes out/demo/index.html, stops the server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import httpx
from rich.console import Console
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from demo.cases import CASES
from demo.client import ask
from demo.page import write
from modiste.settings import settings

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "demo"
console = Console()


def main() -> int:
    """Exit code 1 where a case was refused or failed; the page shows the others."""
    environment = os.environ | {"MODISTE_STATE": str(OUT / "state")}
    feed = ROOT / "samples" / "catalogue" / "feed.csv"
    subprocess.run([sys.executable, "-m", "api.catalogue", "import", str(feed)], env=environment, check=True)
    failed = 0
    with running_server(environment) as address, httpx.Client(base_url=address, timeout=300) as client:
        answers = []
        tokens: dict[str, str] = {}
        for case in CASES:
            try:
                answers.append(ask(client, case, ROOT / "samples", tokens))
                console.print(f"{case.flow:14} {answers[-1].seconds:6.2f} s  {case.title}")
            except (httpx.HTTPStatusError, RuntimeError) as error:
                failed += 1
                console.print(f"[red]{case.flow:14} failed    {case.title}: {error}")
    console.print(f"written: {write(answers, OUT).relative_to(ROOT)}")
    return 1 if failed else 0


@contextmanager
def running_server(environment: dict[str, str]) -> Iterator[str]:
    """A server of its own, ready to answer; stopped at the end, however the block ends. Yields its address."""
    address = f"http://{settings().host}:{settings().port}"
    started = perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "api", "serve"], env=environment, start_new_session=True)
    try:
        wait_until_ready(server, address)
        console.print(f"server ready after {perf_counter() - started:.1f} s")
        yield address
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            raise


def wait_until_ready(server: subprocess.Popen[bytes], address: str, timeout_s: float = 300) -> None:
    """raises: RuntimeError where the server ends instead, tenacity.RetryError after the timeout"""

    def is_ready() -> bool:
        if server.poll() is not None:
            raise RuntimeError(f"the server stopped with exit code {server.returncode}")
        return httpx.get(f"{address}/readyz", timeout=60).is_success

    for attempt in Retrying(
        retry=retry_if_exception_type(httpx.TransportError) | retry_if_result(lambda ready: not ready),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(timeout_s),
    ):
        with attempt:
            ready = is_ready()
        if attempt.retry_state.outcome is not None and not attempt.retry_state.outcome.failed:
            attempt.retry_state.set_result(ready)


if __name__ == "__main__":
    sys.exit(main())
