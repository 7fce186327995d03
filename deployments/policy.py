"""How many replicas a deployment should have under its load: by work in seconds, not by calls.

Ray's own policy divides the calls that are under way by a target. It sees neither how much work is in a call nor
whether the replicas that are left could do it: at a steady load it takes replicas away as soon as few calls wait, and
brings them back when they queue (docs/scaling.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

HIGH = 0.8
"""Of a replica's time, at most: above, waiting times grow without bound as it fills."""

LOW = 0.6
"""Of a replica's time, at most, after one was taken away. Between the two nothing changes."""

DRAIN_S = 15.0
"""In which work that has piled up is done, besides what comes: about as long as it takes until more replicas do any."""

GROWTH = 2
"""Times as many replicas as run, at most at once: until those have started, nobody knows what they change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Of all replicas of a deployment together, over the time that is looked back at.

    busy:      replicas' worth of work done (seconds per second)
    waiting_s: seconds of work that wait, in replicas and on the way to them
    calls:     under way
    """

    busy: float
    waiting_s: float
    calls: float


def wanted(load: Load, *, running: int, target: int, accepted_wait_s: float) -> int:
    """Replicas that keep each under `HIGH`; where more than `accepted_wait_s` of work waits for each, also those that
    do it within `DRAIN_S`.

    running: that answer; target: that were asked for last
    """
    rise = ceil(load.busy / HIGH)
    if load.waiting_s > accepted_wait_s * max(1, running):
        rise = max(rise, running + 1, ceil(load.busy + load.waiting_s / DRAIN_S))
    if rise > target:
        return max(target, min(rise, GROWTH * max(1, running)))
    return min(target, max(rise, ceil(load.busy / LOW), 1 if load.calls > 0 else 0))


def load_of(metrics: Mapping[str, Mapping[Any, float]], *, calls: float, queued: float) -> Load:
    """From what replicas report (deployments/load.py) and what waits on the way to them.

    queued: calls that no replica has taken yet
    """
    call_s = [seconds for seconds in metrics.get("call_s", {}).values() if seconds > 0]
    on_the_way = queued * sum(call_s) / len(call_s) if call_s else 0.0
    return Load(
        busy=sum(metrics.get("busy", {}).values()),
        waiting_s=sum(metrics.get("waiting_s", {}).values()) + on_the_way,
        calls=calls,
    )


class ByWork:
    """Serve's `policy_function`; it applies bounds and delays itself, and starts a first replica by itself.

    accepted_wait_s: seconds of work that may wait for each replica
    """

    def __init__(self, accepted_wait_s: float) -> None:
        self._accepted_wait_s = accepted_wait_s

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        load = load_of(ctx.aggregated_metrics, calls=ctx.total_num_requests, queued=ctx.total_queued_requests)
        running, target = ctx.current_num_replicas, ctx.target_num_replicas
        return wanted(load, running=running, target=target, accepted_wait_s=self._accepted_wait_s), {}
