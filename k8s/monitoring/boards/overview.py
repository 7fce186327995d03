"""Whether users are served, how fast, and what is left of machines."""

from k8s.monitoring import ray
from k8s.monitoring.charts import Board, Chart, Line
from k8s.monitoring.lines import by
from k8s.monitoring.objectives import AVAILABILITY
from k8s.monitoring.promql import appeared, now, quantile, select, share, total
from modiste import metrics

BOARD = Board(
    uid="modiste-overview",
    title="Modiste: overview",
    told="Whether users are served, how fast, and what is left of machines.",
    rows={
        "Now": (
            Chart(
                title="Requests", told="To flows, per second.", unit="reqps", number=True, wide=4,
                lines=(Line(expr=total(metrics.REQUESTS)),),
            ),
            Chart(
                title="Served", told="Share of requests not answered with a 5xx.", unit="percentunit", number=True,
                wide=4,
                lines=(
                    Line(expr=f"1 - {share(total(metrics.REQUESTS, status='~5..'), total(metrics.REQUESTS))}"),
                ),
            ),
            Chart(
                title="p95", told="Requests to flows, refused ones too.", unit="s", number=True, wide=4,
                lines=(Line(expr=quantile(0.95, metrics.REQUEST_SECONDS)),),
            ),
            Chart(
                title="In flight", told="Requests that are being answered.", unit="short", number=True, wide=4,
                lines=(Line(expr=now(metrics.IN_FLIGHT)),),
            ),
            Chart(
                title="Jobs waiting", told="Not yet begun.", unit="short", number=True, wide=4,
                lines=(Line(expr=now(metrics.JOBS_NOW, how="max", state="queued")),),
            ),
            Chart(
                title="Replicas", told="That pass their checks, of all models, flows, http and jobs.", unit="short",
                number=True, wide=4,
                lines=(Line(expr=now(ray.HEALTHY)),),
            ),
        ),
        "Users": (
            Chart(
                title="Requests by flow", told="Per second.", unit="reqps", stacked=True,
                lines=by(total(metrics.REQUESTS, "flow"), "flow"),
            ),
            Chart(
                title="Time by flow, p95", told="Runs that ended well.", unit="s",
                lines=by(quantile(0.95, metrics.FLOW_SECONDS, "flow", code="ok"), "flow"),
            ),
            Chart(
                title="Error budget spent at", told=f"1: as fast as {AVAILABILITY:.1%} over 30 days allows.",
                unit="short",
                lines=by(
                    share(total(metrics.REQUESTS, "flow", status="~5.."), total(metrics.REQUESTS, "flow"))
                    + f" / {1 - AVAILABILITY:.4g}",
                    "flow",
                ),
            ),
            Chart(
                title="Failures", told="Requests answered with a problem, by its code.", unit="reqps", stacked=True,
                lines=by(total(metrics.FAILURES, "code"), "code"),
            ),
            Chart(
                title="Shed", told="Requests refused because of load.", unit="reqps", stacked=True,
                lines=by(total(metrics.SHED, "reason"), "reason"),
            ),
            Chart(
                title="Jobs", told="That are kept, by state.", unit="short", stacked=True,
                lines=by(now(metrics.JOBS_NOW, "state", how="max"), "state"),
            ),
        ),
        "Deployments": (
            Chart(
                title="Replicas", told="That pass their checks.", unit="short", stacked=True,
                lines=by(now(ray.HEALTHY, "deployment"), "deployment"),
            ),
            Chart(
                title="Calls waiting for a replica", told="At the routers of callers.", unit="short",
                lines=by(now(ray.QUEUED, "deployment"), "deployment"),
            ),
            Chart(
                title="Calls sent twice, 15 min", told="Because a replica died or had no room.", unit="short",
                lines=by(appeared(metrics.RETRIES, "deployment", window="15m"), "deployment"),
            ),
            Chart(
                title="Caches: hits", told="Share of look-ups.", unit="percentunit", most=1.0,
                lines=by(share(total(metrics.CACHE, "cache", result="hit"), total(metrics.CACHE, "cache")), "cache"),
            ),
            Chart(
                title="Opening a model, p95", told="Weights, engines, warm-up; over six hours.", unit="s",
                lines=by(quantile(0.95, metrics.COLD_START, "model", window="6h"), "model"),
            ),
            Chart(
                title="Oldest job that waits", told="Age.", unit="s",
                lines=(Line(expr=now(metrics.OLDEST_JOB, how="max"), legend="oldest"),),
            ),
        ),
        "Machines": (
            Chart(
                title="CPU", told="In use.", unit="percent", wide=6, most=100.0, lines=by(select(ray.CPU), "ip"),
            ),
            Chart(
                title="Memory", told="In use; at 95 % Ray ends replicas.", unit="percentunit", wide=6, most=1.0,
                lines=by(f"{now(ray.MEMORY_USED, 'ip')} / {now(ray.MEMORY_TOTAL, 'ip')}", "ip"),
            ),
            Chart(
                title="Object store", told="Pictures in flight; what does not fit goes to the disk.",
                unit="percentunit", wide=6, most=1.0,
                lines=by(
                    f"{select(ray.STORE_USED)} / ({select(ray.STORE_USED)} + {select(ray.STORE_FREE)})", "NodeAddress"
                ),
            ),
            Chart(
                title="Disk", told="In use.", unit="percentunit", wide=6, most=1.0,
                lines=(
                    Line(expr=f"1 - {now(metrics.DISK_FREE, 'folder', how='min')}", legend="{{folder}}"),
                    Line(expr=f"{select(ray.DISK)} / 100", legend="{{ip}}"),
                ),
            ),
        ),
    },
)  # fmt: skip
