"""What Serve's autoscaler is told: calls at handles, calls that wait inside a replica, calls with many inputs.

A deployment that works as models do, under three loads, with a policy that only writes down what it is given.
"""

import asyncio
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from time import sleep, time
from typing import Any

from deployments.environment import prepare
from deployments.load import WorkLoad

INPUT_S = 0.1
PHASE_S = 9.0
ONGOING = 32
LOADS = {"10 calls of 1 input": (10, 1), "2 calls of 40 inputs": (2, 40), "50 calls of 1 input": (50, 1)}
"""How many at a time, and how many inputs each. A replica takes on 32 calls."""


class Sleeper:
    def __init__(self) -> None:
        self._thread, self._load = ThreadPoolExecutor(1), WorkLoad()

    async def __call__(self, inputs: int) -> None:
        with self._load.taken(inputs):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._work, inputs)

    def _work(self, inputs: int) -> None:
        with self._load.worked(inputs):
            sleep(inputs * INPUT_S)

    def record_autoscaling_stats(self) -> dict[str, float]:
        return self._load.stats()


class Caller:
    def __init__(self, callee: Any) -> None:
        self._callee = callee

    async def __call__(self, calls: int, inputs: int) -> None:
        """Keeps as many calls under way as long as the phase lasts."""
        ends = time() + PHASE_S

        async def one() -> None:
            while time() < ends:
                await self._callee.remote(inputs)

        await asyncio.gather(*(one() for _ in range(calls)))


class Notes:
    """A policy that changes nothing."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        seen = {name: sum(of.values()) for name, of in ctx.aggregated_metrics.items()}
        row = {"time": time(), "calls": ctx.total_num_requests, "queued": ctx.total_queued_requests, **seen}
        with Path(self._path).open("a") as notes:
            notes.write(json.dumps(row) + "\n")
        return 1, {}


def measure() -> dict[str, dict[str, float]]:
    """By load, the means of the second half of its time: calls and queued as Ray counts them; busy (replicas' worth)
    and waiting_s (seconds of work) as replicas do."""
    prepare()
    import ray
    from ray import serve

    with tempfile.TemporaryDirectory() as scratch:
        notes = Path(scratch) / "notes.jsonl"
        ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        try:
            serve.start(proxy_location="Disabled")
            actor = {"num_cpus": 0.05}
            sleeper = serve.deployment(Sleeper).options(
                ray_actor_options=actor,
                max_ongoing_requests=ONGOING,
                autoscaling_config={
                    "min_replicas": 1,
                    "max_replicas": 1,
                    "look_back_period_s": 3.0,
                    "metrics_interval_s": 1.0,
                    "policy": {
                        "policy_function": "loadtests.scaling.seen:Notes",
                        "policy_kwargs": {"path": str(notes)},
                    },
                },
            )
            caller = serve.deployment(Caller).options(ray_actor_options=actor)
            handle = serve.run(caller.bind(sleeper.bind()), name="seen", route_prefix=None)
            found = {}
            for name, (calls, inputs) in LOADS.items():
                began = time()
                handle.remote(calls, inputs).result(timeout_s=120)
                rows = [json.loads(line) for line in notes.read_text().splitlines()]
                late = [row for row in rows if began + PHASE_S / 2 < row["time"] < began + PHASE_S]
                found[name] = {
                    key: round(mean(row.get(key, 0.0) for row in late), 2)
                    for key in ("calls", "queued", "busy", "waiting_s")
                }
            return found
        finally:
            serve.shutdown()
            ray.shutdown()
