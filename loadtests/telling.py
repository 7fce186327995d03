"""`python -m loadtests.telling`: what logs and spans cost in the process that tells them, in microseconds each.

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


def main() -> None:
    taker = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    threading.Thread(target=taker.serve_forever, daemon=True).start()
    figures = {}
    with within(Context(request="0" * 32, tenant="public", flow="try_on")):
        figures["a step, spans off"] = microseconds(_stepped)
        logs.configure("try_on", "r1", io.StringIO())
        figures["a line in the log"] = microseconds(_said)
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{taker.server_address[1]}"
        spans.start("try_on", "r1")
        with spans.span("flow try_on"):
            figures["a step, spans on"] = microseconds(_stepped)
            figures["a line in the log, spans on"] = microseconds(_said)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
