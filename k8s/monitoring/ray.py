"""Metrics of Ray's own that dashboards and alerts read, as Ray exports them without its dashboard.

They are not renamed. A test scrapes a live cluster for every one of them.
"""

from collections.abc import Mapping

from modiste.metrics import Kind, Metric, Unit

_OF = ("application", "deployment")
_NODE = ("ip", "IsHeadNode", "RayNodeType")


def _ray(name: str, kind: Kind, labels: tuple[str, ...], unit: Unit, told: str, *, gpu: bool = False) -> Metric:
    buckets = (1.0,) if kind == "histogram" else ()
    return Metric(name=name, kind=kind, labels=labels, unit=unit, help=told, buckets=buckets, gpu=gpu)


QUEUED = _ray("ray_serve_deployment_queued_queries", "gauge", _OF, "count", "Calls waiting for a replica")
HEALTHY = _ray("ray_serve_deployment_replica_healthy", "gauge", (*_OF, "replica"), "count", "1: passes its checks")
STATUS = _ray(
    "ray_serve_deployment_status", "gauge", _OF, "count",
    "1 failed to deploy, 2 unhealthy, 3 updating, 4 growing, 5 shrinking, 6 healthy",
)  # fmt: skip
TARGET = _ray("ray_serve_autoscaling_target_replicas", "gauge", _OF, "count", "Replicas that there should be")
ONGOING = _ray("ray_serve_replica_processing_queries", "gauge", (*_OF, "replica"), "count", "Calls at a replica")
STARTS = _ray(
    "ray_serve_deployment_replica_starts_total", "counter", (*_OF, "replica"), "count", "Starts of a replica"
)  # fmt: skip
CALLS = _ray(
    "ray_serve_deployment_request_counter_total", "counter", (*_OF, "replica"), "count", "Calls that replicas answered"
)

CPU = _ray("ray_node_cpu_utilization", "gauge", _NODE, "count", "CPU in use, per cent")
MEMORY_USED = _ray("ray_node_mem_used", "gauge", _NODE, "bytes", "Memory in use")
MEMORY_TOTAL = _ray("ray_node_mem_total", "gauge", _NODE, "bytes", "Memory there is")
DISK = _ray("ray_node_disk_utilization_percentage", "gauge", _NODE, "count", "Disk in use, per cent")
STORE_USED = _ray("ray_object_store_used_memory", "gauge", ("NodeAddress",), "bytes", "Object store in use")
STORE_FREE = _ray("ray_object_store_available_memory", "gauge", ("NodeAddress",), "bytes", "Object store left")
GPU_USE = _ray("ray_node_gpus_utilization", "gauge", (*_NODE, "GpuIndex"), "count", "GPU in use, per cent", gpu=True)
GPU_USED = _ray("ray_node_gram_used", "gauge", (*_NODE, "GpuIndex"), "bytes", "GPU memory in use, MB", gpu=True)
GPU_FREE = _ray("ray_node_gram_available", "gauge", (*_NODE, "GpuIndex"), "bytes", "GPU memory left, MB", gpu=True)

UP = Metric(name="up", kind="gauge", labels=("job", "instance"), unit="count", help="1 where a scrape succeeded")

RAY: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        QUEUED, HEALTHY, STATUS, TARGET, ONGOING, STARTS, CALLS, CPU, MEMORY_USED, MEMORY_TOTAL, DISK,
        STORE_USED, STORE_FREE, GPU_USE, GPU_USED, GPU_FREE,
    )
}  # fmt: skip
