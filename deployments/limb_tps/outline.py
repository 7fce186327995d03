"""Landmarks of a garment from its outline alone: collar, shoulder tips, armpits, cuffs, hem, waist, crotch."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from deployments.limb_tps.shapes import (
    DEPTHS_PER_WIDTH,
    Half,
    Kind,
    Leg,
    Polyline,
    Shape,
    SkirtShape,
    Sleeve,
    TopShape,
    TrousersShape,
    length,
    resample,
    usual_width,
)
from deployments.limb_tps.upright import Cutout
from modiste.errors import CannotFit

SAMPLES = 400
"""Points of one half of the outline."""
ARM_LENGTH = 1.5
"""Sleeve length, shoulder tip to wrist, over the width between the shoulder tips."""
ELBOW = 0.52
"""Where the elbow is along the arm."""
STRAP_TURN = 32.0
"""Least turn of the outline in degrees at the outer end of a shoulder strap."""
SHARP = -45.0
"""Turn of the outline in degrees that only an armpit makes."""
DRESS_LENGTH = 1.85
"""Collar to hem over chest width, above which an upper garment is a dress."""
COUNT = 14
"""Points per outline section."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """One half of the outline from the top of the middle line to its bottom; x grows away from the middle."""

    points: NDArray[np.float64]

    def section(self, first: int, last: int) -> NDArray[np.float64]:
        return self.points[min(first, last) : max(first, last) + 1]


@dataclass(frozen=True, slots=True)
class _TopHalf:
    collar: int
    tip: int
    armpit: int
    hem: int
    cuff: tuple[int, int] | None


def measure(cutout: Cutout, kind: Kind | None) -> tuple[Kind, Shape]:
    """Find the landmarks; `kind` None decides by the outline.

    raises: CannotFit, where the outline does not show them
    """
    chains = _halves(cutout)
    decided = kind or _guess(cutout, chains)
    if decided in ("upper", "dress"):
        return decided, _top(cutout, chains)
    if decided == "trousers":
        return decided, _trousers(cutout, chains)
    return decided, _skirt(cutout, chains)


def lower_kind(cutout: Cutout) -> Kind:
    """Trousers or skirt, by the notch between the legs or the slimness of closed ones."""
    chains = _halves(cutout)
    bottom = max(float(c.points[:, 1].max()) for c in chains)
    top = min(float(c.points[0, 1]) for c in chains)
    width = sum(float(c.points[:, 0].max()) for c in chains)
    notch = (bottom - min(float(c.points[-1, 1]) for c in chains)) / max(bottom - top, 1.0)
    return "trousers" if notch > 0.12 or (bottom - top) / max(width, 1.0) > 2.0 else "skirt"


def _halves(cutout: Cutout) -> tuple[_Chain, _Chain]:
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
        _Chain(resample(np.column_stack([sign * (half[:, 0] - cutout.axis), half[:, 1]]), SAMPLES).astype(np.float64))
        for sign, half in ((-1, left), (1, right))
    )


def _turning(points: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Signed turn in degrees at each point; negative is a notch into the garment."""
    index = np.arange(len(points))
    before = points - points[np.maximum(index - reach, 0)]
    after = points[np.minimum(index + reach, len(points) - 1)] - points
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turn = np.degrees(np.arctan2(cross, (before * after).sum(axis=1)))
    turn[:reach] = turn[-reach:] = 0
    return turn


def _farthest(points: NDArray[np.float64], first: int, last: int) -> tuple[int, float]:
    """Index and signed distance of the corner between two points; positive is outside the chord."""
    section = points[first : last + 1]
    chord = section[-1] - section[0]
    size = max(float(np.hypot(*chord)), 1e-6)
    offset = section - section[0]
    distance = (offset[:, 1] * chord[0] - offset[:, 0] * chord[1]) / -size
    corner = int(np.argmax(np.abs(distance)))
    return first + corner, float(distance[corner])


def _notches(chain: _Chain) -> list[tuple[int, float]]:
    """Places where a sleeve may leave the body: index and turn of every notch below something wider."""
    points, height = chain.points, float(np.ptp(chain.points[:, 1]))
    turn = np.minimum(_turning(points, SAMPLES // 40), _turning(points, SAMPLES // 20))
    found = []
    for i in range(SAMPLES // 10, SAMPLES - SAMPLES // 10):
        if turn[i] > -16 or turn[i] > turn[i - 6 : i + 7].min():
            continue
        depth = (points[i, 1] - points[:, 1].min()) / height
        sleeve = points[:i, 0].max() - points[i, 0]
        below = points[i:, 1].max() - points[i, 1]
        if 0.06 < depth < 0.75 and sleeve > 0.1 * points[i, 0] and below > 0.2 * height:
            found.append((i, float(turn[i])))
    return found


def _armpits(chains: tuple[_Chain, _Chain]) -> tuple[int, int] | None:
    """The pair of notches that is sharp and symmetrical, or None for a garment without sleeves.

    raises: CannotFit, where one side shows a sleeve and the other does not
    """
    notches = [_notches(chain) for chain in chains]
    height = max(float(np.ptp(chain.points[:, 1])) for chain in chains)
    best, found = 45.0, None
    for i, left in notches[0]:
        for j, right in notches[1]:
            apart = float(np.hypot(*(chains[0].points[i] - chains[1].points[j]))) / height
            score = -left - right - 300 * apart
            if apart < 0.2 and score > best:
                best, found = score, (i, j)
    if found is None and any(turn < SHARP for side in notches for _, turn in side):
        raise CannotFit("expected both sleeves apart from the body of the garment, got at most one of them")
    return found


def _cuff(points: NDArray[np.float64], first: int, last: int) -> tuple[int, int]:
    """The two corners at the far end of a sleeve or trouser leg, between its two inner ends."""
    turn = np.clip(_turning(points, SAMPLES // 66), 0, 80)
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


def _bend(points: NDArray[np.float64], a: int, b: int) -> float:
    chord = points[b] - points[a]
    size = max(float(np.hypot(*chord)), 1e-6)
    offset = points[a : b + 1] - points[a]
    return float((((offset[:, 0] * chord[1] - offset[:, 1] * chord[0]) / size) ** 2).sum())


def _first_beyond(points: NDArray[np.float64], x: float, last: int) -> int:
    beyond = np.flatnonzero(points[:last, 0] >= x)
    return int(beyond[0]) if len(beyond) else last


def _top_half(chain: _Chain, sleeved: int | None) -> _TopHalf:
    points = chain.points
    height = float(np.ptp(points[:, 1]))
    if sleeved is not None:
        armpit = sleeved
        tip = _first_beyond(points, 0.9 * points[armpit, 0], armpit)
        cuff = _cuff(points, tip, armpit)
        tip = _shoulder_tip(points, _collar(points, tip), armpit, cuff[0])
    else:
        tip, armpit = _sleeveless(points, height)
        cuff = None
    hem, _ = _farthest(points, armpit, SAMPLES - 1)
    return _TopHalf(collar=_collar(points, tip), tip=tip, armpit=armpit, hem=hem, cuff=cuff)


def _shoulder_tip(points: NDArray[np.float64], collar: int, armpit: int, cuff: int) -> int:
    """Where the shoulder bends into the sleeve; above the armpit where they are in line."""
    width = points[armpit, 0]
    low, high = _first_beyond(points, 0.85 * width, cuff), _first_beyond(points, 1.15 * width, cuff)
    end = max(min(_first_beyond(points, 1.8 * width, cuff), cuff), collar + 2)
    corner, distance = _farthest(points, collar, end)
    if low <= corner <= high and distance > 0.05 * width:
        return corner
    return min(_first_beyond(points, 0.9 * width, cuff), cuff - 2)


def _sleeveless(points: NDArray[np.float64], height: float) -> tuple[int, int]:
    """Outer end of the strap, and the bottom of the armhole."""
    top = points[:, 1].min()
    upper = np.flatnonzero(points[:, 1] < top + 0.45 * height)
    last = int(upper[upper < SAMPLES * 3 // 4][-1])
    armpit, _ = _farthest(points, 0, last)
    widest = _first_beyond(points, 0.97 * points[:last, 0].max(), last)
    armpit = max(armpit, min(widest, last))
    armpit = next((i for i in range(armpit, last) if points[i, 1] > top + 0.18 * height), armpit)
    tip, _ = _farthest(points, 0, armpit)
    turn = float(_turning(points, SAMPLES // 30)[max(0, tip - 5) : tip + 6].max())
    if turn < STRAP_TURN or points[tip, 1] - top > 0.22 * height:
        raise CannotFit("expected sleeves apart from the body of the garment, got an outline without any")
    return max(tip, 2), max(armpit, tip + 2)


def _collar(points: NDArray[np.float64], tip: int) -> int:
    """The point where collar, hood or neckline meets the shoulder seam."""
    width = points[tip, 0]
    low = _first_beyond(points, 0.22 * width, tip)
    high = max(_first_beyond(points, 0.66 * width, tip), low + 1)
    usual = min(max(_first_beyond(points, 0.42 * width, tip), 1), tip - 1)
    if high - low < 3:
        return usual
    rise = points[low, 1] - points[tip, 1]
    corner, distance = _farthest(points, low, tip)
    if distance < 0 and rise < -0.25 * width:
        return min(max(corner, low), high)  # a hood or a standing collar: notch where it meets the shoulder
    corner = low + int(np.argmin(points[low : high + 1, 1]))
    convex, distance = _farthest(points, low, tip)
    if corner in (low, high):
        corner = convex if distance > 0.02 * width and low < convex <= high else usual
    return corner


def _to_picture(cutout: Cutout, side: int, points: NDArray[np.float64]) -> Polyline:
    sign = (-1, 1)[side]
    return np.column_stack([cutout.axis + sign * points[:, 0], points[:, 1]]).astype(np.float32)


def _top(cutout: Cutout, chains: tuple[_Chain, _Chain]) -> TopShape:
    armpits = _armpits(chains) or (None, None)
    found = [_top_half(chain, armpit) for chain, armpit in zip(chains, armpits, strict=True)]
    levels = [float(chain.points[half.armpit, 1]) for chain, half in zip(chains, found, strict=True)]
    width = sum(float(chain.points[half.tip, 0]) for chain, half in zip(chains, found, strict=True))
    collars = [float(chain.points[half.collar, 1]) for chain, half in zip(chains, found, strict=True)]
    chest = sum(float(chain.points[half.armpit, 0]) for chain, half in zip(chains, found, strict=True))
    width = usual_width(width, (sum(levels) - sum(collars)) / 2, chest)
    halves = []
    for side, (chain, half) in enumerate(zip(chains, found, strict=True)):
        p = chain.points
        sleeve = None
        if half.cuff is not None:
            outer, inner = p[half.tip : half.cuff[0] + 1], p[half.cuff[1] : half.armpit + 1][::-1]
            share = float(np.clip(length(outer.astype(np.float32)) / width / ARM_LENGTH, 0.08, 1.0))
            sleeve = Sleeve(
                outer=_to_picture(cutout, side, resample(outer.astype(np.float32), COUNT).astype(np.float64)),
                inner=_to_picture(cutout, side, resample(inner.astype(np.float32), COUNT).astype(np.float64)),
                reach=_reach(share),
            )
        armhole = np.stack([p[half.tip], p[half.armpit]]) if half.cuff else p[half.tip : half.armpit + 1]
        halves.append(
            Half(
                shoulder=resample(_to_picture(cutout, side, p[half.collar : half.tip + 1]), 6),
                armhole=resample(_to_picture(cutout, side, armhole), 8),
                side=resample(_to_picture(cutout, side, p[half.armpit : half.hem + 1]), COUNT),
                sleeve=sleeve,
            )
        )
    hem = np.concatenate(
        [
            _to_picture(cutout, 0, chains[0].points[found[0].hem :]),
            _to_picture(cutout, 1, chains[1].points[found[1].hem :])[::-1],
        ]
    )
    neckline = np.concatenate(
        [
            _to_picture(cutout, 0, chains[0].points[: found[0].collar + 1])[::-1],
            _to_picture(cutout, 1, chains[1].points[: found[1].collar + 1]),
        ]
    )
    collar = resample(neckline, 15)
    return TopShape(halves=(halves[0], halves[1]), collar=collar, neckline=collar, hem=resample(hem, COUNT))


def _reach(share: float) -> float:
    """Share of the arm's length to reach; what nearly comes to the wrist is a long sleeve that creased."""
    if share < ELBOW:
        return share / ELBOW
    return 2.0 if share > 0.72 else 1 + (share - ELBOW) / (1 - ELBOW)


def _guess(cutout: Cutout, chains: tuple[_Chain, _Chain]) -> Kind:
    sleeved = _armpits(chains) is not None if not _waistband(chains) else False
    if sleeved:
        shape = _top(cutout, chains)
        armpits = [half.armhole[-1] for half in shape.halves]
        collar = float(shape.halves[0].shoulder[0, 1])
        depth = float(np.mean([point[1] for point in armpits])) - collar
        # Slender and boxy garments differ in width, not in the height of the armhole.
        chest = max(float(np.linalg.norm(armpits[0] - armpits[1])), DEPTHS_PER_WIDTH * depth)
        return "dress" if (float(shape.hem[:, 1].mean()) - collar) / chest > DRESS_LENGTH else "upper"
    if lower_kind(cutout) == "trousers":
        return "trousers"
    if _waistband(chains):
        return "skirt"
    height = max(float(np.ptp(chain.points[:, 1])) for chain in chains)
    widest = sum(float(chain.points[:, 0].max()) for chain in chains)
    return "dress" if height / widest > 1.65 else "upper"


def _waistband(chains: tuple[_Chain, _Chain]) -> bool:
    """A wide, nearly straight top edge with corners; straps, collars and shoulders widen from the top."""
    top = min(float(chain.points[:, 1].min()) for chain in chains)
    height = max(float(np.ptp(chain.points[:, 1])) for chain in chains)
    dip = (min(float(chain.points[0, 1]) for chain in chains) - top) / height
    widths = [
        sum(float(np.interp(top + share * height, *_level(chain)[::-1])) for chain in chains)
        for share in (0.02, 0.07)
    ]
    widest = sum(float(chain.points[:, 0].max()) for chain in chains)
    return dip < 0.1 and widths[0] > 0.8 * widths[1] and widths[0] > 0.38 * widest


def _level(chain: _Chain) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Widest x per height, as (x, y) for interpolation."""
    y = chain.points[:, 1]
    levels = np.linspace(y.min(), y.max(), 100)
    x = np.array([chain.points[np.abs(y - level) <= np.ptp(y) / 60, 0].max(initial=0.0) for level in levels])
    return x, levels


def _trousers(cutout: Cutout, chains: tuple[_Chain, _Chain]) -> TrousersShape:
    legs, corners = [], []
    crotch = np.mean([chain.points[-1] * (0, 1) for chain in chains], axis=0)
    bottom = max(float(chain.points[:, 1].max()) for chain in chains)
    top = min(float(chain.points[0, 1]) for chain in chains)
    closed = (bottom - crotch[1]) < 0.12 * (bottom - top)
    if closed:
        # Legs that touch all the way down: the crotch is where tailoring puts it.
        crotch = np.array([0.0, top + 0.27 * (bottom - top)])
    for side, chain in enumerate(chains):
        p = chain.points
        waist, _ = _farthest(p, 0, _first_beyond(p, 0.98 * p[:, 0].max(), SAMPLES // 2))
        waist = max(waist, 2)
        last = SAMPLES - 1
        outer_hem, inner_hem = (_farthest(p, waist, last)[0], last) if closed else _cuff(p, waist, last)
        inner = np.stack([crotch, p[last]]) if closed else p[inner_hem:][::-1]
        legs.append(
            Leg(
                outer=resample(_to_picture(cutout, side, p[waist : outer_hem + 1]), COUNT),
                inner=resample(_to_picture(cutout, side, inner), COUNT),
            )
        )
        corners.append(_to_picture(cutout, side, p[: waist + 1]))
    waistline = resample(np.concatenate([corners[0][::-1], corners[1]]), 11)
    return TrousersShape(
        waist=waistline, crotch=_to_picture(cutout, 1, crotch[None])[0], legs=(legs[0], legs[1])
    )


def _skirt(cutout: Cutout, chains: tuple[_Chain, _Chain]) -> SkirtShape:
    sides, tops, hems = [], [], []
    for side, chain in enumerate(chains):
        p = chain.points
        middle = int(np.argmin(np.abs(p[:, 1] - (p[0, 1] + p[-1, 1]) / 2)))
        waist, _ = _farthest(p, 0, middle)
        hem, _ = _farthest(p, middle, SAMPLES - 1)
        sides.append(resample(_to_picture(cutout, side, p[waist : hem + 1]), COUNT))
        tops.append(_to_picture(cutout, side, p[: waist + 1]))
        hems.append(_to_picture(cutout, side, p[hem:]))
    return SkirtShape(
        waist=resample(np.concatenate([tops[0][::-1], tops[1]]), 11),
        sides=(sides[0], sides[1]),
        hem=resample(np.concatenate([hems[0], hems[1][::-1]]), COUNT),
    )
