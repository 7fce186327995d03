"""What one call between two processes costs, by what it carries: Ray alone, and Ray Serve as flows call models.

The callee gives back what it was sent. Calls are 50 ms apart, as those of a flow are: both processes are asleep
when one begins.
"""

import asyncio
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from deployments.environment import prepare

SIZES = (1_000, 200_000, 600_000, 3_000_000)
"""Bytes: a token, a small crop, a crop, a picture."""
RAY_INLINE_BYTES = 100 * 1024
"""Size up to which Ray sends an object inside the call, where nothing else is said."""


class Echo:
    """As a model's replica does: on a thread of its own, off the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def __call__(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: x)


class Caller:
    def __init__(self, callee: Any, runs: int) -> None:
        self._callee, self._runs = callee, runs

    async def measure(self, way: str) -> list[float]:
        """Median milliseconds for each size. way: "actor", or of a deployment "store" or "direct"."""
        call = self._callee.__call__ if way == "actor" else self._callee.options(_by_reference=way == "store")
        medians = []
        for size in SIZES:
            x = np.random.default_rng(0).integers(0, 256, size, np.uint8)
            times = []
            for _ in range(self._runs):
                await asyncio.sleep(0.05)
                started = perf_counter()
                await call.remote(x)
                times.append((perf_counter() - started) * 1e3)
            medians.append(round(statistics.median(times[2:]), 2))
        return medians


def measure(runs: int = 60) -> dict[str, dict[str, float]]:
    """By way of calling: milliseconds by bytes carried."""
    prepare()
    from api.app import INLINE_BYTES

    actor, store, _ = _measure(RAY_INLINE_BYTES, runs)
    _, inside, direct = _measure(INLINE_BYTES, runs)
    ways = {
        "Ray alone": actor,
        "Serve, with Ray's default": store,
        "Serve, up to 1 MB inside the call": inside,
        "Serve, straight to the replica's port": direct,
    }
    return {way: dict(zip(map(str, SIZES), times, strict=True)) for way, times in ways.items()}


def _measure(inline: int, runs: int) -> tuple[list[float], list[float], list[float]]:
    """A plain actor's and a deployment's times, where objects up to `inline` bytes travel inside the call."""
    import ray
    from ray import serve

    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, object_store_memory=512_000_000,
        _node_ip_address="127.0.0.1",
        _system_config={"max_direct_call_object_size": inline, "task_rpc_inlined_bytes_limit": 4 * inline},
    )  # fmt: skip
    try:
        actor = ray.remote(num_cpus=0.05)
        plain = ray.get(actor(Caller).remote(actor(Echo).remote(), runs).measure.remote("actor"))
        serve.start(proxy_location="Disabled")
        deployment = serve.deployment(ray_actor_options={"num_cpus": 0.05})
        caller = serve.run(deployment(Caller).bind(deployment(Echo).bind(), runs))
        return plain, caller.measure.remote("store").result(), caller.measure.remote("direct").result()
    finally:
        serve.shutdown()
        ray.shutdown()


def main(runs: int = 60) -> None:
    """Measure and print."""
    print(json.dumps(measure(runs), indent=1))


if __name__ == "__main__":
    typer.run(main)
