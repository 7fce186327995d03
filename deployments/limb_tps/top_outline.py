"""Landmarks of an upper garment or dress from its outline: collar, shoulder tips, armpits, cuffs, hem.

Sleeves that stand apart show their armpits as notches. Those of a garment that hangs or lies with its sleeves along
the body part from it lower down, or nowhere: there the armpit is where tailoring puts it, and the seam between sleeve
and body runs straight down from it.
"""

from dataclasses import dataclass, replace

import numpy as np

from deployments.limb_tps.half_outline import (
    SAMPLES,
    Chain,
    farthest,
    find_armpits,
    find_cuff,
    first_beyond,
    lone_sleeve,
    turning,
)
from deployments.limb_tps.look import Style
from deployments.limb_tps.shapes import COUNT, Half, Polyline, Sleeve, TopShape, length, resample, usual_width
from deployments.limb_tps.upright import Cutout, mirrored
from modiste.errors import CannotFit

ARM_LENGTH = 1.5
"""Sleeve length, shoulder tip to wrist, over the width between the shoulder tips."""
ELBOW = 0.52
"""Where the elbow is along the arm."""
MIDDLE = 0.5
"""Depth of a notch below the collar over that of the hem, down to which it is an armpit whatever the width."""
LOW = 1.35
"""Depth of a notch below the collar over its distance from the middle line, from which on it is no armpit."""
DEPTH = 1.15
"""Depth of an armpit below the collar over half the width of the chest."""
SLIM = 0.38
"""Half the width of a chest over the height of a garment down to the hips."""
WAIST_TURN = -35.0
"""Turn of the outline in degrees that a waist does not reach."""
STANDING_TURN = -22.0
"""Turn of the outline in degrees where a collar meets the shoulder."""
COLLAR = 0.42
"""Half the width of a collar over that between the shoulder tips."""
UNLIKE = 0.2
"""Distance of one collar point from the mirror image of the other, over half the chest, that is an error."""
HANGING = 0.72
"""Depth of a cuff below the collar over that of the hem, from which on a sleeve is a long one."""
UPPER_ARM = 0.6
"""Width of a sleeve at the armpit over half the width of the chest."""
CUFF = 0.42
"""Width of a cuff over half the width of the chest."""


@dataclass(frozen=True, slots=True)
class _TopHalf:
    """Polylines in the half outline's coordinates; neck and below: what remains of it above and below."""

    neck: Chain
    shoulder: Chain
    armhole: Chain
    side: Chain
    below: Chain
    outer: Chain | None
    inner: Chain | None
    seam: Chain | None


def evened(cutout: Cutout, chains: tuple[Chain, Chain]) -> Cutout:
    """The cut-out itself, or with a sleeve that is folded away replaced by the mirror image of the other."""
    alone = lone_sleeve(chains)
    return cutout if alone is None else mirrored(cutout, alone[0], 0.8 * alone[1])


def measure_top(cutout: Cutout, chains: tuple[Chain, Chain], sleeves: Style | None) -> TopShape:
    """sleeves: by the look of the garment: long ones are looked for where none stand out, "none" are not found."""
    notches = (None, None) if sleeves == "none" else find_armpits(chains) or (None, None)
    found = [_top_half(chain, notch, sleeves) for chain, notch in zip(chains, notches, strict=True)]
    if (found[0].outer is None) != (found[1].outer is None):
        found = [_top_half(chain, None, "none") for chain in chains]
    found = _alike(found)
    depth = float(np.mean([half.armhole[-1, 1] - half.shoulder[0, 1] for half in found]))
    seam, chest = (sum(float(half.armhole[end, 0]) for half in found) for end in (0, -1))
    width = usual_width(seam, depth, chest)
    halves = tuple(_half(cutout, side, half, width) for side, half in enumerate(found))
    hem = np.concatenate([to_picture(cutout, 0, found[0].below), to_picture(cutout, 1, found[1].below)[::-1]])
    neckline = np.concatenate([to_picture(cutout, 0, found[0].neck)[::-1], to_picture(cutout, 1, found[1].neck)])
    collar = resample(neckline, 15)
    return TopShape(halves=(halves[0], halves[1]), collar=collar, neckline=collar, hem=resample(hem, COUNT))


def _alike(halves: list[_TopHalf]) -> list[_TopHalf]:
    """Both collar points at one place: where they differ, the lower one: the other is on a hood."""
    points = [half.shoulder[0] for half in halves]
    if float(np.linalg.norm(points[0] - points[1])) < UNLIKE * float(halves[0].armhole[-1, 0]):
        return halves
    wrong = int(np.argmin([point[1] for point in points]))
    upper = np.concatenate([halves[wrong].neck, halves[wrong].shoulder[1:]])
    at = int(np.argmin(np.linalg.norm(upper[:-1] - points[1 - wrong], axis=1)))
    at = max(at, 1)
    changed = list(halves)
    changed[wrong] = replace(halves[wrong], neck=upper[: at + 1], shoulder=upper[at:])
    return changed


def to_picture(cutout: Cutout, side: int, points: Chain) -> Polyline:
    sign = (-1, 1)[side]
    return np.column_stack([cutout.axis + sign * points[:, 0], points[:, 1]]).astype(np.float32)


def _half(cutout: Cutout, side: int, half: _TopHalf, width: float) -> Half:
    sleeve = None
    if half.outer is not None and half.inner is not None and half.seam is not None:
        outer, inner = half.outer.astype(np.float32), half.inner.astype(np.float32)
        share = float(np.clip(length(outer) / width / ARM_LENGTH, 0.08, 1.0))
        body = float(half.side[-1, 1] - half.shoulder[0, 1])
        if float(inner[-1, 1] - half.shoulder[0, 1]) > HANGING * body:
            share = 1.0
        sleeve = Sleeve(
            outer=to_picture(cutout, side, resample(outer, COUNT).astype(np.float64)),
            inner=to_picture(cutout, side, resample(inner, COUNT).astype(np.float64)),
            seam=resample(to_picture(cutout, side, half.seam), 8),
            reach=_reach(share),
        )
    return Half(
        shoulder=resample(to_picture(cutout, side, half.shoulder), 6),
        armhole=resample(to_picture(cutout, side, half.armhole), 8),
        side=resample(to_picture(cutout, side, half.side), COUNT),
        sleeve=sleeve,
    )


def _top_half(points: Chain, notch: int | None, sleeves: Style | None) -> _TopHalf:
    if notch is None:
        if sleeves == "long" or (sleeves is None and _bulges(points)):
            return _along_the_body(points)
        tip, armpit = _sleeveless(points)
        collar = _collar(points, tip)
        return _cut(points, collar, tip, points[tip : armpit + 1], armpit, None, None)
    tip = first_beyond(points, 0.9 * points[notch, 0], notch)
    pit, first, hanging = points[notch], tip, False
    base = points[first_beyond(points, 0.42 * pit[0], notch), 1]
    if pit[1] - base > max(LOW * pit[0], MIDDLE * (points[notch:, 1].max() - base)):
        if turning(points, SAMPLES // 30)[notch] > WAIST_TURN:
            return _top_half(points, None, "none" if sleeves is None else sleeves)  # that notch is a waist
        hanging = True
        pit = np.array([0.97 * pit[0], base + DEPTH * 0.97 * pit[0]])
        first = int(np.flatnonzero(points[: notch - 1, 1] < (pit[1] + points[notch, 1]) / 2)[-1])
    cuff = find_cuff(points, first, notch)
    tip = _shoulder_tip(points, _collar(points, tip), float(points[notch, 0]), cuff[0])
    if hanging:
        tip = _above(points, tip, base + 0.45 * (pit[1] - base))
    collar = _collar(points, tip)
    inner = np.concatenate([pit[None], points[cuff[1] : notch + 1][::-1]])
    if hanging:
        inner[0] = _under_arm(points, tip, cuff[0], pit)
    return _cut(points, collar, tip, np.stack([points[tip], pit]), notch, points[tip : cuff[0] + 1], inner)


def _cut(
    points: Chain, collar: int, tip: int, armhole: Chain, below: int, outer: Chain | None, inner: Chain | None
) -> _TopHalf:
    """below: index of the half outline from which on the side of the body shows."""
    hem, _ = farthest(points, below, SAMPLES - 1)
    return _TopHalf(
        neck=points[: collar + 1],
        shoulder=points[collar : tip + 1],
        armhole=armhole,
        side=np.concatenate([armhole[-1:], points[below : hem + 1]]),
        below=points[hem:],
        outer=outer,
        inner=inner,
        seam=None if inner is None else np.stack([points[tip], inner[0]]),
    )


def _under_arm(points: Chain, tip: int, cuff: int, pit: Chain) -> Chain:
    """The armpit's place on a sleeve that lies partly behind the body: no nearer to its outer edge than it is wide."""
    outer = points[tip : cuff + 1]
    edge = float(outer[int(np.argmin(np.abs(outer[:, 1] - pit[1]))), 0])
    return np.array([min(float(pit[0]), max(edge - UPPER_ARM * float(pit[0]), 0.5 * float(pit[0]))), pit[1]])


def _above(points: Chain, index: int, row: float) -> int:
    """The point itself, or the last before it that is not below a row."""
    lower = np.flatnonzero(points[:index, 1] > row)
    return max(int(lower[0]), 3) if len(lower) else index


def _along_the_body(points: Chain) -> _TopHalf:
    """A sleeve that is nowhere apart from the body: the outer part of the outline."""
    height, widest = float(np.ptp(points[:, 1])), float(points[:, 0].max())
    chest = float(np.clip(SLIM * height, 0.55 * widest, 0.8 * widest))
    corner = int(np.argmax(points[:, 0] / widest + points[:, 1] / height))
    tip = _shoulder_tip(points, _collar(points, first_beyond(points, 0.9 * chest, corner)), chest, corner)
    collar = _collar(points, tip)
    pit = np.array([chest, points[collar, 1] + DEPTH * chest])
    if corner <= tip + 4 or points[corner, 1] < pit[1]:
        raise CannotFit("expected sleeves apart from the body of the garment, got an outline without any")
    cuff = points[corner] - [CUFF * chest, 0]
    inside = np.flatnonzero(points[corner:, 0] < max(chest, cuff[0]))
    below = corner + int(inside[0]) if len(inside) else corner
    outer, inner = points[tip : corner + 1], np.stack([_under_arm(points, tip, corner, pit), cuff])
    return _cut(points, collar, tip, np.stack([points[tip], pit]), below, outer, inner)


def _shoulder_tip(points: Chain, collar: int, width: float, cuff: int) -> int:
    """Where the shoulder bends into the sleeve; above the armpit, `width` from the middle, where they are in line."""
    low, high = first_beyond(points, 0.85 * width, cuff), first_beyond(points, 1.15 * width, cuff)
    end = max(min(first_beyond(points, 1.8 * width, cuff), cuff), collar + 2)
    corner, distance = farthest(points, collar, end)
    if low <= corner <= high and distance > 0.05 * width:
        return corner
    return max(min(first_beyond(points, 0.9 * width, cuff), cuff - 2), 2)


def _sleeveless(points: Chain) -> tuple[int, int]:
    """Outer end of the strap, and the bottom of the armhole."""
    top, height = points[:, 1].min(), float(np.ptp(points[:, 1]))
    upper = np.flatnonzero(points[:, 1] < top + 0.45 * height)
    last = int(upper[upper < SAMPLES * 3 // 4][-1])
    armpit, _ = farthest(points, 0, last)
    widest = first_beyond(points, 0.97 * points[:last, 0].max(), last)
    armpit = max(armpit, min(widest, last))
    armpit = next((i for i in range(armpit, last) if points[i, 1] > top + 0.18 * height), armpit)
    tip, _ = farthest(points, 0, armpit)
    return max(tip, 2), max(armpit, tip + 2)


def _bulges(points: Chain) -> bool:
    """Whether what looks like an armhole is a sleeve that hangs along the body: an armhole is cut into the cloth."""
    tip, armpit = _sleeveless(points)
    _, bulge = farthest(points, tip, armpit)
    drop = (points[tip, 1] - points[:, 1].min()) / float(np.ptp(points[:, 1]))
    return bool(bulge > 0 and drop > 0.07 and points[armpit, 0] > 1.12 * points[tip, 0])


def _collar(points: Chain, tip: int) -> int:
    """The point where collar, hood or neckline meets the shoulder seam."""
    width = points[tip, 0]
    low = first_beyond(points, 0.22 * width, tip)
    high = max(first_beyond(points, 0.66 * width, tip), low + 1)
    usual = min(max(first_beyond(points, COLLAR * width, tip), 1), tip - 1)
    if high - low < 3:
        return usual
    # A hood, a standing collar, or one that lies on the shoulders: the notch where it meets them.
    turn = (turning(points, SAMPLES // 50) + turning(points, SAMPLES // 25))[
        low : first_beyond(points, 0.9 * width, tip) + 1
    ] / 2
    notch = low + int(np.argmin(turn))
    if turn.min() < STANDING_TURN and points[notch, 1] < points[tip, 1]:
        return notch
    corner = low + int(np.argmin(points[low : high + 1, 1]))
    convex, distance = farthest(points, low, tip)
    if corner in (low, high):
        corner = convex if distance > 0.02 * width and low < convex <= high else usual
    return corner


def _reach(share: float) -> float:
    """Share of the arm's length to reach; what nearly comes to the wrist is a long sleeve that creased."""
    if share < ELBOW:
        return share / ELBOW
    return 2.0 if share > 0.72 else 1 + (share - ELBOW) / (1 - ELBOW)
