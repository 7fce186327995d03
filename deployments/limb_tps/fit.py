"""A flat garment's shape laid onto a body: the same landmarks, in the person's picture."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from deployments.limb_tps.body import Body
from deployments.limb_tps.limbs import Limb
from deployments.limb_tps.shapes import (
    COUNT,
    Half,
    Leg,
    Polyline,
    SkirtShape,
    Sleeve,
    TopShape,
    TrousersShape,
    length,
    resample,
)
from deployments.limb_tps.trunk import CAP_END
from modiste.errors import CannotFit
from modiste.geometry import similarity, transform

WORN = 0.84
"""Width seen from the front over width laid flat: cloth goes around a body that has depth."""
MOST_STRETCH = 1.75
"""How much longer a garment may be made so that it ends where the worn one does."""
COLLAR = 0.2
"""Half the width of a neck's base over the distance between the shoulder tips."""
LONGEST = 0.3
"""How far below the hip joints an upper garment goes at most, over the shoulder width: photos taken from its hem
draw it out."""
SHORTEST_SKIRT = 0.3
"""How far below the hip joints a skirt goes at least, over the shoulder width; a dress twice as far."""
SHORTEST = 0.8
"""Length over chest width under which a garment ends above the waist, however wide it is cut."""
CHEST = 0.46
"""Half the width of a chest over the distance between the shoulder tips."""


def fit_top(
    garment: TopShape, body: Body, hem_hint: float | None, *, own_length: bool = False, dress: bool = False
) -> TopShape:
    """Shoulders, sides and sleeves of an upper garment or dress on a body.

    hem_hint:   picture row of the worn garment's hem; a new hem close to it is put there
    dress:      cover the hips at least
    own_length: let a longer garment hang as long as it is
    raises:     CannotFit
    """
    scale = body.unit / garment.unit
    shoulders = [_shoulder(garment, body, side) for side in (0, 1)]
    collar = float(np.mean([line[0, 1] for line in shoulders]))
    rise = float(np.mean([half.shoulder[0, 1] for half in garment.halves]))
    hems = []
    for half in garment.halves:
        drop = (float(half.side[-1, 1]) - rise) * scale
        hems.append(collar + drop)
    hem = float(np.mean(hems))
    pits = float(max(a[1] for a in body.armpits))
    if hem_hint is not None and hem < hem_hint + (0.0 if own_length else 0.6) * body.unit:
        chest = float(np.linalg.norm(garment.halves[0].armhole[-1] - garment.halves[1].armhole[-1]))
        short = float(garment.hem[:, 1].mean()) - rise < SHORTEST * chest
        if short and hem_hint - pits > MOST_STRETCH * max(hem - pits, 1.0):
            raise CannotFit("expected a garment about as long as the one worn, got a much shorter one")
        hem = hem_hint + 0.012 * body.unit
    lowest = float(body.hips[:, 1].max()) + LONGEST * body.unit
    if not (dress or own_length):
        hem = min(hem, max(lowest, hem_hint or lowest))
    hem = max(hem, pits + 0.35 * body.unit)
    if dress:
        hem = max(hem, float(body.hips[:, 1].max()) + 2 * SHORTEST_SKIRT * body.unit)
    stretch = (hem - collar) / max(float(np.mean([half.side[-1, 1] for half in garment.halves])) - rise, 1.0)
    halves = []
    for side in (0, 1):
        half = garment.halves[side]
        armpit = _armpit(half, body, side, collar, rise, stretch)
        line = _side(half, body, side, armpit, hem, scale, garment)
        armhole = _armhole(half, shoulders[side][-1], armpit)
        sleeve = None
        if half.sleeve is not None:
            sleeve = _sleeve(half.sleeve, body, side, armhole, scale)
        halves.append(Half(shoulder=shoulders[side], armhole=armhole, side=line, sleeve=sleeve))
    place = similarity(
        np.stack([half.shoulder[0] for half in garment.halves]), np.stack([line[0] for line in shoulders])
    )
    return TopShape(
        halves=(halves[0], halves[1]),
        collar=transform(garment.collar, place),
        neckline=transform(garment.neckline, place),
        hem=_follow(garment.hem, halves[0].side[-1], halves[1].side[-1]),
    )


def _armpit(half: Half, body: Body, side: int, collar: float, rise: float, stretch: float) -> NDArray[np.float32]:
    """The body's armpit, or lower where the garment's sleeve parts from its body only there."""
    own = body.armpits[side]
    lower = collar + (float(half.armhole[-1, 1]) - rise) * stretch
    y = float(np.clip(lower, own[1], own[1] + 0.15 * body.unit))
    if y < own[1] + 0.06 * body.unit:
        return own
    return np.array([float(body.side(side, np.array([y], np.float32))[0]), y], np.float32)


def _shoulder(garment: TopShape, body: Body, side: int) -> Polyline:
    """The part of the body's shoulder line that the garment covers: all beside a collar, less under a strap."""
    half, line = garment.halves[side], body.shoulders[side]
    own = abs(float(half.shoulder[0, 0] - half.shoulder[-1, 0])) / garment.unit
    end = 0.5
    if half.sleeve is None:
        chest = float(np.linalg.norm(garment.halves[0].armhole[-1] - garment.halves[1].armhole[-1]))
        end = float(np.clip(CHEST * garment.shoulder_width / max(chest, 1.0), 0.3, 0.5))
    first, last = ((at - COLLAR) / (0.5 - COLLAR) for at in (end - own, end))
    dense = resample(line, 61)
    return resample(dense[int(60 * np.clip(first, 0.0, 0.75)) : int(60 * last) + 1], len(half.shoulder))


def _side(
    half: Half,
    body: Body,
    side: int,
    start: NDArray[np.float32],
    hem: float,
    scale: float,
    garment: TopShape,
) -> Polyline:
    """Between body and garment: never inside the body, half as loose as the garment hangs."""
    sign = (-1.0, 1.0)[side]
    v = (half.side[:, 1] - half.side[0, 1]) / max(float(half.side[-1, 1] - half.side[0, 1]), 1.0)
    y = start[1] + v * (hem - start[1])
    centre = (float(garment.halves[0].side[0, 0]) + float(garment.halves[1].side[0, 0])) / 2
    middle = _middle(body, y)
    own = np.abs(half.side[:, 0] - centre) * scale * WORN
    fitted = sign * (body.side(side, y.astype(np.float32)) - middle)
    below = np.clip((y - float(body.hips[:, 1].mean())) / (0.6 * body.unit), 0, 1)
    loose = np.maximum(own - fitted, 0) * (0.45 + 0.5 * below)
    loose = np.minimum(loose, (0.06 + 0.3 * below) * body.unit) * np.clip(v * (2 if half.sleeve is None else 5), 0, 1)
    under = body.margin(side, y.astype(np.float32)) * (0 if half.sleeve is None else 1)
    x = middle + sign * (fitted + loose + under)
    x[0] = start[0]
    return np.column_stack([x, y]).astype(np.float32)


def _middle(body: Body, y: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((body.side(0, y) + body.side(1, y)) / 2, np.float32)


def _armhole(half: Half, tip: NDArray[np.float32], armpit: NDArray[np.float32]) -> Polyline:
    """Straight under a sleeve; without one cut in below the shoulder, round into the armpit."""
    if half.sleeve is not None:
        return _follow(half.armhole, tip, armpit)
    bend = np.array([tip[0] + 0.1 * (armpit[0] - tip[0]), tip[1] + 0.85 * (armpit[1] - tip[1])])
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * tip + 2 * t * (1 - t) * bend + t**2 * armpit
    return resample(curve.astype(np.float32), len(half.armhole))


def _follow(curve: Polyline, first: NDArray[np.float32], last: NDArray[np.float32]) -> Polyline:
    """A curve moved, turned and scaled so that its ends meet two points."""
    matrix = similarity(curve[[0, -1]], np.stack([first, last]).astype(np.float32))
    return transform(curve, matrix)


def _sleeve(sleeve: Sleeve, body: Body, side: int, seam: Polyline, scale: float) -> Sleeve:
    """Along the arm: as long as the garment's sleeve, at least as wide as the arm."""
    arm, armpit = body.arms[side], seam[-1]
    along = arm.axis - armpit
    pit = 2 * float(np.argmin(np.einsum("ij,ij->i", along, along)[: len(arm.axis) // 2])) / (len(arm.axis) - 1)
    reach = float(np.clip(sleeve.reach, pit + 0.12, 2.0))
    flat = np.linalg.norm(resample(sleeve.outer, COUNT) - resample(sleeve.inner, COUNT), axis=1) / 2 * scale * WORN
    v = np.linspace(0, 1, COUNT)
    # With the arm down a cuff is nearly level; half of the slant of the flat sleeve is kept.
    under = pit + reach * length(sleeve.inner) / max(length(sleeve.outer), 1.0)
    inner_end = float(np.clip((reach + under) / 2, pit + 0.1, reach))
    outer_at, inner_at = v * reach, pit + v * (inner_end - pit)
    edges = []
    for at, sign in ((outer_at, 1.0), (inner_at, -1.0)):
        points, normals, radii = arm.at(at)
        cloth = np.interp(at, pit + v * (reach - pit), flat)
        widest = np.interp(at, [0.2, 0.6, 1.0], [1.06, 1.12, 1.25])
        half_width = np.clip(cloth, 1.04 * radii, widest * radii)
        edges.append(points + sign * normals * half_width[:, None])
    outer, inner = edges
    begin = min(int(np.searchsorted(outer_at, CAP_END)), COUNT - 2)
    cap = body.caps[side]
    bend = outer[begin] - cap[-1]
    grown = cap + np.linspace(0, 1, len(cap))[:, None] ** 2 * bend
    outer = resample(gaussian_filter1d(np.concatenate([grown, outer[begin + 1 :]]), 1.5, axis=0, mode="nearest"), COUNT)
    outer[0] = cap[0]
    ease = np.clip(1 - (inner_at - pit) / 0.7, 0, 1)[:, None]
    inner = inner + ease * (armpit - inner[0])
    return Sleeve(outer=outer.astype(np.float32), inner=inner.astype(np.float32), seam=seam, reach=reach)


def fit_trousers(garment: TrousersShape, body: Body, waist_row: float, crotch: NDArray[np.float32]) -> TrousersShape:
    """Waist to the body's sides, legs along its legs."""
    waist = _waist(garment.waist, body, waist_row)
    rise = float(garment.crotch[1] - garment.waist[[0, -1], 1].mean())
    legs = []
    for side in (0, 1):
        leg, limb = garment.legs[side], body.legs[side]
        inside = float(np.linalg.norm(leg.inner[-1] - leg.inner[0])) / max(rise, 1.0)
        # A leg down to the ankle is about 2.9 times as long as the rise.
        reach = float(np.clip(0.25 + 1.75 * inside / 2.7, 0.35, 2.0))
        flat = np.linalg.norm(leg.outer - leg.inner, axis=1) / 2
        scale = float(np.linalg.norm(waist[0] - waist[-1])) / max(
            float(np.linalg.norm(garment.waist[0] - garment.waist[-1])), 1
        )
        v = np.linspace(0, 1, COUNT)
        start = reach_of_row(limb, float(crotch[1]))
        points, normals, radii = limb.at(start + v * (reach - start))
        width = np.clip(flat * scale * WORN, 1.03 * radii, 1.5 * radii)
        inner = points - normals * width[:, None]
        inner += np.clip(1 - v * 3, 0, 1)[:, None] * (crotch - inner[0])
        outer_leg = points + normals * width[:, None]
        share = length(leg.outer[: COUNT // 3]) and rise / max(float(np.ptp(leg.outer[:, 1])), 1.0)
        hip_line = _hip_line(body, side, waist[(0, -1)[side]], float(crotch[1]), outer_leg[0])
        outer = np.concatenate([resample(hip_line, 20), outer_leg[1:]])
        outer = _by_share(outer, 20, share)
        legs.append(Leg(outer=outer, inner=inner.astype(np.float32)))
    return TrousersShape(waist=waist, crotch=crotch.astype(np.float32), legs=(legs[0], legs[1]))


def _by_share(line: Polyline, split: int, share: float) -> Polyline:
    """COUNT points, of which `share` of the way lies before index `split` of the line."""
    wanted = np.linspace(0, 1, COUNT)
    first, second = resample(line[:split], 200), resample(line[split - 1 :], 200)
    points = [
        first[int(199 * w / share)] if w < share else second[int(199 * (w - share) / max(1 - share, 1e-3))]
        for w in wanted
    ]
    return np.stack(points).astype(np.float32)


def reach_of_row(limb: Limb, row: float) -> float:
    """How far along a limb a picture row is: 0 = hip, 1 = knee, 2 = ankle."""
    below = np.flatnonzero(limb.axis[:, 1] >= row)
    return 2 * float(below[0]) / (len(limb.axis) - 1) if len(below) else 2.0


def _hip_line(body: Body, side: int, corner: NDArray[np.float32], row: float, end: NDArray[np.float32]) -> Polyline:
    y = np.linspace(corner[1], row, 12).astype(np.float32)
    x = body.side(side, y)
    t = np.linspace(0, 1, 12)
    x = x + (1 - t) * (corner[0] - x[0]) + t**2 * (end[0] - x[-1])
    return np.column_stack([x, y]).astype(np.float32)


def _waist(curve: Polyline, body: Body, row: float) -> Polyline:
    y = np.array([row], np.float32)
    ends = [np.array([float(body.side(side, y)[0]), row], np.float32) for side in (0, 1)]
    return _follow(curve, ends[0], ends[1])


def fit_skirt(garment: SkirtShape, body: Body, waist_row: float) -> SkirtShape:
    """Sides from the waist over the hips, then as the skirt itself falls."""
    waist = _waist(garment.waist, body, waist_row)
    width = float(np.linalg.norm(waist[0] - waist[-1]))
    scale = width / max(float(np.linalg.norm(garment.waist[0] - garment.waist[-1])), 1.0)
    centre = garment.waist[[0, -1]].mean(axis=0)
    hips = float(body.hips[:, 1].max())
    drop = float(np.mean([line[-1, 1] - line[0, 1] for line in garment.sides])) * scale
    # A child's or a short skirt still covers the hips.
    stretch = max(1.0, (hips + SHORTEST_SKIRT * body.unit - waist_row) / max(drop, 1.0))
    sides = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        line = garment.sides[side]
        y = waist[(0, -1)[side], 1] + (line[:, 1] - line[0, 1]) * scale * stretch
        middle = waist[[0, -1], 0].mean() + (body.hips[:, 0].mean() - waist[[0, -1], 0].mean()) * np.clip(
            (y - waist_row) / max(hips - waist_row, 1.0), 0, 1
        )
        own = np.abs(line[:, 0] - centre[0]) * scale
        # Below the hips hands, bags and the picture's end pass for the body: the wider side is not believed.
        rows = np.minimum(y, hips).astype(np.float32)
        fitted = (body.side(1, rows) - body.side(0, rows)) / 2
        x = middle + sign * np.maximum(own, np.minimum(fitted, 1.15 * own + 0.05 * body.unit))
        x[0] = waist[(0, -1)[side], 0]
        sides.append(np.column_stack([x, y]).astype(np.float32))
    return SkirtShape(waist=waist, sides=(sides[0], sides[1]), hem=_follow(garment.hem, sides[0][-1], sides[1][-1]))
