"""What GPUs do, and what replicas take of their memory."""

from k8s.monitoring import ray
from k8s.monitoring.charts import Board, Chart
from k8s.monitoring.lines import by
from k8s.monitoring.promql import now, select
from modiste import metrics

BOARD = Board(
    uid="modiste-gpus",
    title="Modiste: GPUs",
    told="What GPUs do, and what replicas take of their memory.",
    rows={
        "GPUs": (
            Chart(
                title="In use", told="Per cent of time with a kernel running.", unit="percent", wide=12, most=100.0,
                lines=by(select(ray.GPU_USE), "ip", "GpuIndex"),
            ),
            Chart(
                title="Memory in use", told="By all processes.", unit="percentunit", wide=12, most=1.0,
                lines=by(
                    f"{select(ray.GPU_USED)} / ({select(ray.GPU_USED)} + {select(ray.GPU_FREE)})", "ip", "GpuIndex"
                ),
            ),
        ),
        "Replicas": (
            Chart(
                title="Memory of replicas", told="Largest of each model.", unit="bytes", wide=12,
                lines=by(now(metrics.GPU_MEMORY, "model", how="max"), "model"),
            ),
            Chart(
                title="Of what they are placed with", told="Over 1: more than declared, at the cost of others.",
                unit="percentunit", wide=12,
                lines=by(
                    f"{now(metrics.GPU_MEMORY, 'model', how='max')} / "
                    f"{now(metrics.GPU_MEMORY_DECLARED, 'model', how='max')}",
                    "model",
                ),
            ),
        ),
    },
)  # fmt: skip
