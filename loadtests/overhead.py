"""What HTTP and Ray Serve cost: each flow over HTTP against the same graph in one process.

Both sides read the same bytes and end with encoded pictures; the runs alternate on one machine, so that whatever
else it does falls on both. Stop other work for figures that mean something.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Annotated, Any

import httpx
import typer

from demo.server import running_server
from graphs.local import LocalRunner
from graphs.report import run
from graphs.signature import read_picture, signature
from loadtests.cases import SAMPLES, Case, cases
from modiste.image import RGBImage, encode
from modiste.settings import settings

WARM_UP = 2


def measure(flows: Iterable[str] = (), runs: int = 15) -> dict[str, Any]:
    """Start a server of its own and compare; all flows that answer at once, where none is named.

    returns: by flow: in_process_ms, http_ms (medians), ratio, runs
    """
    chosen = list(flows) or [name for name in cases() if not signature(name).takes_video]
    with _server() as address, httpx.Client(base_url=address, timeout=120) as client, LocalRunner() as runner:
        return {name: _compare(name, cases()[name], client, runner, runs) for name in chosen}


@contextmanager
def _server() -> Iterator[str]:
    """A server with the sample catalogue, warm; gives its address."""
    with sample_catalogue() as environment, running_server(environment) as server:
        yield server.address


@contextmanager
def sample_catalogue() -> Iterator[dict[str, str]]:
    """The catalogue of the samples, in a state of its own for the graphs in this process and, by the environment that
    it gives, in others."""
    with tempfile.TemporaryDirectory() as state, _setting("MODISTE_STATE", state):
        feed = str(SAMPLES / "catalogue" / "feed.csv")
        subprocess.run([sys.executable, "-m", "api.catalogue", "import", feed], check=True)
        yield dict(os.environ)


@contextmanager
def _setting(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    settings.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        settings.cache_clear()


def _compare(name: str, case: Case, client: httpx.Client, runner: LocalRunner, runs: int) -> dict[str, Any]:
    uploads = case.read()
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(2 * (WARM_UP + runs)):
        started = perf_counter()
        if turn % 2:
            _over_http(name, case, uploads, client)
        else:
            _in_process(name, case, uploads, runner)
        if turn >= 2 * WARM_UP:
            times[turn % 2].append((perf_counter() - started) * 1e3)
    here, there = statistics.median(times[0]), statistics.median(times[1])
    return {"in_process_ms": round(here, 1), "http_ms": round(there, 1), "ratio": round(there / here, 3), "runs": runs}


def _in_process(name: str, case: Case, uploads: dict[str, bytes], runner: LocalRunner) -> None:
    outcome = asyncio.run(run(name, runner.graph(name), decoded(name, case, uploads)))
    for slot in signature(name).results:
        value = getattr(outcome.result, slot.name)
        if slot.kind == "picture" and value is not None:
            for image in value if slot.many else [value]:
                encode(RGBImage(image), "jpeg")


def decoded(name: str, case: Case, uploads: Mapping[str, bytes]) -> Any:
    """The flow's request."""
    of = signature(name)
    pictures = {slot.name: read_picture(slot, uploads[slot.name]) for slot in of.uploads if slot.name in uploads}
    return of.request(pictures, of.options.model_validate(case.options))


def _over_http(name: str, case: Case, uploads: dict[str, bytes], client: httpx.Client) -> None:
    options = ("options", (None, json.dumps(dict(case.options))))
    files: list[Any] = [*uploads.items(), options]
    client.post(f"/v1/flows/{name}", files=files).raise_for_status()


def main(
    flows: Annotated[list[str] | None, typer.Argument()] = None,
    runs: Annotated[int, typer.Option(min=3)] = 15,
) -> None:
    """Measure and print."""
    print(json.dumps(measure(flows or (), runs), indent=1))


if __name__ == "__main__":
    typer.run(main)
