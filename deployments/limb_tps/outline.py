"""Landmarks of a garment from its outline alone: collar, shoulder tips, armpits, cuffs, hem, waist, crotch."""

from dataclasses import dataclass

import numpy as np

from deployments.limb_tps.half_outline import (
    SAMPLES,
    Chain,
    farthest,
    find_armpits,
    find_cuff,
    first_beyond,
    split_halves,
    turning,
)
from deployments.limb_tps.kinds import is_dress, sleeveless_kind
from deployments.limb_tps.shapes import (
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

ARM_LENGTH = 1.5
"""Sleeve length, shoulder tip to wrist, over the width between the shoulder tips."""
ELBOW = 0.52
"""Where the elbow is along the arm."""
STRAP_TURN = 32.0
"""Least turn of the outline in degrees at the outer end of a shoulder strap."""
COUNT = 14
"""Points per outline section."""


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
    chains = split_halves(cutout)
    decided = kind or sleeveless_kind(chains)
    if decided is None:
        top = _top(cutout, chains)
        return ("dress" if is_dress(top) else "upper"), top
    if decided in ("upper", "dress"):
        return decided, _top(cutout, chains)
    if decided == "trousers":
        return decided, _trousers(cutout, chains)
    return decided, _skirt(cutout, chains)


def _top_half(chain: Chain, sleeved: int | None) -> _TopHalf:
    points = chain
    height = float(np.ptp(points[:, 1]))
    if sleeved is not None:
        armpit = sleeved
        tip = first_beyond(points, 0.9 * points[armpit, 0], armpit)
        cuff = find_cuff(points, tip, armpit)
        tip = _shoulder_tip(points, _collar(points, tip), armpit, cuff[0])
    else:
        tip, armpit = _sleeveless(points, height)
        cuff = None
    hem, _ = farthest(points, armpit, SAMPLES - 1)
    return _TopHalf(collar=_collar(points, tip), tip=tip, armpit=armpit, hem=hem, cuff=cuff)


def _shoulder_tip(points: Chain, collar: int, armpit: int, cuff: int) -> int:
    """Where the shoulder bends into the sleeve; above the armpit where they are in line."""
    width = points[armpit, 0]
    low, high = first_beyond(points, 0.85 * width, cuff), first_beyond(points, 1.15 * width, cuff)
    end = max(min(first_beyond(points, 1.8 * width, cuff), cuff), collar + 2)
    corner, distance = farthest(points, collar, end)
    if low <= corner <= high and distance > 0.05 * width:
        return corner
    return min(first_beyond(points, 0.9 * width, cuff), cuff - 2)


def _sleeveless(points: Chain, height: float) -> tuple[int, int]:
    """Outer end of the strap, and the bottom of the armhole."""
    top = points[:, 1].min()
    upper = np.flatnonzero(points[:, 1] < top + 0.45 * height)
    last = int(upper[upper < SAMPLES * 3 // 4][-1])
    armpit, _ = farthest(points, 0, last)
    widest = first_beyond(points, 0.97 * points[:last, 0].max(), last)
    armpit = max(armpit, min(widest, last))
    armpit = next((i for i in range(armpit, last) if points[i, 1] > top + 0.18 * height), armpit)
    tip, _ = farthest(points, 0, armpit)
    turn = float(turning(points, SAMPLES // 30)[max(0, tip - 5) : tip + 6].max())
    _, bulge = farthest(points, tip, max(armpit, tip + 2))
    # An armhole is cut into the garment; a sleeve that hangs along the body bulges out.
    drop = (points[tip, 1] - top) / height
    hanging = bulge > 0 and drop > 0.07 and points[armpit, 0] > 1.12 * points[tip, 0]
    if hanging or turn < STRAP_TURN or drop > 0.22:
        raise CannotFit("expected sleeves apart from the body of the garment, got an outline without any")
    return max(tip, 2), max(armpit, tip + 2)


def _collar(points: Chain, tip: int) -> int:
    """The point where collar, hood or neckline meets the shoulder seam."""
    width = points[tip, 0]
    low = first_beyond(points, 0.22 * width, tip)
    high = max(first_beyond(points, 0.66 * width, tip), low + 1)
    usual = min(max(first_beyond(points, 0.42 * width, tip), 1), tip - 1)
    if high - low < 3:
        return usual
    rise = points[low, 1] - points[tip, 1]
    corner, distance = farthest(points, low, tip)
    if distance < 0 and rise < -0.25 * width:
        return min(max(corner, low), high)  # a hood or a standing collar: notch where it meets the shoulder
    corner = low + int(np.argmin(points[low : high + 1, 1]))
    convex, distance = farthest(points, low, tip)
    if corner in (low, high):
        corner = convex if distance > 0.02 * width and low < convex <= high else usual
    return corner


def _to_picture(cutout: Cutout, side: int, points: Chain) -> Polyline:
    sign = (-1, 1)[side]
    return np.column_stack([cutout.axis + sign * points[:, 0], points[:, 1]]).astype(np.float32)


def _top(cutout: Cutout, chains: tuple[Chain, Chain]) -> TopShape:
    armpits = find_armpits(chains) or (None, None)
    found = [_top_half(chain, armpit) for chain, armpit in zip(chains, armpits, strict=True)]
    levels = [float(chain[half.armpit, 1]) for chain, half in zip(chains, found, strict=True)]
    width = sum(float(chain[half.tip, 0]) for chain, half in zip(chains, found, strict=True))
    collars = [float(chain[half.collar, 1]) for chain, half in zip(chains, found, strict=True)]
    chest = sum(float(chain[half.armpit, 0]) for chain, half in zip(chains, found, strict=True))
    width = usual_width(width, (sum(levels) - sum(collars)) / 2, chest)
    halves = []
    for side, (chain, half) in enumerate(zip(chains, found, strict=True)):
        p = chain
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
            _to_picture(cutout, 0, chains[0][found[0].hem :]),
            _to_picture(cutout, 1, chains[1][found[1].hem :])[::-1],
        ]
    )
    neckline = np.concatenate(
        [
            _to_picture(cutout, 0, chains[0][: found[0].collar + 1])[::-1],
            _to_picture(cutout, 1, chains[1][: found[1].collar + 1]),
        ]
    )
    collar = resample(neckline, 15)
    return TopShape(halves=(halves[0], halves[1]), collar=collar, neckline=collar, hem=resample(hem, COUNT))


def _reach(share: float) -> float:
    """Share of the arm's length to reach; what nearly comes to the wrist is a long sleeve that creased."""
    if share < ELBOW:
        return share / ELBOW
    return 2.0 if share > 0.72 else 1 + (share - ELBOW) / (1 - ELBOW)


def _trousers(cutout: Cutout, chains: tuple[Chain, Chain]) -> TrousersShape:
    legs, corners = [], []
    crotch = np.mean([chain[-1] * (0, 1) for chain in chains], axis=0)
    bottom = max(float(chain[:, 1].max()) for chain in chains)
    top = min(float(chain[0, 1]) for chain in chains)
    closed = (bottom - crotch[1]) < 0.12 * (bottom - top)
    if closed:
        # Legs that touch all the way down: the crotch is where tailoring puts it.
        crotch = np.array([0.0, top + 0.27 * (bottom - top)])
    for side, chain in enumerate(chains):
        p = chain
        waist, _ = farthest(p, 0, first_beyond(p, 0.98 * p[:, 0].max(), SAMPLES // 2))
        waist = max(waist, 2)
        last = SAMPLES - 1
        outer_hem, inner_hem = (farthest(p, waist, last)[0], last) if closed else find_cuff(p, waist, last)
        inner = np.stack([crotch, p[last]]) if closed else p[inner_hem:][::-1]
        legs.append(
            Leg(
                outer=resample(_to_picture(cutout, side, p[waist : outer_hem + 1]), COUNT),
                inner=resample(_to_picture(cutout, side, inner), COUNT),
            )
        )
        corners.append(_to_picture(cutout, side, p[: waist + 1]))
    waistline = resample(np.concatenate([corners[0][::-1], corners[1]]), 11)
    return TrousersShape(waist=waistline, crotch=_to_picture(cutout, 1, crotch[None])[0], legs=(legs[0], legs[1]))


def _skirt(cutout: Cutout, chains: tuple[Chain, Chain]) -> SkirtShape:
    sides, tops, hems = [], [], []
    for side, chain in enumerate(chains):
        p = chain
        middle = int(np.argmin(np.abs(p[:, 1] - (p[0, 1] + p[-1, 1]) / 2)))
        waist, _ = farthest(p, 0, middle)
        hem, _ = farthest(p, middle, SAMPLES - 1)
        sides.append(resample(_to_picture(cutout, side, p[waist : hem + 1]), COUNT))
        tops.append(_to_picture(cutout, side, p[: waist + 1]))
        hems.append(_to_picture(cutout, side, p[hem:]))
    return SkirtShape(
        waist=resample(np.concatenate([tops[0][::-1], tops[1]]), 11),
        sides=(sides[0], sides[1]),
        hem=resample(np.concatenate([hems[0], hems[1][::-1]]), COUNT),
    )
