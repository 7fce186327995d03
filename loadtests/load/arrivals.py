"""When requests come: seeded arrival processes, fixed before a run begins.

A rate may change over the run: it is multiplied by a shape, piecewise linear over time.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Times = NDArray[np.float64]


class Burst(BaseModel):
    """Calm and bursts in turns, both of random length, with the same mean rate as without (a Markov-modulated Poisson
    process)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: float = Field(gt=1, description="rate within a burst over the rate of the calm (ratio)")
    length_s: float = Field(gt=0, description="mean length of a burst")
    every_s: float = Field(gt=0, description="mean time from the start of one burst to the start of the next")


class Point(BaseModel):
    """Of a shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: float = Field(ge=0)
    factor: float = Field(ge=0)


def evenly(rate: float, duration_s: float) -> Times:
    """One request after the other, all at the same distance; seconds."""
    return np.arange(0.0, duration_s, 1.0 / rate)


def poisson(rate: float, duration_s: float, seed: Sequence[int], shape: Sequence[Point] = ()) -> Times:
    """Independent arrivals: what many callers who know nothing of each other make; seconds, sorted."""
    factor = _shaped(shape)
    return _thinned(lambda t: rate * factor(t), rate * _most(shape), duration_s, np.random.default_rng(seed))


def bursts(rate: float, duration_s: float, burst: Burst, seed: Sequence[int], shape: Sequence[Point] = ()) -> Times:
    """Arrivals that come in bursts; seconds, sorted."""
    rng = np.random.default_rng(seed)
    calm_s = burst.every_s - burst.length_s
    if calm_s <= 0:
        raise ValueError(f"expected bursts shorter than {burst.every_s} s, the time between them, got {burst.length_s}")
    edges, high = [0.0], bool(rng.random() < burst.length_s / burst.every_s)
    starts_high = high
    while edges[-1] < duration_s:
        edges.append(edges[-1] + rng.exponential(burst.length_s if high else calm_s))
        high = not high
    calm_rate = rate * burst.every_s / (calm_s + burst.factor * burst.length_s)
    factor, inner = _shaped(shape), np.array(edges[1:])

    def rate_at(t: Times) -> Times:
        in_burst = (np.searchsorted(inner, t, side="right") % 2 == 0) == starts_high
        return np.where(in_burst, burst.factor, 1.0) * calm_rate * factor(t)

    return _thinned(rate_at, calm_rate * burst.factor * _most(shape), duration_s, rng)


def _thinned(rate_at: Callable[[Times], Times], most: float, duration_s: float, rng: np.random.Generator) -> Times:
    """Arrivals at the highest rate, of which each stays by the chance of the rate at its moment."""
    count = rng.poisson(most * duration_s)
    times = np.sort(rng.uniform(0.0, duration_s, count))
    return times[rng.uniform(0.0, most, count) < rate_at(times)]


def _shaped(shape: Sequence[Point]) -> Callable[[Times], Times]:
    if not shape:
        return np.ones_like
    at, factors = [p.at_s for p in shape], [p.factor for p in shape]
    return lambda t: np.interp(t, at, factors)


def _most(shape: Sequence[Point]) -> float:
    return max((p.factor for p in shape), default=1.0)
