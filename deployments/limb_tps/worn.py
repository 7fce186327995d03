"""The shape of a garment on its own wearer: what the outline tells of a flat garment, the body tells of a worn one."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from deployments.limb_tps.body import Body
from deployments.limb_tps.limbs import Limb
from deployments.limb_tps.pieces import run_on
from deployments.limb_tps.shapes import COUNT, Half, Polyline, Sleeve, TopShape, resample
from deployments.limb_tps.trunk import CAP_END
from modiste.errors import CannotFit
from modiste.image import LabelMap, RGBAImage
from modiste.labels import BodyPart

HIDDEN = 0.08
"""Share of the garment's front that arms may hide."""


def worn_top(body: Body, labels: LabelMap, hem: float | None) -> TopShape:
    """Shape of an upper garment or dress in the wearer's picture.

    hem:    picture row where it ends; None where the picture ends before the garment does
    raises: CannotFit
    """
    cloth = np.isin(labels, (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT))
    if hem is None:
        raise CannotFit("expected a garment in full view, got one that the picture cuts off")
    pits = max(float(point[1]) for point in body.armpits)
    if hem < pits + 0.35 * body.unit:
        raise CannotFit("expected a garment down to the waist at least, got one that ends above")
    halves = tuple(_half(body, side, labels, cloth, hem) for side in (0, 1))
    _check_view(halves, labels)  # type: ignore[arg-type]
    ends = halves[0].shoulder[0], halves[1].shoulder[0]
    line = _opening(ends, labels, cloth, body.unit)
    return TopShape(
        halves=halves,  # type: ignore[arg-type]
        collar=line,
        neckline=line,
        hem=resample(np.stack([halves[0].side[-1], halves[1].side[-1]]), COUNT),
    )


def filled(garment: RGBAImage, shape: TopShape) -> RGBAImage:
    """Close the holes that hands leave in the front, with the cloth beside them."""
    left, right = shape.halves
    outline = np.concatenate([left.side, right.side[::-1]])
    front = np.zeros(garment.shape[:2], np.uint8)
    cv2.fillPoly(front, [np.round(outline).astype(np.int32)], 1)
    whole = RGBAImage(garment.copy())
    run_on(whole, (cv2.erode(front, np.ones((5, 5), np.uint8)) > 0) & (garment[..., 3] < 250))
    return whole


def _half(body: Body, side: int, labels: LabelMap, cloth: NDArray[np.bool_], hem: float) -> Half:
    armpit, tip = body.armpits[side], body.shoulders[side][-1]
    rows = np.linspace(float(armpit[1]), hem, COUNT).astype(np.float32)
    line = np.column_stack([_cloth_side(body, side, rows, cloth), rows]).astype(np.float32)
    line[0] = armpit
    return Half(
        shoulder=resample(body.shoulders[side], 6),
        armhole=resample(np.stack([tip, armpit]), 8),
        side=line,
        sleeve=_sleeve(body, side, labels, cloth),
    )


def _cloth_side(body: Body, side: int, rows: NDArray[np.float32], cloth: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The body's side, or where the cloth ends before it (a bare arm in front)."""
    sides = body.side(side, rows)
    middle = (body.side(0, rows) + body.side(1, rows)) / 2
    share = np.linspace(0.3, 1.0, 80)
    for i, row in enumerate(rows):
        x = middle[i] + (sides[i] - middle[i]) * share
        y = int(np.clip(row, 0, cloth.shape[0] - 1))
        inside = cloth[y, np.clip(x.astype(int), 0, cloth.shape[1] - 1)]
        if inside[0] and not inside.all():
            sides[i] = x[int(np.argmin(inside))]
    # Single rows err; the side of a garment is smooth.
    smooth: NDArray[np.float32] = median_filter(sides, 3, mode="nearest")
    return smooth


def _sleeve(body: Body, side: int, labels: LabelMap, cloth: NDArray[np.bool_]) -> Sleeve | None:
    """From the shoulder to where cloth along the arm's axis gives way to skin."""
    arm = body.arms[side]
    reach = _covered_to(arm, labels, cloth)
    if reach < 0.3:
        return None
    armpit, cap = body.armpits[side], body.caps[side]
    along = arm.axis - armpit
    pit = 2 * float(np.argmin((along**2).sum(axis=1)[: len(arm.axis) // 2])) / (len(arm.axis) - 1)
    reach = max(reach, pit + 0.1)
    outer = np.concatenate([cap, _edge(arm, np.linspace(CAP_END, reach, COUNT)[1:], 1.0, cloth)])
    inner = _edge(arm, np.linspace(pit, reach, COUNT), -1.0, cloth)
    inner[0] = armpit
    return Sleeve(
        outer=resample(outer.astype(np.float32), COUNT),
        inner=inner.astype(np.float32),
        seam=resample(np.stack([body.shoulders[side][-1], armpit]), 8),
        reach=float(reach),
    )


def _edge(arm: Limb, reach: NDArray[np.float64], sign: float, cloth: NDArray[np.bool_]) -> Polyline:
    """Where the cloth ends across the arm."""
    points, normals, radii = arm.at(reach)
    share = np.linspace(0.3, 1.3, 40)
    rays = points[:, None] + sign * normals[:, None] * (radii[:, None] * share)[..., None]
    x = np.clip(rays[..., 0].astype(int), 0, cloth.shape[1] - 1)
    y = np.clip(rays[..., 1].astype(int), 0, cloth.shape[0] - 1)
    inside = cloth[y, x]
    ends = np.where(inside.all(axis=1) | ~inside[:, 0], 1.0, share[np.argmin(inside, axis=1)])
    ends = median_filter(ends, 5, mode="nearest")
    edge: Polyline = (points + sign * normals * (radii * ends)[:, None]).astype(np.float32)
    return edge


def _covered_to(arm: Limb, labels: LabelMap, cloth: NDArray[np.bool_]) -> float:
    steps = np.linspace(0.1, 2.0, 39)
    points, _, _ = arm.at(steps)
    x = np.clip(points[:, 0].astype(int), 0, labels.shape[1] - 1)
    y = np.clip(points[:, 1].astype(int), 0, labels.shape[0] - 1)
    bare = ~cloth[y, x]
    for i in range(len(steps) - 2):
        if bare[i : i + 3].all():
            return float(steps[i])
    return 2.0


def _opening(ends: tuple[Polyline, Polyline], labels: LabelMap, cloth: NDArray[np.bool_], unit: float) -> Polyline:
    """The upper edge of the cloth between the collar points."""
    xs = np.linspace(float(ends[0][0]), float(ends[1][0]), 15)
    chord = np.linspace(float(ends[0][1]), float(ends[1][1]), 15)
    ys = chord.copy()
    for i in range(1, 14):
        low, high = int(max(0, chord[i] - 0.15 * unit)), int(chord[i] + 0.6 * unit)
        column = np.flatnonzero(cloth[low:high, int(np.clip(xs[i], 0, labels.shape[1] - 1))])
        if len(column):
            ys[i] = low + column[0]
    return np.column_stack([xs, ys]).astype(np.float32)


def _check_view(halves: tuple[Half, Half], labels: LabelMap) -> None:
    """Refuse a garment of which arms, hair or hands hide too much."""
    outline = np.concatenate([halves[0].shoulder, halves[1].shoulder[::-1], halves[1].side, halves[0].side[::-1]])
    front = np.zeros(labels.shape, np.uint8)
    cv2.fillPoly(front, [np.round(outline).astype(np.int32)], 1)
    hidden = (front > 0) & np.isin(labels, (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM, BodyPart.HAIR, BodyPart.OTHER))
    share = float(np.count_nonzero(hidden)) / max(1, int(front.sum()))
    if share > HIDDEN:
        raise CannotFit(f"expected a garment in full view, got one of which arms or hair hide {share:.0%}")
