"""The table of metrics as Ray's metrics: each node's agent collects them from its processes, Prometheus from there."""

import time
from collections.abc import Mapping
from threading import Lock, Thread

from ray.util import metrics as ray_metrics

from modiste.metrics import Metric, export_to

TOLD_EVERY_S = 5.0
"""Gauges, again: Ray's agent forgets one that was not told within two of its intervals, 20 s in all."""

_made: dict[str, ray_metrics.Counter | ray_metrics.Gauge | ray_metrics.Histogram] = {}
_gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
_lock = Lock()


def export() -> None:
    """What this process records is exported by the Ray that it belongs to."""
    export_to(_record)


def _record(metric: Metric, value: float, labels: Mapping[str, str]) -> None:
    if len(labels) > len(metric.labels):  # fewer, or others, Ray refuses itself
        raise ValueError(f"expected labels {metric.labels} of {metric.name}, got {tuple(labels)}")
    made = _made.get(metric.name) or _make(metric)
    if metric.kind == "histogram":
        made.observe(value, dict(labels))
    elif metric.kind == "counter":
        made.inc(value, dict(labels))
    else:
        with _lock:
            if not _gauges:
                Thread(target=_tell_again, name="gauges", daemon=True).start()
            _gauges[metric.name, tuple(labels.items())] = value
            made.set(value, dict(labels))


def _tell_again() -> None:
    while True:
        time.sleep(TOLD_EVERY_S)
        with _lock:
            for (name, labels), value in _gauges.items():
                _made[name].set(value, dict(labels))


def _make(metric: Metric) -> ray_metrics.Counter | ray_metrics.Gauge | ray_metrics.Histogram:
    with _lock:
        if metric.name not in _made:
            kinds = {"counter": ray_metrics.Counter, "gauge": ray_metrics.Gauge}
            _made[metric.name] = (
                ray_metrics.Histogram(
                    metric.name, description=metric.help, boundaries=list(metric.buckets), tag_keys=metric.labels
                )
                if metric.kind == "histogram"
                else kinds[metric.kind](metric.name, description=metric.help, tag_keys=metric.labels)
            )
        return _made[metric.name]
