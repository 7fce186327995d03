"""Who asks for what, and what they are answered."""

from k8s.monitoring.charts import Board, Chart, Choice
from k8s.monitoring.lines import by, quantiles
from k8s.monitoring.promql import share, total
from modiste import metrics

TENANT = {"tenant": "~$tenant"}
BOARD = Board(
    uid="modiste-tenants",
    title="Modiste: tenants",
    told="Who asks for what, and what they are answered.",
    choices=(Choice(label="tenant", metric=metrics.REQUESTS),),
    rows={
        "Requests": (
            Chart(
                title="Requests", told="Per second.", unit="reqps", stacked=True,
                lines=by(total(metrics.REQUESTS, "tenant", **TENANT), "tenant"),
            ),
            Chart(
                title="By flow", told="Per second.", unit="reqps", stacked=True,
                lines=by(total(metrics.REQUESTS, "tenant", "flow", **TENANT), "tenant", "flow"),
            ),
            Chart(
                title="By status", told="Per second.", unit="reqps", stacked=True,
                lines=by(total(metrics.REQUESTS, "tenant", "status", **TENANT), "tenant", "status"),
            ),
            Chart(
                title="Time", told="From the head of the request to the answer.", unit="s",
                lines=quantiles(metrics.REQUEST_SECONDS, "tenant", **TENANT),
            ),
            Chart(
                title="Served", told="Share not answered with a 5xx.", unit="percentunit", most=1.0,
                lines=by(
                    "1 - "
                    + share(
                        total(metrics.REQUESTS, "tenant", status="~5..", **TENANT),
                        total(metrics.REQUESTS, "tenant", **TENANT),
                    ),
                    "tenant",
                ),
            ),
            Chart(
                title="Shed", told="Refused because of load, by reason.", unit="reqps", stacked=True,
                lines=by(total(metrics.SHED, "tenant", "reason", **TENANT), "tenant", "reason"),
            ),
        ),
    },
)  # fmt: skip
