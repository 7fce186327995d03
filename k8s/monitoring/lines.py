"""Lines of charts that several dashboards draw alike."""

from k8s.monitoring.charts import Line
from k8s.monitoring.promql import quantile
from modiste.metrics import Metric

QUANTILES = (0.5, 0.95, 0.99)


def quantiles(metric: Metric, *by: str, **where: str) -> tuple[Line, ...]:
    """Three of them, by labels."""
    named = " ".join(f"{{{{{label}}}}}" for label in by)
    return tuple(
        Line(expr=quantile(q, metric, *by, **where), legend=f"{named} p{q * 100:g}".strip()) for q in QUANTILES
    )


def by(expr: str, *labels: str) -> tuple[Line, ...]:
    """One line for each value of the labels."""
    return (Line(expr=expr, legend=" ".join(f"{{{{{label}}}}}" for label in labels)),)
