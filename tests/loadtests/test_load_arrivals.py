import numpy as np
import pytest

from loadtests.load.arrivals import Burst, Point, bursts, evenly, poisson


def test_as_many_come_as_the_rate_says_and_independently():
    times = poisson(20.0, 1000.0, [1])
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert np.all(np.diff(times) >= 0)
    gaps = np.diff(times)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)  # exponential


def test_the_same_seed_gives_the_same_arrivals_and_another_others():
    assert np.array_equal(poisson(5.0, 50.0, [1, 2]), poisson(5.0, 50.0, [1, 2]))
    assert not np.array_equal(poisson(5.0, 50.0, [1, 2])[:10], poisson(5.0, 50.0, [1, 3])[:10])


def test_a_shape_changes_the_rate_over_time():
    shape = [Point(at_s=0, factor=1), Point(at_s=400, factor=1), Point(at_s=401, factor=5)]
    times = poisson(10.0, 800.0, [1], shape)
    quiet, busy = (times < 400).sum() / 400, (times > 401).sum() / 399
    assert quiet == pytest.approx(10, rel=0.1)
    assert busy == pytest.approx(50, rel=0.1)


def test_bursts_keep_the_mean_rate_and_clump():
    times = bursts(10.0, 4000.0, Burst(factor=6, length_s=5, every_s=40), [3])
    assert len(times) == pytest.approx(40_000, rel=0.1)
    counts = np.histogram(times, np.arange(0, 4001, 5))[0]
    assert counts.var() > 3 * counts.mean()  # of independent arrivals both are the same


def test_bursts_longer_than_the_time_between_them_are_refused():
    with pytest.raises(ValueError, match="expected bursts shorter than 4"):
        bursts(1.0, 10.0, Burst(factor=2, length_s=5, every_s=4), [1])


def test_evenly():
    assert evenly(2.0, 2.0).tolist() == [0.0, 0.5, 1.0, 1.5]
