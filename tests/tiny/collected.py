"""What receives traces in tests: OTLP over HTTP, decoded with OpenTelemetry's own messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """service: name of the deployment; times in nanoseconds since 1970; ids in hex, parent "" of a root"""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    failed: bool


class Receiver:
    """Listens as long as the block runs; `spans` has what came."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Collector(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                spans.extend(_decoded(body))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(otlp.ExportTraceServiceResponse().SerializeToString())

            def log_message(self, format: str, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Receiver":
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _decoded(body: bytes) -> list[Span]:
    received = otlp.ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            service=next(a.value.string_value for a in each.resource.attributes if a.key == "service.name"),
            name=span.name,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            attributes={a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes},
            failed=span.status.code == 2,
        )
        for each in received.resource_spans
        for scope in each.scope_spans
        for span in scope.spans
    ]
