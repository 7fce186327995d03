"""One trace per request, over all processes that work for it: OpenTelemetry spans, sent out as OTLP over HTTP.

Nothing is made, and nothing of OpenTelemetry imported, where the environment names no endpoint
(OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT); the SDK's other variables (sampler, headers, delays)
hold as its documentation says. Spans carry names and numbers of ours, never a message of an exception.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_tracer: "Tracer | None" = None
_NOTHING = nullcontext()


def start(deployment: str, replica: str) -> None:
    """Send out the spans of this process, where the environment says where to."""
    global _tracer  # noqa: PLW0603 - one exporter in a process, as with logs
    if _tracer is not None or not any(os.environ.get(name) for name in ENDPOINTS):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {"service.namespace": "modiste", "service.name": deployment, "service.instance.id": replica}
    provider = TracerProvider(resource=Resource.create({**named, "service.version": version("modiste")}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("modiste")


def span(
    name: str, *, parent: str = "", serves: bool = False, **attributes: str | int | float
) -> AbstractContextManager[None]:
    """The block as a span, inside the one that runs now.

    parent: a span of another process (W3C traceparent) that it is inside of; "" where it is of this process, or none
    serves: whether it answers another process
    """
    return _NOTHING if _tracer is None else _span(_tracer, name, parent, serves, attributes)


@contextmanager
def _span(
    tracer: "Tracer", name: str, parent: str, serves: bool, attributes: dict[str, str | int | float]
) -> Iterator[None]:
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    with tracer.start_as_current_span(
        name,
        context=TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None,
        kind=SpanKind.SERVER if serves else SpanKind.INTERNAL,
        attributes={f"modiste.{key}": value for key, value in attributes.items() if value != ""},
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield
        except BaseException as error:
            made.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def annotate(**attributes: str | int | float) -> None:
    """Say more of the span that runs now."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes({f"modiste.{key}": value for key, value in attributes.items()})


def failed(code: str) -> None:
    """The span that runs now ends with a refusal or an error, which is no exception here."""
    if _tracer is not None:
        from opentelemetry.trace import Status, StatusCode, get_current_span

        get_current_span().set_attribute("modiste.code", code)
        get_current_span().set_status(Status(StatusCode.ERROR, code))


def traceparent() -> str:
    """The span that runs now, for a process that works for it; "" where none is recorded."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def trace_id() -> str:
    """Of the trace that is recorded now; "" where none is."""
    return traceparent()[3:35]
