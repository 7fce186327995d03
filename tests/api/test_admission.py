"""Who is let in."""

from contextlib import ExitStack
from typing import Any

import pytest

from api import admission as module
from api.admission import Admission
from api.errors import Overloaded, TooManyRequests
from api.tenants import Tenant

SHOP = Tenant(name="shop", concurrency=100)
NIGHT = Tenant(name="night", tier="batch", concurrency=100)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def one_by_one(admission: Admission, clock: Clock, times: int, seconds: float) -> None:
    """Requests that end one after the other while others wait behind them."""
    for _ in range(times):
        with admission.admit("flow", SHOP):
            clock.now += seconds


def test_a_flow_takes_as_many_as_its_limit_and_others_stay_open(clock: Clock) -> None:
    admission = Admission({"flow": 2}, 60)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(admission.admit("flow", SHOP))
        with pytest.raises(Overloaded) as refused, admission.admit("flow", SHOP):
            pass
        assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "overloaded", 1)
        with admission.admit("other", SHOP):
            pass
    with admission.admit("flow", SHOP):
        assert admission.in_flight["flow"] == 1


def test_a_place_is_given_back_whatever_happens(clock: Clock) -> None:
    admission = Admission({"flow": 1}, 60)
    with pytest.raises(KeyError), admission.admit("flow", SHOP):
        raise KeyError
    with admission.admit("flow", SHOP):
        pass
    assert admission.in_flight["flow"] == 0


def test_a_tenant_has_a_limit_over_all_flows(clock: Clock) -> None:
    admission = Admission({}, 60)
    small = Tenant(name="small", concurrency=1)
    with admission.admit("flow", small), pytest.raises(TooManyRequests) as refused, admission.admit("other", small):
        pass
    assert refused.value.status == 429


def test_batch_work_leaves_room_for_interactive_work(clock: Clock) -> None:
    admission = Admission({"flow": 4}, 60)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(admission.admit("flow", NIGHT))
        with pytest.raises(Overloaded, match="batch"), admission.admit("flow", NIGHT):
            pass
        for _ in range(2):
            held.enter_context(admission.admit("flow", SHOP))


@pytest.mark.parametrize(("seconds", "let_in"), [(0.5, 32), (4.0, 15), (10.0, 6)])
def test_what_could_not_be_done_in_time_is_refused(clock: Clock, seconds: float, let_in: int) -> None:
    """At a pace of 4 s each, the 16th of those that wait would be done after 64 s."""
    admission = Admission({}, 60)
    with ExitStack() as held:
        held.enter_context(admission.admit("flow", SHOP))
        one_by_one(admission, clock, 20, seconds)
        refused: Any = None
        while refused is None:
            try:
                held.enter_context(admission.admit("flow", SHOP))
            except Overloaded as error:
                refused = error
        assert admission.in_flight["flow"] == let_in
        assert refused.retry_after >= 1


def test_a_flow_that_gets_nothing_done_lets_fewer_in(clock: Clock) -> None:
    """It was quick until it got stuck."""
    admission = Admission({}, 60)
    with admission.admit("flow", SHOP):
        one_by_one(admission, clock, 20, 0.1)
        clock.now += 600
        with pytest.raises(Overloaded), admission.admit("flow", SHOP):
            pass


def test_a_pause_makes_all_late_by_itself_and_not_each_by_as_much(clock: Clock) -> None:
    """A replica that ended is replaced within seconds; until then nothing gets done."""
    admission = Admission({}, 8)
    with ExitStack() as held:
        held.enter_context(admission.admit("flow", SHOP))
        one_by_one(admission, clock, 5, 0.25)
        for _ in range(10):
            held.enter_context(admission.admit("flow", SHOP))
        clock.now += 3
        with admission.admit("flow", SHOP):
            pass


def test_after_a_quiet_moment_nothing_is_held_against_it(clock: Clock) -> None:
    admission = Admission({}, 60)
    one_by_one(admission, clock, 20, 50)
    with admission.admit("flow", SHOP), admission.admit("flow", SHOP):
        pass
