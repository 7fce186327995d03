"""Alert rules. Each has a section of its name in docs/alerts.md, and a test that fires it and one that does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from k8s.monitoring import ray
from k8s.monitoring.objectives import AVAILABILITY, JOB_WAITS_SECONDS, P95_SECONDS
from k8s.monitoring.promql import appeared, now, quantile, select, share, total
from modiste import metrics

RUNBOOK = "docs/alerts.md"
HEALTHY, UNHEALTHY = 6, 2
"""Of a deployment's status, as Serve numbers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """severity: "page" wakes somebody, "ticket" waits for the morning; after: for how long it must hold"""

    name: str
    expr: str
    after: str
    severity: Literal["page", "ticket"]
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.after,
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {"summary": self.summary, "runbook": f"{RUNBOOK}#{self.name.lower()}"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An expression whose value is kept under a name."""

    name: str
    expr: str

    def rule(self) -> dict[str, Any]:
        return {"record": self.name, "expr": self.expr}


BURN_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


def error_ratio(window: str) -> str:
    """Name of the recorded share of a flow's requests that failed for our reasons."""
    return f"modiste:request_errors:ratio_rate{window}"


def _errors(window: str) -> str:
    return share(
        total(metrics.REQUESTS, "flow", window=window, status="~5.."), total(metrics.REQUESTS, "flow", window=window)
    )


RECORDINGS: Sequence[Recording] = tuple(
    Recording(name=error_ratio(window), expr=_errors(window)) for window in BURN_WINDOWS
)


def _burn(factor: float, long: str, short: str) -> str:
    """The budget of 30 days is spent `factor` times as fast as it lasts; the short window ends the alert soon after."""
    limit = f"{factor * (1 - AVAILABILITY):.4g}"
    return f"({error_ratio(long)} > {limit} and {error_ratio(short)} > {limit})"


AVAILABLE = (
    Alert(
        name="AvailabilityBurnsFast",
        expr=f"{_burn(14.4, '1h', '5m')} or {_burn(6, '6h', '30m')}",
        after="2m",
        severity="page",
        summary="{{ $labels.flow }}: {{ $value | humanizePercentage }} of requests fail; the month's budget is gone "
        "within days",
    ),
    Alert(
        name="AvailabilityBurnsSlowly",
        expr=f"{_burn(3, '1d', '2h')} or {_burn(1, '3d', '6h')}",
        after="1h",
        severity="ticket",
        summary="{{ $labels.flow }}: {{ $value | humanizePercentage }} of requests fail; the budget will not do",
    ),
    Alert(
        name="NoReadyIngress",
        expr=f"absent({select(ray.HEALTHY, deployment='http')} == 1)",
        after="1m",
        severity="page",
        summary="No replica answers HTTP",
    ),
    Alert(
        name="NothingScraped",
        expr=f"absent({select(ray.UP, job='modiste')}) or {select(ray.UP, job='modiste')} == 0",
        after="5m",
        severity="page",
        summary="No metrics come from {{ $labels.instance }}; its other alerts are blind",
    ),
    Alert(
        name="DeploymentUnhealthy",
        expr=f"{now(ray.STATUS, 'application', 'deployment', how='max')} <= {UNHEALTHY}",
        after="2m",
        severity="page",
        summary="{{ $labels.deployment }} failed to deploy, or its replicas fail their checks",
    ),
    Alert(
        name="DeploymentStuck",
        expr=f"{now(ray.STATUS, 'application', 'deployment', how='max')} < {HEALTHY}",
        after="20m",
        severity="ticket",
        summary="{{ $labels.deployment }} has been changing for 20 minutes: no room, or a replica that does not start",
    ),
    Alert(
        name="ReplicasRestart",
        expr="count by (application, deployment) (count by (application, deployment, replica) "
        f"(max_over_time({select(ray.STARTS)}[15m]) unless {select(ray.STARTS)} offset 15m)) > 6",
        after="0m",
        severity="ticket",
        summary="{{ $value }} replicas of {{ $labels.deployment }} were started within 15 minutes",
    ),
)

LOADED = (
    *(
        Alert(
            name="FlowSlow",
            expr=f"{quantile(0.95, metrics.FLOW_SECONDS, 'flow', window='10m', flow=flow, code='ok')} > {limit:g}",
            after="10m",
            severity="ticket",
            labels={"flow": flow},
            summary="{{ $labels.flow }}: 95 of 100 runs take up to {{ $value | humanizeDuration }}, "
            f"and {limit:g} s are promised",
        )
        for flow, limit in P95_SECONDS.items()
    ),
    Alert(
        name="RequestsShed",
        expr=f"{total(metrics.SHED, 'flow', window='5m')} / {total(metrics.REQUESTS, 'flow', window='5m')} > 0.05",
        after="10m",
        severity="ticket",
        summary="{{ $labels.flow }}: {{ $value | humanizePercentage }} of requests are refused because of load",
    ),
    Alert(
        name="QueueGrows",
        expr=f"min_over_time(({now(ray.QUEUED, 'deployment')})[5m:30s]) > 10",
        after="5m",
        severity="ticket",
        summary="{{ $labels.deployment }}: {{ $value }} calls wait, and the queue does not drain",
    ),
    Alert(
        name="FlowFails",
        expr=f"{total(metrics.FAILURES, 'flow', window='15m', code='internal')} > 0.01",
        after="5m",
        severity="ticket",
        summary="{{ $labels.flow }} fails for reasons that it does not know: errors of ours in the logs",
    ),
    Alert(
        name="CallsRetried",
        expr=f"{appeared(metrics.RETRIES, 'deployment', window='15m')} > 10",
        after="0m",
        severity="ticket",
        summary="{{ $labels.deployment }}: {{ $value | humanize }} calls were sent twice, since replicas died",
    ),
    Alert(
        name="JobsWait",
        expr=f"{now(metrics.OLDEST_JOB, how='max')} > {JOB_WAITS_SECONDS:g}",
        after="5m",
        severity="ticket",
        summary="A job has waited {{ $value | humanizeDuration }} for its turn",
    ),
    Alert(
        name="JobsFail",
        expr=share(
            total(metrics.JOB_SECONDS, "flow", window="1h", state="failed"),
            total(metrics.JOB_SECONDS, "flow", window="1h"),
        )
        + " > 0.2",
        after="15m",
        severity="ticket",
        summary="{{ $labels.flow }}: {{ $value | humanizePercentage }} of jobs fail",
    ),
)

EXHAUSTED = (
    Alert(
        name="DiskNearlyFull",
        expr=f"{now(metrics.DISK_FREE, 'folder', how='min')} < 0.1 or {select(ray.DISK)} > 90",
        after="5m",
        severity="page",
        summary="Little is left of a disk: of folder {{ $labels.folder }}, or of node {{ $labels.ip }}",
    ),
    Alert(
        name="MemoryNearlyFull",
        expr=f"{now(ray.MEMORY_USED, 'ip')} / {now(ray.MEMORY_TOTAL, 'ip')} > 0.92",
        after="5m",
        severity="ticket",
        summary="{{ $value | humanizePercentage }} of the memory of node {{ $labels.ip }} is taken; at 95 % Ray ends "
        "replicas",
    ),
    Alert(
        name="ObjectStoreNearlyFull",
        expr=f"{select(ray.STORE_USED)} / ({select(ray.STORE_USED)} + {select(ray.STORE_FREE)}) > 0.9",
        after="5m",
        severity="ticket",
        summary="The object store of {{ $labels.NodeAddress }} is full; pictures go to the disk",
    ),
    Alert(
        name="GPUMemoryOverDeclared",
        expr=f"{select(metrics.GPU_MEMORY)} > {select(metrics.GPU_MEMORY_DECLARED)}",
        after="5m",
        severity="ticket",
        summary="A replica of {{ $labels.model }} takes {{ $value | humanize1024 }}B, more than it is placed with",
    ),
    Alert(
        name="GPUMemoryNearlyFull",
        expr=f"{select(ray.GPU_USED)} / ({select(ray.GPU_USED)} + {select(ray.GPU_FREE)}) > 0.97",
        after="5m",
        severity="ticket",
        summary="GPU {{ $labels.GpuIndex }} of {{ $labels.ip }} is full",
    ),
    Alert(
        name="EnginesRefused",
        expr=f"{appeared(metrics.CACHE, 'cache', window='30m', result='refused')} > 0",
        after="0m",
        severity="ticket",
        summary="Entries of the cache of {{ $labels.cache }} were damaged or of another secret, and made again",
    ),
)

ALERTS: Sequence[Alert] = (*AVAILABLE, *LOADED, *EXHAUSTED)


def groups() -> list[dict[str, Any]]:
    """As Prometheus reads them."""
    named: Mapping[str, Sequence[Alert | Recording]] = {
        "modiste.objectives": RECORDINGS,
        "modiste.available": AVAILABLE,
        "modiste.loaded": LOADED,
        "modiste.exhausted": EXHAUSTED,
    }
    return [
        {"name": name, "interval": "30s", "rules": [rule.rule() for rule in rules]} for name, rules in named.items()
    ]
