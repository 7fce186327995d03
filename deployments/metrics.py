"""The table of metrics as Ray's metrics: each node's agent collects them from its processes, Prometheus from there."""

from collections.abc import Mapping

from ray.util import metrics as ray_metrics

from modiste.metrics import Metric, export_to

_made: dict[str, ray_metrics.Counter | ray_metrics.Gauge | ray_metrics.Histogram] = {}


def export() -> None:
    """What this process records is exported by the Ray that it belongs to."""
    export_to(_record)


def _record(metric: Metric, value: float, labels: Mapping[str, str]) -> None:
    made = _made.get(metric.name) or _made.setdefault(metric.name, _make(metric))
    if metric.kind == "histogram":
        made.observe(value, dict(labels))
    elif metric.kind == "counter":
        made.inc(value, dict(labels))
    else:
        made.set(value, dict(labels))


def _make(metric: Metric) -> ray_metrics.Counter | ray_metrics.Gauge | ray_metrics.Histogram:
    if metric.kind == "histogram":
        return ray_metrics.Histogram(
            metric.name, description=metric.help, boundaries=list(metric.buckets), tag_keys=metric.labels
        )
    kind = ray_metrics.Counter if metric.kind == "counter" else ray_metrics.Gauge
    return kind(metric.name, description=metric.help, tag_keys=metric.labels)
