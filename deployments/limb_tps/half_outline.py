"""A garment's outline as two halves from the top of its middle line to the bottom, and what bends along them."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from deployments.limb_tps.shapes import resample
from deployments.limb_tps.upright import Cutout
from modiste.errors import CannotFit

Chain = NDArray[np.float64]
"""float64 [SAMPLES, 2]: x grows away from the middle line, y as in the picture."""
SAMPLES = 400
"""Points of one half of the outline."""
SHARP = -45.0
"""Turn of the outline in degrees that only an armpit makes."""
LOW_SHARP = -40.0
"""Turn in degrees of a notch near the hem; a hem's waves are flatter."""


def split_halves(cutout: Cutout) -> tuple[Chain, Chain]:
    """The left and the right half of the outline.

    raises: CannotFit, where nothing crosses the middle line
    """
    outlines, _ = cv2.findContours(cutout.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea).reshape(-1, 2).astype(np.float64)
    outline = gaussian_filter1d(outline, 0.004 * len(outline), axis=0, mode="wrap")
    x = outline[:, 0] - cutout.axis
    crossings = np.flatnonzero((x >= 0) != (np.roll(x, -1) >= 0))
    if len(crossings) < 2:
        raise CannotFit("expected a garment laid out symmetrically, got one beside its own middle line")
    top = crossings[np.argmin(outline[crossings, 1])]
    # A notch at the middle of the hem is crossed too: the last crossing along the outline ends both halves.
    bottom = crossings[np.argmax(np.minimum((crossings - top) % len(x), (top - crossings) % len(x)))]
    forward = np.roll(outline, -top, axis=0)[: (bottom - top) % len(x) + 1]
    backward = np.roll(outline[::-1], top + 1, axis=0)[: (top - bottom) % len(x) + 1]
    left, right = (forward, backward) if forward[:, 0].mean() < cutout.axis else (backward, forward)
    return tuple(  # type: ignore[return-value]
        resample(np.column_stack([sign * (half[:, 0] - cutout.axis), half[:, 1]]), SAMPLES).astype(np.float64)
        for sign, half in ((-1, left), (1, right))
    )


def turning(points: Chain, reach: int) -> NDArray[np.float64]:
    """Signed turn in degrees at each point; negative is a notch into the garment."""
    index = np.arange(len(points))
    before = points - points[np.maximum(index - reach, 0)]
    after = points[np.minimum(index + reach, len(points) - 1)] - points
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turn = np.degrees(np.arctan2(cross, (before * after).sum(axis=1)))
    turn[:reach] = turn[-reach:] = 0
    return np.asarray(turn, np.float64)


def farthest(points: Chain, first: int, last: int) -> tuple[int, float]:
    """Index and signed distance of the corner between two points; positive is outside the chord."""
    section = points[first : last + 1]
    chord = section[-1] - section[0]
    size = max(float(np.hypot(*chord)), 1e-6)
    offset = section - section[0]
    distance = (offset[:, 1] * chord[0] - offset[:, 0] * chord[1]) / -size
    corner = int(np.argmax(np.abs(distance)))
    return first + corner, float(distance[corner])


def _notches(chain: Chain) -> list[tuple[int, float]]:
    """Places where a sleeve may leave the body: index and turn of every notch below something wider."""
    points, height = chain, float(np.ptp(chain[:, 1]))
    turn = np.minimum(turning(points, SAMPLES // 40), turning(points, SAMPLES // 20))
    found = []
    for i in range(SAMPLES // 10, SAMPLES - SAMPLES // 10):
        if turn[i] > -16 or turn[i] > turn[i - 6 : i + 7].min():
            continue
        depth = (points[i, 1] - points[:, 1].min()) / height
        sleeve = points[:i, 0].max() - points[i, 0]
        below = points[i:, 1].max() - points[i, 1]
        if depth < 0.06 or sleeve < 0.1 * points[i, 0]:
            continue
        # Where a sleeve lies along the body they part near the hem, between its cuff and the body's corner.
        low = depth > 0.75 or below < 0.2 * height
        if not low or (turn[i] < LOW_SHARP and points[i, 0] > 0.45 * points[:, 0].max()):
            found.append((i, float(turn[i])))
    return found


def find_armpits(chains: tuple[Chain, Chain]) -> tuple[int, int] | None:
    """The pair of notches that is sharp and symmetrical, or None where there is none."""
    notches = [_notches(chain) for chain in chains]
    height = max(float(np.ptp(chain[:, 1])) for chain in chains)
    best, found = 45.0, None
    for i, left in notches[0]:
        for j, right in notches[1]:
            apart = float(np.hypot(*(chains[0][i] - chains[1][j]))) / height
            score = -left - right - 300 * apart
            if apart < 0.2 and score > best:
                best, found = score, (i, j)
    return found


def lone_sleeve(chains: tuple[Chain, Chain]) -> tuple[int, float] | None:
    """The side with the only sleeve that stands out and how far from the middle line; None where both do or none."""
    if find_armpits(chains) is not None:
        return None
    sharp = [
        (turn, side, float(chain[i, 0]))
        for side, chain in enumerate(chains)
        for i, turn in _notches(chain)
        if turn < SHARP
    ]
    return min(sharp)[1:] if sharp else None


def find_cuff(points: Chain, first: int, last: int) -> tuple[int, int]:
    """The two corners at the far end of a sleeve or trouser leg, between its two inner ends."""
    turn = np.clip(turning(points, SAMPLES // 66), 0, 80)
    middle = (points[first] + points[last]) / 2
    opening = max(float(np.hypot(*(points[first] - points[last]))), 1e-6)
    candidates = np.arange(first + 1, last, 2)
    reach = np.hypot(*(points[candidates] - middle).T)
    candidates, reach = candidates[reach > 0.45 * reach.max()], reach[reach > 0.45 * reach.max()]
    best, found = -np.inf, (first + 1, last - 1)
    for a, far_a in zip(candidates, reach, strict=True):
        for b, far_b in zip(candidates[candidates > a], reach[candidates > a], strict=True):
            across = float(np.hypot(*(points[b] - points[a])))
            if not 0.12 * opening < across < 1.4 * opening:
                continue
            score = turn[a] + turn[b] + 90 * (far_a + far_b) / (2 * reach.max())
            score -= 250 * np.sqrt(_bend(points, a, b) / (b - a + 1)) / across + 30 * across / opening
            if score > best:
                best, found = float(score), (int(a), int(b))
    return found


def _bend(points: Chain, a: int, b: int) -> float:
    chord = points[b] - points[a]
    size = max(float(np.hypot(*chord)), 1e-6)
    offset = points[a : b + 1] - points[a]
    return float((((offset[:, 0] * chord[1] - offset[:, 1] * chord[0]) / size) ** 2).sum())


def first_beyond(points: Chain, x: float, last: int) -> int:
    """The first point before `last` that is at least `x` from the middle line, else `last`."""
    beyond = np.flatnonzero(points[:last, 0] >= x)
    return int(beyond[0]) if len(beyond) else last
