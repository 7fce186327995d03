"""The simulation against what queueing theory says, and against what must be so in any case."""

from dataclasses import replace

import numpy as np
import pytest

from loadtests.scaling.capacity import replicas_for
from loadtests.scaling.simulation import Call, Flow, Hop, Outcome, Site, simulate

ONE = {"flow": Flow(calls=(Call(model="model", seconds=1.0),))}
SHORT = {"flow": Flow(calls=(Call(model="model", seconds=0.05),))}


def exponential(rng: np.random.Generator, call: Call) -> float:
    return float(rng.exponential(call.seconds))


def mean_s(found: Outcome) -> float:
    return float(np.mean(found.seconds["flow"]))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_mm1(load: float) -> None:
    """Mean time in the system S / (1 - rho); its distribution is exponential."""
    found = simulate(ONE, {"flow": load}, Site(), seconds=16_000, warm_s=1_000, draw=exponential, seed=1)
    assert mean_s(found) == pytest.approx(1 / (1 - load), rel=0.08)
    assert found.quantile(0.95) == pytest.approx(-np.log(0.05) / (1 - load), rel=0.1)
    assert found.busy["model"] == pytest.approx(load, rel=0.03)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_md1(load: float) -> None:
    """Pollaczek-Khinchine: mean time S + rho S / (2 (1 - rho))."""
    found = simulate(ONE, {"flow": load}, Site(), seconds=25_000, warm_s=1_000, seed=2)
    assert mean_s(found) == pytest.approx(1 + load / (2 * (1 - load)), rel=0.08)


def test_one_core_serves_all_alike_by_turns() -> None:
    """Two models on one core, in turns: M/M/1 with processor sharing has the same mean as first come, first served."""
    flows = {
        name: Flow(calls=(Call(model=name, seconds=0.05),)) for name in ("flow", "other")
    }  # fmt: skip
    site = Site(cores=1, replicas={"flow": 1, "other": 1})
    found = simulate(flows, {"flow": 6.0, "other": 6.0}, site, seconds=200, warm_s=10, draw=exponential, seed=3)
    assert found.throughput == pytest.approx(12.0, rel=0.06)
    assert mean_s(found) == pytest.approx(0.05 / (1 - 0.6), rel=0.2)


def test_more_than_it_can_do_is_done_at_full_rate() -> None:
    found = simulate(ONE, {"flow": 3.0}, Site(replicas={"model": 2}), seconds=3_000, warm_s=200, seed=4)
    assert found.throughput == pytest.approx(2.0, rel=0.02)
    assert found.busy["model"] == pytest.approx(1.0, abs=0.01)


def test_more_replicas_than_cores_do_not_do_more() -> None:
    rates = {"flow": 80.0}
    two = simulate(SHORT, rates, Site(cores=2, replicas={"model": 2}), seconds=20, warm_s=5, seed=5)
    eight = simulate(SHORT, rates, Site(cores=2, replicas={"model": 8}), seconds=20, warm_s=5, seed=5)
    assert eight.throughput == pytest.approx(two.throughput, rel=0.05)


def test_crowded_cores_are_slower() -> None:
    rates, site = {"flow": 80.0}, Site(cores=2, replicas={"model": 2})
    free = simulate(SHORT, rates, site, seconds=20, warm_s=5, seed=5)
    crowded = simulate(SHORT, rates, replace(site, crowded=1.5), seconds=20, warm_s=5, seed=5)
    assert crowded.throughput == pytest.approx(free.throughput / 1.5, rel=0.03)


def test_calls_wait_for_those_before_them_and_for_no_others() -> None:
    small, large = Hop(0.02, 0.01), Hop(0.2, 0.1)
    calls = (
        Call(model="a", seconds=1.0, hop=small),
        Call(model="b", seconds=2.0, hop=large),
        Call(model="c", seconds=0.5, hop=small, after=(0, 1), own_s=0.25),
    )
    flows = {"flow": Flow(calls=calls, hop=large, edge_s=0.1, finish_s=0.05)}
    found = simulate(flows, {"flow": 0.001}, Site(), seconds=20_000, seed=6)
    assert mean_s(found) == pytest.approx(0.1 + 0.2 + 0.2 + 2.0 + 0.25 + 0.02 + 0.5 + 0.05, rel=0.01)


def test_what_a_hop_computes_beside_itself_delays_nobody_but_takes_cores() -> None:
    flows = {"flow": Flow(calls=(Call(model="model", seconds=0.0, hop=Hop(0.01, 0.02)),))}
    site = Site(cores=1)
    rare = simulate(flows, {"flow": 0.1}, site, seconds=5_000, seed=11)
    assert rare.quantile(0.5) == pytest.approx(0.01)
    many = simulate(flows, {"flow": 200.0}, site, seconds=20, warm_s=5, seed=11)
    assert many.busy["model"] == 0.0
    assert many.throughput < 110


def test_batches_gain_what_is_said() -> None:
    site = Site(batch={"model": 8}, joint=0.1)
    found = simulate(ONE, {"flow": 8.0}, site, seconds=1_000, warm_s=100, seed=7)
    assert found.throughput == pytest.approx(8 / (1 + 7 * 0.1), rel=0.03)  # 4.7 a second, one at a time 1


def test_a_gpu_computes_for_one_replica_at_a_time() -> None:
    flows = {"flow": Flow(calls=(Call(model="a", seconds=1.0), Call(model="b", seconds=1.0)))}
    one = simulate(flows, {"flow": 2.0}, Site(gpus=1, on={"a": [0], "b": [0]}), seconds=500, warm_s=50, seed=8)
    two = simulate(flows, {"flow": 2.0}, Site(gpus=2, on={"a": [0], "b": [1]}), seconds=500, warm_s=50, seed=8)
    assert one.throughput == pytest.approx(0.5, rel=0.05)
    assert two.throughput == pytest.approx(1.0, rel=0.05)


def test_over_its_limit_it_refuses_and_still_does_all_it_can() -> None:
    """Two stages on one core: without a limit, new requests would take the core from those half done."""
    flows = {"flow": Flow(calls=(Call(model="a", seconds=0.1), Call(model="b", seconds=0.1, after=(0,))))}
    found = simulate(flows, {"flow": 20.0}, Site(cores=1, limit=8), seconds=200, warm_s=20, seed=10)
    assert found.throughput == pytest.approx(5.0, rel=0.03)
    assert found.refused == pytest.approx(found.arrived * 0.75, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_answered_twice(seed: int) -> None:
    rate, site = 32.0, Site(cores=2, replicas={"model": 2})
    found = simulate(SHORT, {"flow": rate}, site, seconds=60, seed=seed)
    assert found.refused == 0
    assert found.answered == len(found.seconds["flow"])
    assert 0 <= found.arrived - found.answered <= 40
    assert found.arrived == pytest.approx(rate * 60, rel=0.08)
    assert found.throughput * 60 == pytest.approx(found.answered)
    assert min(found.seconds["flow"]) >= 0.05 - 1e-6


def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> Outcome:
        return simulate(SHORT, {"flow": 14.0}, Site(cores=1), seconds=20, draw=exponential, seed=seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_measured_times_spread_as_measured() -> None:
    flows = {"flow": Flow(calls=(Call(model="model", seconds=1.0, p95_s=1.5),))}
    found = simulate(flows, {"flow": 0.001}, Site(), seconds=3_000_000, seed=9)
    assert found.quantile(0.5) == pytest.approx(1.0, rel=0.03)
    assert found.quantile(0.95) == pytest.approx(1.5, rel=0.04)


def test_replicas_for_a_load() -> None:
    flows = {"flow": Flow(calls=(Call(model="a", seconds=0.5), Call(model="b", seconds=0.1)))}
    assert replicas_for(flows, {"flow": 3.0}, full=0.7) == {"a": 3, "b": 1}
