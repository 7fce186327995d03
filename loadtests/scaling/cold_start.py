"""What a replica takes: seconds from a call to its answer where no replica runs, and memory; and what a call costs.

On a Serve of its own, each model started by its first call, with the class that serves it.
"""

import asyncio
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from time import perf_counter, process_time, sleep
from typing import Any

import httpx
import numpy as np
import psutil

from demo.server import running_server
from deployments.environment import prepare
from loadtests.elsewhere import cpu_seconds
from loadtests.hops import Echo
from modiste.telemetry import Context

Row = dict[str, Any]
HOPS_OF = {"direct": (1_000, 300_000, 1_000_000), "reference": (1_000, 600_000, 1_500_000, 6_000_000)}
"""Bytes that are carried there, and the same back, by the way of calling (docs/adr/0022): from a token to a photo."""
HOPS = 100
IDLE_S = 10.0
MB = 2**20


class Caller:
    """As a flow's replica does: calls that wait for each other."""

    def __init__(self, callee: Any) -> None:
        self._callee = callee

    async def __call__(self, way: str, size: int, hops: int) -> list[float]:
        call, x = self._callee.options(_by_reference=way == "reference"), np.zeros(size, np.uint8)
        times = []
        for _ in range(hops):
            await asyncio.sleep(0.02)
            started = perf_counter()
            await call.remote(x)
            times.append(perf_counter() - started)
        return times


def measure(inputs: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Row], Row]:
    """By model: cold_start_s, memory_mb. Then hops: by way of calling rows of bytes there and back together, seconds of
    one call between two processes, and CPU seconds that all processes together spend on it.

    inputs: of each model's first call; empty: it is only woken
    """
    prepare()
    import ray
    from ray import serve

    from api.app import INLINE_BYTES
    from deployments.replica import Replica

    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, object_store_memory=512_000_000,
        _node_ip_address="127.0.0.1",
        _system_config={"max_direct_call_object_size": INLINE_BYTES, "task_rpc_inlined_bytes_limit": 4 * INLINE_BYTES},
    )  # fmt: skip
    try:
        serve.start(proxy_location="Disabled")
        serving = _hops(serve)
        found: dict[str, Row] = {}
        for model, given in inputs.items():
            deployed = serve.deployment(Replica).options(
                name=model,
                ray_actor_options={"num_cpus": 0.05},
                autoscaling_config={"min_replicas": 0, "max_replicas": 1, "initial_replicas": 0},
            )
            handle = serve.run(deployed.bind(model), name=model, route_prefix=None)
            started = perf_counter()
            handle.remote(list(given), Context()).result(timeout_s=120)
            seconds = perf_counter() - started
            found[model] = {"cold_start_s": round(seconds, 2), "memory_mb": _memory_mb(model)}
            serve.delete(model)
        return found, serving
    finally:
        serve.shutdown()
        ray.shutdown()


def measure_ingress() -> Row:
    """Of the server as a whole: idle_cores, that it keeps busy when nobody asks; http_cpu_s, CPU seconds of a request
    that only the ingress answers, the client's included."""
    with (
        tempfile.TemporaryDirectory() as state,
        running_server(os.environ | {"MODISTE_STATE": state}) as server,
        httpx.Client(base_url=server.address) as client,
    ):
        sleep(IDLE_S)
        idle = _idle_cores(server.pid)
        busy, mine, started = cpu_seconds(server.pid), process_time(), perf_counter()
        for _ in range(HOPS):
            client.get("/healthz").raise_for_status()
        seconds = perf_counter() - started
        spent = cpu_seconds(server.pid) - busy + process_time() - mine - idle * seconds
    return {"idle_cores": round(idle, 3), "http_cpu_s": round(max(0.0, spent) / HOPS, 5)}


def _hops(serve: Any) -> Row:
    deployment = serve.deployment(ray_actor_options={"num_cpus": 0.05})
    handle = serve.run(deployment(Caller).bind(deployment(Echo).bind()), name="hops", route_prefix=None)
    for way in HOPS_OF:
        handle.remote(way, 1_000, 20).result()
    idle = _idle_cores(os.getpid())
    rows: dict[str, list[list[float]]] = {}
    for way, sizes in HOPS_OF.items():
        for size in sizes:
            busy, started = cpu_seconds(os.getpid()), perf_counter()
            times = handle.remote(way, size, HOPS).result()
            spent = cpu_seconds(os.getpid()) - busy - idle * (perf_counter() - started)
            row = [2 * size, round(statistics.median(times), 5), round(max(0.0, spent) / HOPS, 5)]
            rows.setdefault(way, []).append(row)
    serve.delete("hops")
    return {"hops": rows}


def _idle_cores(root: int) -> float:
    before = cpu_seconds(root)
    sleep(IDLE_S)
    return (cpu_seconds(root) - before) / IDLE_S


def _memory_mb(model: str) -> int:
    """Proportional set size of the model's replica, in 2**20 bytes."""
    for process in psutil.Process().children(recursive=True):
        if f":{model}" in " ".join(process.cmdline()):
            weight: int = round(process.memory_full_info().pss / MB)
            return weight
    raise RuntimeError(f"expected a process of a replica of {model}, got none")
