"""What is measured while serving: a table of frozen values. No Ray; replicas install what exports them.

Names are those that Prometheus shows. Every label has few values: flows, steps, models, engines, codes, states and
tenants are all in tables of ours; what is asked for and in no table is counted as "unknown".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["seconds", "bytes", "ratio", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric.

    buckets: upper bounds, in the unit, of histograms; Ray adds up a histogram's sum from the middles of its buckets,
             so means are as coarse as these are
    gpu:     only replicas on GPUs have it
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: Unit
    help: str
    buckets: tuple[float, ...] = ()
    gpu: bool = False


LONG = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)
"""Of requests and flows: from an echo to the longest deadline."""
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Of steps, models and engines."""
BATCHES = (0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 8.5, 12.5, 16.5, 24.5, 32.5, 64.5)
"""Whole numbers lie in the middles, so that means of small ones are exact."""
JOBS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 7200.0)
COLD = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)

FLOW_SECONDS = Metric(
    name="modiste_flow_seconds",
    kind="histogram",
    labels=("flow", "code"),
    unit="seconds",
    help='One run of a flow, by how it ended: "ok" or the problem\'s code',
    buckets=LONG,
)
STEP_SECONDS = Metric(
    name="modiste_step_seconds",
    kind="histogram",
    labels=("flow", "step"),
    unit="seconds",
    help="What one run of a flow waited for a step, all its calls together",
    buckets=SHORT,
)
QUEUE_SECONDS = Metric(
    name="modiste_queue_seconds",
    kind="histogram",
    labels=("model",),
    unit="seconds",
    help="A call at a replica of a model, from its arrival until the model takes it",
    buckets=SHORT,
)
MODEL_SECONDS = Metric(
    name="modiste_model_seconds",
    kind="histogram",
    labels=("model",),
    unit="seconds",
    help="A model at work on one call or one batch of calls: pre-processing, engines, post-processing",
    buckets=SHORT,
)
ENGINE_SECONDS = Metric(
    name="modiste_engine_seconds",
    kind="histogram",
    labels=("model", "engine"),
    unit="seconds",
    help="One inference of an engine",
    buckets=SHORT,
)
BATCH_SIZE = Metric(
    name="modiste_batch_size",
    kind="histogram",
    labels=("model",),
    unit="count",
    help="Inputs that a model works on together",
    buckets=BATCHES,
)
REQUESTS = Metric(
    name="modiste_requests_total",
    kind="counter",
    labels=("flow", "tenant", "status"),
    unit="count",
    help="HTTP requests to flows, by the status of the answer",
)
REQUEST_SECONDS = Metric(
    name="modiste_request_seconds",
    kind="histogram",
    labels=("tenant",),
    unit="seconds",
    help="HTTP requests to flows, from their head to the answer, refused ones too",
    buckets=LONG,
)
FAILURES = Metric(
    name="modiste_failures_total",
    kind="counter",
    labels=("flow", "code"),
    unit="count",
    help="HTTP requests to flows that were answered with a problem, by its code",
)
SHED = Metric(
    name="modiste_shed_total",
    kind="counter",
    labels=("flow", "tenant", "reason"),
    unit="count",
    help="Requests refused at the door because of load",
)
RETRIES = Metric(
    name="modiste_retries_total",
    kind="counter",
    labels=("deployment",),
    unit="count",
    help="Calls sent a second time because a replica died or had no room",
)
CACHE = Metric(
    name="modiste_cache_total",
    kind="counter",
    labels=("cache", "result"),
    unit="count",
    help='Look-ups in a cache: "hit", "miss", or "refused" for what was there and damaged or not ours',
)
FACES = Metric(
    name="modiste_faces_total",
    kind="counter",
    labels=("flow", "outcome"),
    unit="count",
    help="Faces that flows found, by what became of them",
)
GPU_MEMORY = Metric(
    name="modiste_gpu_memory_bytes",
    kind="gauge",
    labels=("model",),
    unit="bytes",
    help="Memory of its GPU that a replica's process takes",
    gpu=True,
)
GPU_MEMORY_DECLARED = Metric(
    name="modiste_gpu_memory_declared_bytes",
    kind="gauge",
    labels=("model",),
    unit="bytes",
    help="Memory of a GPU that a replica is placed with",
    gpu=True,
)
COLD_START = Metric(
    name="modiste_cold_start_seconds",
    kind="histogram",
    labels=("model",),
    unit="seconds",
    help="A replica opening its model: weights, engines, warm-up",
    buckets=COLD,
)
IN_FLIGHT = Metric(
    name="modiste_in_flight",
    kind="gauge",
    labels=("flow",),
    unit="count",
    help="Requests that are being answered",
)
JOBS_NOW = Metric(
    name="modiste_jobs",
    kind="gauge",
    labels=("state",),
    unit="count",
    help="Jobs that are kept, by state",
)
JOB_SECONDS = Metric(
    name="modiste_job_seconds",
    kind="histogram",
    labels=("flow", "state"),
    unit="seconds",
    help="Jobs from their start to their end, by how they ended",
    buckets=JOBS,
)
OLDEST_JOB = Metric(
    name="modiste_oldest_job_seconds",
    kind="gauge",
    labels=(),
    unit="seconds",
    help="Age of the oldest job that still waits; 0 where none does",
)
DISK_FREE = Metric(
    name="modiste_disk_free_ratio",
    kind="gauge",
    labels=("folder",),
    unit="ratio",
    help="Free part of the file system that holds a folder of ours",
)

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        FLOW_SECONDS,
        STEP_SECONDS,
        QUEUE_SECONDS,
        MODEL_SECONDS,
        ENGINE_SECONDS,
        BATCH_SIZE,
        REQUESTS,
        REQUEST_SECONDS,
        FAILURES,
        SHED,
        RETRIES,
        CACHE,
        FACES,
        GPU_MEMORY,
        GPU_MEMORY_DECLARED,
        COLD_START,
        IN_FLIGHT,
        JOBS_NOW,
        JOB_SECONDS,
        OLDEST_JOB,
        DISK_FREE,
    )
}

Recorder = Callable[[Metric, float, Mapping[str, str]], None]

_recorder: Recorder | None = None


def record(metric: Metric, value: float = 1.0, /, **labels: str) -> None:
    """Count up, set or observe, as the metric's kind says; nothing where this process exports nothing."""
    if _recorder is not None:
        _recorder(metric, value, labels)


def export_to(recorder: Recorder | None) -> None:
    """Have whatever this process records go there from now on."""
    global _recorder  # noqa: PLW0603 - one exporter in a process, as with logs
    _recorder = recorder
