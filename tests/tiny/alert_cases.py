"""For each alert, series that fire it and series that do not, in promtool's notation.

A series is "name{labels}" -> values, one each 30 seconds: "a+bxn" goes from a in n steps of b, "axn" stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Series = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """fires, quiet: series; at: when it is asked; where: which of the alerts of that name, by a label"""

    fires: Series
    quiet: Series
    at: str = "1h"
    firing: int = 1


def _requests(good: str, bad: str, flow: str = "try_on") -> Series:
    return {
        f'modiste_requests_total{{flow="{flow}",tenant="public",status="200"}}': good,
        f'modiste_requests_total{{flow="{flow}",tenant="public",status="503"}}': bad,
    }


def _slow(flow: str, below: str) -> Series:
    """All runs of a flow are under a bound, none under the one before."""
    of = f'modiste_flow_seconds_bucket{{flow="{flow}",code="ok"'
    return {f'{of},le="{le}"}}': ("0+10x300" if float(le) >= float(below) else "0x300") for le in LE}


LE = ("0.5", "1", "1.5", "2.5", "5", "10", "20", "40", "+Inf")

_STATUS = 'ray_serve_deployment_status{application="try_on",deployment="try_on"}'
_HEALTHY = 'ray_serve_deployment_replica_healthy{application="http",deployment="http",replica="a"}'
_UP = 'up{job="modiste",instance="10.0.0.1:8080"}'


def _starts(count: int) -> Series:
    """That many replicas, each started at a time of its own after 50 minutes."""
    of = 'ray_serve_deployment_replica_starts_total{application="http",deployment="http",replica='
    return {f'{of}"r{i}"}}': f"_x{100 + i} 1x{20 - i}" for i in range(count)}


def _gauge(name: str, labels: str, fires: str, quiet: str, at: str = "1h") -> Case:
    series = f"{name}{{{labels}}}" if labels else name
    return Case(fires={series: f"{fires}x300"}, quiet={series: f"{quiet}x300"}, at=at)


def _filled(used: str, free: str, labels: str, full: int, empty: int) -> Case:
    def series(part: int) -> Series:
        return {f"{used}{{{labels}}}": f"{part}x300", f"{free}{{{labels}}}": f"{100 - part}x300"}

    return Case(fires=series(full), quiet=series(empty))


CASES: Mapping[str, Case] = {
    # A tenth fails: 20 times what is allowed.
    "AvailabilityBurnsFast": Case(fires=_requests("0+9x300", "0+1x300"), quiet=_requests("0+999x300", "0+1x300")),
    # Two of a hundred fail, for longer than an hour.
    "AvailabilityBurnsSlowly": Case(
        fires=_requests("0+98x400", "0+2x400"), quiet=_requests("0+998x400", "0+2x400"), at="3h"
    ),
    "NoReadyIngress": Case(fires={_HEALTHY: "1x10 0x100"}, quiet={_HEALTHY: "1x300"}),
    "NothingScraped": Case(fires={_UP: "0x300"}, quiet={_UP: "1x300"}),
    "DeploymentUnhealthy": Case(fires={_STATUS: "2x300"}, quiet={_STATUS: "3x300"}),
    "DeploymentStuck": Case(fires={_STATUS: "3x300"}, quiet={_STATUS: "6x90 3x300"}),
    "ReplicasRestart": Case(fires=_starts(8), quiet=_starts(5)),
    "FlowSlow": Case(fires=_slow("sketch_search", "2.5"), quiet=_slow("sketch_search", "1.5")),
    "RequestsShed": Case(
        fires=_requests("0+90x300", "0+10x300")
        | {'modiste_shed_total{flow="try_on",tenant="public",reason="queue"}': "0+10x300"},
        quiet=_requests("0+99x300", "0+1x300")
        | {'modiste_shed_total{flow="try_on",tenant="public",reason="queue"}': "0+1x300"},
    ),
    "QueueGrows": _gauge("ray_serve_deployment_queued_queries", 'application="g",deployment="g"', "20+1", "3"),
    "FlowFails": Case(
        fires={'modiste_failures_total{flow="try_on",code="internal"}': "0+1x300"},
        quiet={'modiste_failures_total{flow="try_on",code="no_person"}': "0+100x300"},
    ),
    # Born with its first value, as counters are.
    "CallsRetried": Case(
        fires={'modiste_retries_total{deployment="blazeface"}': "_x110 11x20"},
        quiet={'modiste_retries_total{deployment="blazeface"}': "11x300"},
    ),
    "JobsWait": _gauge("modiste_oldest_job_seconds", "", "2000", "600"),
    "JobsFail": Case(
        fires={
            'modiste_job_seconds_count{flow="anonymize_video",state="failed"}': "0+1x300",
            'modiste_job_seconds_count{flow="anonymize_video",state="succeeded"}': "0+1x300",
        },
        quiet={'modiste_job_seconds_count{flow="anonymize_video",state="succeeded"}': "0+1x300"},
    ),
    "DiskNearlyFull": _gauge("modiste_disk_free_ratio", 'folder="state"', "0.05", "0.5"),
    "MemoryNearlyFull": Case(
        fires={'ray_node_mem_used{ip="10.0.0.1"}': "95x300", 'ray_node_mem_total{ip="10.0.0.1"}': "100x300"},
        quiet={'ray_node_mem_used{ip="10.0.0.1"}': "60x300", 'ray_node_mem_total{ip="10.0.0.1"}': "100x300"},
    ),
    "ObjectStoreNearlyFull": _filled(
        "ray_object_store_used_memory", "ray_object_store_available_memory", 'NodeAddress="10.0.0.1"', 95, 40
    ),
    "GPUMemoryOverDeclared": Case(
        fires={
            'modiste_gpu_memory_bytes{model="gpen",WorkerId="w"}': "3e9x300",
            'modiste_gpu_memory_declared_bytes{model="gpen",WorkerId="w"}': "2e9x300",
        },
        quiet={
            'modiste_gpu_memory_bytes{model="gpen",WorkerId="w"}': "1e9x300",
            'modiste_gpu_memory_declared_bytes{model="gpen",WorkerId="w"}': "2e9x300",
        },
    ),
    "GPUMemoryNearlyFull": _filled(
        "ray_node_gram_used", "ray_node_gram_available", 'ip="10.0.0.1",GpuIndex="0"', 99, 80
    ),
    "EnginesRefused": Case(
        fires={'modiste_cache_total{cache="engines",result="refused"}': "_x100 1x20"},
        quiet={'modiste_cache_total{cache="engines",result="miss"}': "_x100 1x20"},
    ),
}
