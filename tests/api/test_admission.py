"""Who is let in, by a clock of the test's own."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from api import admission
from api.admission import Admission
from api.errors import Overloaded
from api.tenants import Tenant

EVERYBODY = Tenant(name="public", tier="interactive", concurrency=1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [0.0]
    monkeypatch.setattr(admission, "monotonic", lambda: now[0])
    yield now


def several(of: Admission, count: int) -> list[ExitStack]:
    places = []
    for _ in range(count):
        places.append(ExitStack())
        places[-1].enter_context(of.admit("flow", EVERYBODY))
    return places


def test_one_more_than_the_limit_is_refused_until_one_is_done(clock: list[float]) -> None:
    of = Admission({"flow": 3}, 60.0)
    first, *_ = several(of, 3)
    with pytest.raises(Overloaded):
        several(of, 1)
    first.close()
    several(of, 1)


def test_a_slow_pace_refuses_what_could_not_be_done_in_time(clock: list[float]) -> None:
    of = Admission({"flow": 100}, 60.0)
    places = several(of, 20)
    for place in places[:6]:
        clock[0] += 10.0
        place.close()
    with pytest.raises(Overloaded, match="at its pace"):  # ten seconds each, and 14 are there
        several(of, 1)


def test_the_first_that_is_done_tells_nothing_of_those_beside_it(clock: list[float]) -> None:
    """Twelve side by side, each of twenty seconds, are done in twenty seconds."""
    of = Admission({"flow": 100}, 60.0)
    places = several(of, 12)
    clock[0] = 20.0
    places[0].close()
    places[1].close()
    several(of, 1)


def test_a_stall_is_noticed(clock: list[float]) -> None:
    """As where a replica ended: nothing is done for half a minute."""
    of = Admission({"flow": 100}, 60.0)
    places = several(of, 20)
    for place in places[:10]:
        clock[0] += 0.1
        place.close()
    clock[0] += 55.0
    with pytest.raises(Overloaded):
        several(of, 1)
