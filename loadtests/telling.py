"""`python -m loadtests.telling`: what logs and spans cost in the process that tells them, in microseconds each;
with `--served 5` also what they cost a request through ingress, flow and a model that does nothing, with 5 seconds
for each measurement, about a minute and a half in all.

Metrics need a Ray: about three microseconds for each observation, measured in a replica.
"""

import io
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import typer

from loadtests.echo.__main__ import measure
from modiste import logs, spans
from modiste.telemetry import Context, log, step, within

ROUNDS, EACH = 9, 2000


class _Taker(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:
        """Nothing."""


def microseconds(act: Callable[[], object]) -> float:
    """Median over rounds."""
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(EACH):
            act()
        took.append((time.perf_counter() - started) / EACH * 1e6)
    return round(statistics.median(took), 2)


def _stepped() -> None:
    with step("parse"):
        pass


def _said() -> None:
    log.info("model_call", code="ok", inputs=1, queue_ms=0.1, ms=12.3)


def served(seconds: float, endpoint: str) -> dict[str, Any]:
    """By what is told: milliseconds of a request with one user, requests per second with a hundred."""
    found: dict[str, Any] = {}
    for name, told in {
        "warnings alone": {"MODISTE_LOG_LEVEL": "warning"},
        "a line for each call": {"MODISTE_LOG_LEVEL": "info"},
        "and spans": {"MODISTE_LOG_LEVEL": "info", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
    }.items():
        os.environ.update(told)
        found[name] = measure("served", seconds)
    return found


def main(each: Annotated[float, typer.Option("--served", min=0, help="seconds; 0: not at all")] = 0.0) -> None:
    taker = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    threading.Thread(target=taker.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{taker.server_address[1]}"
    figures: dict[str, Any] = {"served": served(each, endpoint)} if each else {}
    with within(Context(request="0" * 32, tenant="public", flow="try_on")):
        os.environ.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
        figures["a step, spans off"] = microseconds(_stepped)
        logs.configure("try_on", "r1", io.StringIO())
        figures["a line in the log"] = microseconds(_said)
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        spans.start("try_on", "r1")
        with spans.span("flow try_on"):
            figures["a step, spans on"] = microseconds(_stepped)
            figures["a line in the log, spans on"] = microseconds(_said)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    typer.run(main)
