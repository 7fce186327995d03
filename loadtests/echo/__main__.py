"""`python -m loadtests.echo`: latency with one user and throughput with a hundred, by how Ray is set up; about three
minutes. Beside it the figures that Ray's makers published for the same kind of measurement."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from loadtests.echo import TEXT
from loadtests.load.hosting import hosted
from loadtests.machine import machine

RESULTS = Path(__file__).resolve().parent.parent / "results" / "load"
PORT = 8231
console = Console(stderr=True)

ONE_LOOP = {
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}
QUIET = {"RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000", "RAY_SERVE_LOG_TO_STDERR": "0"}
GRPC = {"RAY_SERVE_USE_GRPC_BY_DEFAULT": "1"}
HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_HAPROXY_TCP_NODELAY": "1"}

SETUPS: Mapping[str, Mapping[str, str]] = {
    "ray_default": {},
    "served": {},
    "one_loop": ONE_LOOP | QUIET,
    "one_loop_grpc": ONE_LOOP | QUIET | GRPC,
    "one_loop_grpc_haproxy": ONE_LOOP | QUIET | GRPC | HAPROXY,
}
"""Environments. ray_default has Ray's own, all others what our server sets, and this on top."""

PUBLISHED = {
    "source": "github.com/anyscale/serve-performance-blog, features/results/allon_{off,on}_unary.csv "
    "(the figures of Anyscale's article on HAProxy and gRPC in Ray Serve, March 2026)",
    "machine": "m7a.4xlarge, 16 cores, Locust on machines of its own",
    "default": {"1": {"mean_ms": 13.2, "per_s": 75.45}, "128": {"per_s": 411.37}},
    "tuned": {"1": {"mean_ms": 3.53, "per_s": 280.1}, "128": {"per_s": 2141.91}},
}
"""An ingress in FastAPI and an echo of 10 kB behind it, one replica each: the same chain less a flow."""


def measure(name: str, seconds: float) -> dict[str, Any]:
    """returns: figures with one user and with a hundred"""
    address = f"http://127.0.0.1:{PORT}"
    with tempfile.TemporaryDirectory() as state:
        environment = {
            "MODISTE_PORT": str(PORT), "MODISTE_STATE": state, "MODISTE_CONCURRENCY": '{"echo": 100000}',
            "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        quiet = [] if name == "ray_default" else ["--quiet"]
        module = "loadtests.echo.serve" if name == "ray_default" else "loadtests.echo.prepared"
        command = [sys.executable, "-m", module, *quiet]
        with hosted(command, environment | dict(SETUPS[name]), address, lambda: _ask(address)):
            return {f"users_{users}": _users(address, users, seconds) for users in (1, 100)}


def _ask(address: str) -> None:
    files = {"options": (None, json.dumps({"text": TEXT}))}
    answer = httpx.post(f"{address}/v1/flows/echo", files=files, timeout=30).raise_for_status()
    if answer.json()["text"] != TEXT:
        raise RuntimeError("expected the text back, got another")


def _users(address: str, users: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtests.echo.users", address, str(users), str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(
    seconds: Annotated[float, typer.Option(min=1, help="of each measurement")] = 8.0,
    only: Annotated[str, typer.Option(help="setups, with commas; all where empty")] = "",
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends
    found = {}
    for name in only.split(",") if only else SETUPS:
        found[name] = measure(name, seconds)
        console.print(name, found[name])
    of = machine()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"echo-{of['cores']}core-cpu.json"
    path.write_text(json.dumps({"machine": of, "setups": found, "published": PUBLISHED}, indent=1) + "\n")
    console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
