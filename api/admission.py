"""Who is let in: a bounded number of requests at once, and none that could not be done in time.

Each flow has places of its own (a bulkhead), so that a slow one cannot take the server from the others. What is
refused is refused at once, before its body is read, with the time after which to come again (`api/door.py`).
"""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from api.errors import Overloaded, TooManyRequests
from api.tenants import Tenant
from modiste.metrics import IN_FLIGHT, SHED, record

AT_ONCE = 32
"""Requests to one flow at once, where the settings do not say."""
BATCH_SHARE = 0.5
"""Of a flow's places, at most, for tenants of the batch tier together."""
MEMORY = 16
"""Completions from which the pace is judged."""
LEAST = 4
"""Of them, after the first: a pause after fewer says nothing yet."""


class Pace:
    """How fast a flow gets done with requests while it has some."""

    def __init__(self) -> None:
        self._done: deque[float] = deque(maxlen=MEMORY)

    def begin(self) -> None:
        """It had none, and has one now."""
        self._done.clear()

    def end(self, now: float) -> None:
        self._done.append(now)

    def seconds_each(self) -> float:
        """Between completions; 0 as long as too little is known.

        Counted from the first completion: how long that one took says how long one takes, not how many are done side
        by side.
        """
        known = len(self._done) - 1
        return (self._done[-1] - self._done[0]) / known if known >= LEAST else 0.0

    def stalled_s(self, now: float) -> float:
        """Since when one is overdue: all that wait are late by it, once, until the pace is back."""
        each = self.seconds_each()
        return max(0.0, now - self._done[-1] - each) if each else 0.0


class Admission:
    """Of one process that requests come in by; used from its event loop alone.

    limits: requests at once by flow; deadline_s: within which each is to be done
    """

    def __init__(self, limits: Mapping[str, int], deadline_s: float) -> None:
        self._limits, self._deadline_s = limits, deadline_s
        self._paces: dict[str, Pace] = {}
        self.in_flight: Counter[str] = Counter()
        self._batch: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()

    @contextmanager
    def admit(self, flow: str, tenant: Tenant) -> Iterator[None]:
        """Holds a place inside the block.

        raises: TooManyRequests where the tenant has all of its own; Overloaded where the flow has none, or could not
                get done with this one in time
        """
        now = monotonic()
        pace = self._paces.setdefault(flow, Pace())
        if not self.in_flight[flow]:
            pace.begin()
        try:
            self._check(flow, tenant, pace.seconds_each(), pace.stalled_s(now))
        except Overloaded as refusal:
            record(SHED, flow=flow, tenant=tenant.name, reason=refusal.code)
            raise
        batch = tenant.tier == "batch"
        self.in_flight[flow] += 1
        self._tenants[tenant.name] += 1
        self._batch[flow] += batch
        record(IN_FLIGHT, self.in_flight[flow], flow=flow)
        try:
            yield
        finally:
            self.in_flight[flow] -= 1
            self._tenants[tenant.name] -= 1
            self._batch[flow] -= batch
            record(IN_FLIGHT, self.in_flight[flow], flow=flow)
            pace.end(monotonic())

    def _check(self, flow: str, tenant: Tenant, seconds_each: float, stalled_s: float) -> None:
        if self._tenants[tenant.name] >= tenant.concurrency:
            raise TooManyRequests(
                f"expected at most {tenant.concurrency} requests at once, got one more", _after(seconds_each)
            )
        limit = self._limits.get(flow, AT_ONCE)
        if tenant.tier == "batch" and self._batch[flow] >= max(1, int(limit * BATCH_SHARE)):
            raise Overloaded(f"expected a free place for batch work in {flow}, got none", _after(seconds_each))
        if self.in_flight[flow] >= limit:
            raise Overloaded(f"expected a free place in {flow}, got {limit} requests at once", _after(seconds_each))
        wait_s = seconds_each * (self.in_flight[flow] + 1) + stalled_s
        if wait_s > self._deadline_s:
            raise Overloaded(
                f"expected {flow} to be done within {self._deadline_s:.0f} s, at its pace it would take {wait_s:.0f} s",
                _after(wait_s - self._deadline_s),
            )


def _after(seconds: float) -> int:
    return max(1, math.ceil(seconds))
