"""Whether a scaling policy comes and goes: one deployment under an offered load, second by second.

Serve's look-back and delays around a policy; replicas take what they can, the rest waits. Calls that wait although
there is room, as they come by chance, are those of an M/D/1 queue.
"""

import random
from collections import deque
from collections.abc import Callable
from math import ceil

from deployments.policy import Load, wanted
from deployments.scaling import ACCEPTED_WAIT_S, LOOK_BACK_S

Policy = Callable[[Load, int, int], int]
"""From the load, replicas that run and replicas asked for: replicas wanted."""

Offered = Callable[[float], float]
"""Replicas' worth of work that comes in each second."""

DOWN_S = 300.0
FULLEST = 0.98
LEVELS = (0.5, 0.79, 1.2, 1.5, 1.9, 2.4, 3.1)
HOURS = 2.0


def ours(load: Load, running: int, target: int) -> int:
    return wanted(load, running=running, target=target, accepted_wait_s=ACCEPTED_WAIT_S)


def rays(aim: float) -> Policy:
    """Serve's own: calls under way over `target_ongoing_requests`."""
    return lambda load, running, target: max(1, ceil(load.calls / aim))


def noisy(level: float) -> Offered:
    rng = random.Random(1)  # noqa: S311 - noise
    return lambda second: level * rng.uniform(0.6, 1.4)


def sawtooth(low: float, high: float, period_s: float) -> Offered:
    return lambda second: low + (high - low) * (second % period_s) / period_s


def changes(offered: Offered, policy: Policy, *, call_s: float = 0.1, hours: float = HOURS) -> list[int]:
    """How many replicas there are, one after the other; the first is 1."""
    target, waiting = 1, 0.0
    history: deque[tuple[float, float, float]] = deque(maxlen=int(LOOK_BACK_S))
    wants: tuple[bool, int] | None = None
    seen = [target]
    for second in range(int(hours * 3600)):
        coming = offered(second)
        done = min(target, coming + waiting)
        waiting += coming - done
        full = min(done / target, FULLEST)
        line = target * full**2 / (2 * (1 - full))
        history.append((done, waiting + line * call_s, done + line + waiting / call_s))
        busy, queue, calls = (sum(x) / len(history) for x in zip(*history, strict=True))
        desired = policy(Load(busy=busy, waiting_s=queue, calls=calls), target, target)
        if desired == target:
            wants = None
        elif wants is None or wants[0] != (desired > target):
            wants = desired > target, second
        if wants is not None and second - wants[1] >= (LOOK_BACK_S if wants[0] else DOWN_S):
            target, wants = max(1, desired), None
            seen.append(target)
    return seen


def table() -> dict[str, list[int]]:
    """By policy, how often it changes the number of replicas in two hours of each of `LEVELS`."""
    policies = {f"Ray's own, target {aim:g}": rays(aim) for aim in (5.0, 2.0, 1.0)} | {"by work": ours}
    return {name: [len(changes(noisy(level), policy)) - 1 for level in LEVELS] for name, policy in policies.items()}
