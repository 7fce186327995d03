"""Load, speed and size of single models."""

from k8s.monitoring import ray
from k8s.monitoring.charts import Board, Chart, Choice, Line
from k8s.monitoring.lines import by, quantiles
from k8s.monitoring.promql import appeared, mean, now, quantile, select, total
from modiste import metrics

MODEL = {"model": "~$model"}
OF_MODEL = {"deployment": "~$model"}
BOARD = Board(
    uid="modiste-models",
    title="Modiste: models",
    told="Load, speed and size of single models.",
    choices=(Choice(label="model", metric=metrics.MODEL_SECONDS, suffix="_count"),),
    rows={
        "Work": (
            Chart(
                title="Calls", told="Batches that were worked on, per second.", unit="ops",
                lines=by(total(metrics.MODEL_SECONDS, "model", **MODEL), "model"),
            ),
            Chart(
                title="At work", told="On one call or batch.", unit="s",
                lines=quantiles(metrics.MODEL_SECONDS, "model", **MODEL),
            ),
            Chart(
                title="Waiting at the replica", told="From arrival until the model takes the call.", unit="s",
                lines=quantiles(metrics.QUEUE_SECONDS, "model", **MODEL),
            ),
            Chart(
                title="Engines, p95", told="One inference.", unit="s",
                lines=by(quantile(0.95, metrics.ENGINE_SECONDS, "model", "engine", **MODEL), "model", "engine"),
            ),
            Chart(
                title="Engines' share of the work", told="The rest is pre- and post-processing.", unit="percentunit",
                lines=by(
                    f"sum by (model) (rate({select(metrics.ENGINE_SECONDS, '_sum', **MODEL)}[$__rate_interval])) / "
                    f"sum by (model) (rate({select(metrics.MODEL_SECONDS, '_sum', **MODEL)}[$__rate_interval]))",
                    "model",
                ),
            ),
            Chart(
                title="Batch", told="Inputs worked on together, mean.", unit="short",
                lines=by(mean(metrics.BATCH_SIZE, "model", **MODEL), "model"),
            ),
        ),
        "Replicas": (
            Chart(
                title="Replicas", told="That pass their checks, and how many there should be.", unit="short",
                lines=(
                    Line(expr=now(ray.HEALTHY, "deployment", **OF_MODEL), legend="{{deployment}}"),
                    Line(
                        expr=now(ray.TARGET, "deployment", how="max", **OF_MODEL), legend="{{deployment}} wanted"
                    ),
                ),
            ),
            Chart(
                title="Calls at a replica", told="Mean over replicas; the autoscaler aims at the declared number.",
                unit="short",
                lines=by(now(ray.ONGOING, "deployment", how="avg", **OF_MODEL), "deployment"),
            ),
            Chart(
                title="Calls waiting for a replica", told="At the routers of callers.", unit="short",
                lines=by(now(ray.QUEUED, "deployment", **OF_MODEL), "deployment"),
            ),
            Chart(
                title="Opening, p95", told="Weights, engines, warm-up; over six hours.", unit="s",
                lines=by(quantile(0.95, metrics.COLD_START, "model", window="6h", **MODEL), "model"),
            ),
            Chart(
                title="Sent twice, 15 min", told="Because a replica died or had no room.", unit="short",
                lines=by(appeared(metrics.RETRIES, "deployment", window="15m", **OF_MODEL), "deployment"),
            ),
            Chart(
                title="Calls answered", told="By replicas, per second.", unit="ops",
                lines=by(total(ray.CALLS, "deployment", **OF_MODEL), "deployment"),
            ),
        ),
    },
)  # fmt: skip
