"""The table of metrics, and recording where nothing is exported."""

import re

import pytest

from modiste.metrics import BATCH_SIZE, METRICS, REQUESTS, Metric, export_to, record

UNBOUNDED = {"request", "job", "path", "file", "user", "ip", "token", "key", "detail", "trace"}
SUFFIXES = {"seconds": "_seconds", "bytes": "_bytes", "ratio": "_ratio"}


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_asks(metric: Metric) -> None:
    assert re.fullmatch(r"modiste_[a-z_]+", metric.name)
    assert (metric.name.endswith("_total")) == (metric.kind == "counter")
    assert metric.name.endswith(SUFFIXES.get(metric.unit, ""))
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert not UNBOUNDED & set(metric.labels)
    assert metric.help[0].isupper()
    assert not metric.help.endswith(".")


def test_nothing_is_recorded_until_something_exports() -> None:
    got: list[tuple[str, float, dict[str, str]]] = []
    record(REQUESTS, flow="try_on", tenant="public", status="200")
    export_to(lambda metric, value, labels: got.append((metric.name, value, dict(labels))))
    try:
        record(BATCH_SIZE, 3, model="blazeface")
        record(REQUESTS, flow="try_on", tenant="public", status="200")
    finally:
        export_to(None)
    record(BATCH_SIZE, 3, model="blazeface")
    assert got == [
        ("modiste_batch_size", 3, {"model": "blazeface"}),
        ("modiste_requests_total", 1.0, {"flow": "try_on", "tenant": "public", "status": "200"}),
    ]


def test_ray_takes_every_metric_of_the_table_with_its_labels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments import metrics

    monkeypatch.setattr(metrics, "_made", {})
    monkeypatch.setattr(metrics, "_gauges", {("none", ()): 0.0})  # no thread
    metrics.export()
    try:
        for metric in METRICS.values():
            record(metric, 1.0, **dict.fromkeys(metric.labels, "x"))
            with pytest.raises(ValueError, match="expected labels"):
                record(metric, 1.0, **dict.fromkeys((*metric.labels, "user"), "x"))
    finally:
        export_to(None)
    assert set(metrics._made) == set(METRICS)
