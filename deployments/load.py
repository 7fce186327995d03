"""How much work a replica has: what it tells the autoscaler every few seconds. No Ray."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic, process_time

STEADY = 0.8
"""Of what a measured second per input says, against the newest one: times differ from input to input."""


class WorkLoad:
    """Of a model's replica, whose calls are taken on the event loop and run one after the other on a thread.

    A call is one to Ray, however many inputs it has; here work is counted in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._taken = self._calls = self._running = 0
        self._began: float | None = None
        self._share = 1.0
        self._busy, self._since = 0.0, clock()
        self._input_s: float | None = None

    @contextmanager
    def taken(self, inputs: int) -> Iterator[None]:
        """A call from its arrival to its answer, whether or not it ever runs."""
        with self._lock:
            self._taken += inputs
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= inputs
                self._calls -= 1

    @contextmanager
    def worked(self, inputs: int, room: int = 1) -> Iterator[None]:
        """The model's work on some inputs.

        room: how many would have gone at once; where engines run batches, a small batch leaves room in the same time
        """
        with self._lock:
            self._running, self._share, self._began = inputs, min(1.0, inputs / room), self._clock()
        try:
            yield
        finally:
            with self._lock:
                began, now = self._began, self._clock()
                assert began is not None
                self._busy += self._share * (now - max(began, self._since))
                each = (now - began) / max(1, inputs)
                known = self._input_s
                self._input_s = each if known is None else STEADY * known + (1 - STEADY) * each
                self._running, self._began = 0, None

    def stats(self) -> dict[str, float]:
        """Since it was last asked: the share of the time that it worked (0-1). Now: seconds of work that wait here,
        and seconds that a call takes.
        """
        with self._lock:
            now = self._clock()
            if self._began is not None:
                self._busy += self._share * (now - max(self._began, self._since))
            passed = now - self._since
            busy = min(1.0, self._busy / passed) if passed > 0 else 0.0
            self._busy, self._since = 0.0, now
            each = self._input_s or 0.0
            inputs_of_a_call = self._taken / self._calls if self._calls else 1.0
            return {
                "busy": busy,
                "waiting_s": max(0, self._taken - self._running) * each,
                "call_s": each * inputs_of_a_call,
            }


class ProcessLoad:
    """Of a replica that does its work on its event loop: a flow, the ingress. One core is all that such a process
    fills; what waits for others costs nothing."""

    def __init__(self, clock: Callable[[], float] = monotonic, spent: Callable[[], float] = process_time) -> None:
        self._clock, self._spent = clock, spent
        self._last = clock(), spent()

    def stats(self) -> dict[str, float]:
        """As a model's; nothing is known to wait."""
        now, spent = self._clock(), self._spent()
        passed, worked = now - self._last[0], spent - self._last[1]
        self._last = now, spent
        return {"busy": min(1.0, worked / passed) if passed > 0 else 0.0, "waiting_s": 0.0, "call_s": 0.0}
