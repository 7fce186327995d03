"""What single flows do, and where their time goes."""

from k8s.monitoring import ray
from k8s.monitoring.charts import Board, Chart, Choice
from k8s.monitoring.lines import by, quantiles
from k8s.monitoring.promql import mean, now, quantile, total
from modiste import metrics

FLOW = {"flow": "~$flow"}
BOARD = Board(
    uid="modiste-flows",
    title="Modiste: flows",
    told="What single flows do, and where their time goes.",
    choices=(Choice(label="flow", metric=metrics.FLOW_SECONDS, suffix="_count"),),
    rows={
        "Requests": (
            Chart(
                title="Runs by how they ended", told="Per second.", unit="reqps", stacked=True,
                lines=by(total(metrics.FLOW_SECONDS, "flow", "code", **FLOW), "flow", "code"),
            ),
            Chart(
                title="Time of a run", told="Those that ended well.", unit="s",
                lines=quantiles(metrics.FLOW_SECONDS, "flow", code="ok", **FLOW),
            ),
            Chart(
                title="In flight", told="Requests that are being answered.", unit="short",
                lines=by(now(metrics.IN_FLIGHT, "flow", **FLOW), "flow"),
            ),
            Chart(
                title="Answers", told="By status.", unit="reqps", stacked=True,
                lines=by(total(metrics.REQUESTS, "flow", "status", **FLOW), "flow", "status"),
            ),
            Chart(
                title="Failures", told="By the problem's code.", unit="reqps", stacked=True,
                lines=by(total(metrics.FAILURES, "flow", "code", **FLOW), "flow", "code"),
            ),
            Chart(
                title="Shed", told="Refused because of load.", unit="reqps", stacked=True,
                lines=by(total(metrics.SHED, "flow", "reason", **FLOW), "flow", "reason"),
            ),
        ),
        "Inside": (
            Chart(
                title="Steps, mean", told="What a run waits for each; steps side by side overlap.", unit="s",
                stacked=True, wide=12,
                lines=by(mean(metrics.STEP_SECONDS, "flow", "step", **FLOW), "flow", "step"),
            ),
            Chart(
                title="Steps, p95", told="What a run waits for each.", unit="s", wide=12,
                lines=by(quantile(0.95, metrics.STEP_SECONDS, "flow", "step", **FLOW), "flow", "step"),
            ),
            Chart(
                title="Faces", told="That were found, by what became of them.", unit="ops", stacked=True,
                lines=by(total(metrics.FACES, "flow", "outcome", **FLOW), "flow", "outcome"),
            ),
            Chart(
                title="Replicas", told="Of the flow itself.", unit="short",
                lines=by(now(ray.HEALTHY, "deployment", deployment="~$flow"), "deployment"),
            ),
            Chart(
                title="Jobs, p95", told="From start to end.", unit="s",
                lines=by(quantile(0.95, metrics.JOB_SECONDS, "flow", "state", window="1h", **FLOW), "flow", "state"),
            ),
        ),
    },
)  # fmt: skip
