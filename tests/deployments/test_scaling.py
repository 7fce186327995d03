"""Scaling: settings from what was measured, and a policy that follows load without fluttering."""

from itertools import pairwise
from math import ceil

import pytest

from deployments import EDITIONS, MODELS, model_class
from deployments.load import ProcessLoad, WorkLoad
from deployments.policy import HIGH, Load, load_of, wanted
from deployments.scaling import ACCEPTED_WAIT_S, FEWEST, LOOK_BACK_S, MOST, autoscaling, is_rare, measured, scaling_of
from loadtests.scaling.steadiness import LEVELS, changes, noisy, ours, rays, sawtooth
from modiste.settings import settings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_replica_tells_seconds_of_work_not_calls() -> None:
    clock = Clock()
    load = WorkLoad(clock)
    with load.taken(40), load.worked(40):
        clock.now = 8.0
    with load.taken(40), load.taken(10), load.worked(40):
        told = load.stats()
        assert told == {"busy": 1.0, "waiting_s": pytest.approx(10 * 0.2), "call_s": pytest.approx(25 * 0.2)}
        clock.now = 16.0
    load.stats()
    clock.now = 18.0
    assert load.stats() == {"busy": 0.0, "waiting_s": 0.0, "call_s": pytest.approx(0.2)}


def test_work_under_way_counts_as_far_as_it_has_come() -> None:
    clock = Clock()
    load = WorkLoad(clock)
    with load.taken(1), load.worked(1):
        clock.now = 3.0
        assert load.stats()["busy"] == 1.0
        clock.now = 4.0
    clock.now = 7.0
    assert load.stats()["busy"] == pytest.approx(0.25)


def test_a_call_that_never_ran_waits_no_longer() -> None:
    clock = Clock()
    load = WorkLoad(clock)
    with load.taken(1), load.worked(1):
        clock.now = 1.0
    with pytest.raises(InterruptedError), load.taken(5):
        assert load.stats()["waiting_s"] == 5.0
        raise InterruptedError
    assert load.stats()["waiting_s"] == 0.0


def test_small_batches_leave_room() -> None:
    clock = Clock()
    load = WorkLoad(clock)
    with load.taken(2), load.worked(2, room=8):
        clock.now = 1.0
    assert load.stats()["busy"] == pytest.approx(0.25)


def test_a_process_is_as_busy_as_its_processor_time() -> None:
    clock, spent = Clock(), Clock()
    load = ProcessLoad(clock, spent)
    clock.now, spent.now = 10.0, 4.0
    assert load.stats()["busy"] == pytest.approx(0.4)
    assert load.stats()["busy"] == 0.0


def test_calls_on_the_way_count_as_the_work_that_calls_are() -> None:
    load = load_of(
        {"busy": {"a": 0.5, "b": 0.7}, "waiting_s": {"a": 1.0, "b": 0.0}, "call_s": {"a": 0.2, "b": 0.0}},
        calls=9, queued=5,
    )  # fmt: skip
    assert load.busy == pytest.approx(1.2)
    assert load.waiting_s == pytest.approx(2.0)
    assert load.calls == 9
    assert load_of({}, calls=1, queued=1) == Load(busy=0, waiting_s=0, calls=1)


def test_few_calls_with_much_work_bring_replicas() -> None:
    """Ray's own policy sees two calls, and at a target of five takes one replica to be enough."""
    load = Load(busy=1.0, waiting_s=4.0, calls=2)
    assert wanted(load, running=1, target=1, accepted_wait_s=0.5) == 2  # twice as many at most at once
    assert wanted(Load(busy=4.0, waiting_s=30.0, calls=6), running=4, target=4, accepted_wait_s=0.5) == 6


def test_growth_waits_for_what_has_not_started() -> None:
    load = Load(busy=1.0, waiting_s=9.0, calls=20)
    assert wanted(load, running=1, target=2, accepted_wait_s=0.5) == 2


def test_to_zero_only_without_calls() -> None:
    assert wanted(Load(busy=0, waiting_s=0, calls=0), running=1, target=1, accepted_wait_s=0.5) == 0
    assert wanted(Load(busy=0, waiting_s=0, calls=0.1), running=1, target=1, accepted_wait_s=0.5) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_a_steady_noisy_load_is_not_answered_by_coming_and_going(level: float) -> None:
    seen = changes(noisy(level), ours)
    ups = [b for a, b in pairwise(seen) if b > a]
    downs = [b for a, b in pairwise(seen) if b < a]
    assert len(downs) <= 1, seen  # what the first burst overshot
    assert len(ups) <= 4, seen  # twice as many each time
    assert seen[-1] >= level / 0.9


def test_rays_own_policy_comes_and_goes_under_the_same_load() -> None:
    seen = changes(noisy(1.2), rays(5.0))
    assert len(seen) > 10


def test_a_fast_sawtooth_keeps_its_replicas() -> None:
    """Its valleys are shorter than the delay."""
    seen = changes(sawtooth(0.3, 2.2, 120), ours)
    assert all(b > a for a, b in pairwise(seen))
    assert seen[-1] == ceil(2.2 / HIGH)


def test_a_slow_sawtooth_is_followed_once_each_time() -> None:
    period, hours = 1800.0, 2.0
    seen = changes(sawtooth(0.2, 2.2, period), ours, hours=hours)
    teeth = hours * 3600 / period
    assert 2 * (teeth - 1) <= len(seen) - 1 <= 5 * teeth


@pytest.mark.parametrize("name", [*MODELS, "virtual_model", "http"])
def test_every_deployment_has_settings_that_agree(name: str) -> None:
    resources = model_class(name if name in MODELS else "blazeface").spec.resources
    found = autoscaling(name, resources)
    assert 0 <= found["min_replicas"] <= found["max_replicas"] <= resources.max_replicas
    assert found["max_replicas"] >= 1
    assert FEWEST <= found["target_ongoing_requests"] <= MOST
    assert min(found["upscale_delay_s"], found["downscale_delay_s"], found["downscale_to_zero_delay_s"]) >= LOOK_BACK_S


def test_settings_follow_what_was_measured() -> None:
    for model in EDITIONS["default"].values():
        of = measured()["models"][model]
        found = scaling_of(model, model_class(model).spec.resources)
        assert found.target_ongoing_requests == pytest.approx(
            min(MOST, max(FEWEST, ACCEPTED_WAIT_S / of["call_s"]["median"])), abs=0.06
        )
        assert found.accepted_wait_s >= of["call_s"]["median"] - 1e-3
        assert found.cold_start_s == of["cold_start_s"] > 0
        assert found.min_replicas == int(not is_rare(model))


def test_models_of_rare_flows_alone_may_end() -> None:
    assert is_rare("pix2pix_garment") and is_rare("limb_tps") and is_rare("line_art")
    assert not is_rare("mesh_swap") and not is_rare("blazeface")


def test_a_model_on_cpus_has_at_most_as_many_replicas_as_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = model_class("blazeface").spec.resources
    for cores in (1, 2, 64):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert scaling_of("blazeface", resources).max_replicas == min(cores, resources.max_replicas)


def test_settings_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODISTE_REPLICAS", '{"blazeface": [2, 7]}')
    settings.cache_clear()
    try:
        found = autoscaling("blazeface", model_class("blazeface").spec.resources)
        assert (found["min_replicas"], found["max_replicas"]) == (2, 7)
    finally:
        settings.cache_clear()
