"""Spans: nothing where no endpoint is named; whole, and without words of exceptions, where one is."""

import subprocess
import sys
import time

import pytest
from collected import Receiver

TRACED = """
from modiste import spans
from modiste.telemetry import Context, onward, step, within
spans.start("try_on", "r1")
with within(Context(request="abcdefgh", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")):
    with spans.span("flow try_on", parent="00-" + "1" * 32 + "-" + "2" * 16 + "-01", serves=True, flow="try_on"):
        try:
            with step("parse"):
                sent = onward().traceparent
                raise ValueError("somebody@example.org")
        except ValueError:
            pass
    spans.annotate(nothing="runs")
print(sent, spans.traceparent() == "")
"""


def test_nothing_is_made_or_imported_without_an_endpoint() -> None:
    code = TRACED + "\nimport sys\nprint([m for m in sys.modules if m.startswith('opentelemetry')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [f"00-{'1' * 32}-{'2' * 16}-01 True", "[]"]


def test_spans_reach_a_receiver_under_the_parent_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        ran = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=True)
        time.sleep(0.2)
        spans = {span.name: span for span in receiver.spans}
    flow, parse = spans["flow try_on"], spans["step parse"]
    assert (flow.trace, flow.parent, flow.service) == ("1" * 32, "2" * 16, "try_on")
    assert (parse.trace, parse.parent) == ("1" * 32, flow.id)
    assert flow.attributes == {"modiste.flow": "try_on"}
    assert (parse.failed, flow.failed) == (True, False)
    assert ran.stdout.split() == [f"00-{'1' * 32}-{parse.id}-01", "True"]
    assert "somebody" not in repr(receiver.spans)
