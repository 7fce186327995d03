"""The body under the clothes: which part of it every pixel would show."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from deployments.limb_tps.body import Body
from deployments.limb_tps.fit import reach_of_row
from deployments.limb_tps.limbs import Limb
from deployments.limb_tps.shapes import Shape, TopShape, TrousersShape
from modiste.image import LabelMap, Mask
from modiste.labels import BodyPart

UPPER_ARM = 0.42
"""Reach along the arm from which on it is apart from the trunk."""

JOINTS = (0.0, 0.5, 1.0, 1.4, 2.0)
"""Reach along a limb at which the bare widths are known."""
ARM, LEG = np.array([0.16, 0.14, 0.115, 0.11, 0.07]), np.array([0.27, 0.24, 0.17, 0.16, 0.11])
"""Largest radius of a bare limb, over the shoulder width."""

LONG = 1.8
"""Reach of a sleeve under which no skin shows."""
SHOULDER = 0.15
"""Reach along the arm up to which a garment without sleeves may lie over it."""


def bare_body(body: Body, labels: LabelMap, target: Shape) -> LabelMap:
    """Where neck, trunk, arms and legs are under the clothes.

    target: the new garment on the body; trousers leave no bare leg above their hems
    """
    top = target if isinstance(target, TopShape) else None
    height, width = labels.shape
    bare = np.zeros((height, width), np.uint8)
    rows = np.arange(body.top, min(height, int(body.hips[:, 1].max() + 0.3 * body.unit)))
    left, right = (np.stack([body.side(side, rows.astype(np.float32)), rows], 1) for side in (0, 1))
    trunk = np.concatenate([body.shoulders[0][::-1], body.shoulders[1], right, left[::-1]])
    for whole in (True, False):
        for side, part in enumerate((BodyPart.RIGHT_ARM, BodyPart.LEFT_ARM)):
            sleeve = top.halves[side].sleeve if top is not None else None
            # Up to its end a sleeve and the trunk's cloth meet; below it the arm is apart.
            apart = max(UPPER_ARM, sleeve.reach - 0.12) if sleeve else UPPER_ARM
            if whole and sleeve is not None and sleeve.reach > LONG:
                continue
            _fill(bare, _strip(body.arms[side], labels == part, 0.0 if whole else apart, ARM * body.unit), part)
            if whole:
                _fill(bare, np.concatenate([body.caps[side], body.armpits[side][None]]), part)
            else:
                _fill(bare, _wrist(body.arms[side], labels == part, body.unit), part)
        if whole:
            # Of the shoulder's own width, trunk and arm have their sides of the armpit.
            _fill(bare, trunk, BodyPart.OTHER)
            chest = bare[: max(0, int(body.top + 0.25 * body.unit))]
            chest[chest == BodyPart.OTHER] = BodyPart.NECK
    for side, part in enumerate((BodyPart.RIGHT_LEG, BodyPart.LEFT_LEG)):
        first = 0.25
        if isinstance(target, TrousersShape):
            first = max(first, reach_of_row(body.legs[side], float(target.legs[side].outer[-1, 1])) - 0.05)
        if first < 1.9:
            _fill(bare, _strip(body.legs[side], labels == part, first, LEG * body.unit), part)
    _fill(bare, _neck(body, top), BodyPart.NECK)
    return LabelMap(bare)


def relief(body: Body, bare: LabelMap) -> NDArray[np.float32]:
    """[H, W, 2]: x and y of the surface normals of bare arms and legs, taken for cylinders around their axes."""
    field = np.zeros((*bare.shape, 2), np.float32)
    limbs = (
        (BodyPart.RIGHT_ARM, body.arms[0], ARM),
        (BodyPart.LEFT_ARM, body.arms[1], ARM),
        (BodyPart.RIGHT_LEG, body.legs[0], LEG),
        (BodyPart.LEFT_LEG, body.legs[1], LEG),
    )
    for part, limb, most in limbs:
        rows, columns = np.nonzero(bare == part)
        if not len(rows):
            continue
        reach = np.linspace(-0.2, 2.35, 160)
        points, normals, radii = limb.at(reach)
        radii = np.minimum(radii, np.interp(reach, JOINTS, most * body.unit))
        pixels = np.stack([columns, rows], axis=1)
        _, nearest = cKDTree(points).query(pixels)
        across = ((pixels - points[nearest]) * normals[nearest]).sum(axis=1) / np.maximum(radii[nearest], 1.0)
        field[rows, columns] = normals[nearest] * np.clip(across, -0.98, 0.98)[:, None]
    return np.asarray(cv2.GaussianBlur(field, (0, 0), 0.012 * body.unit), np.float32)


def _wrist(arm: Limb, own: NDArray[np.bool_], unit: float) -> NDArray[np.float32]:
    """The hull of forearm's end and hand, which may bend away from the forearm."""
    points, normals, radii = arm.at(np.linspace(1.8, 2.0, 5))
    ends = np.concatenate([points + normals * radii[:, None] * 0.8, points - normals * radii[:, None] * 0.8])
    rows, columns = np.nonzero(own)
    hand = np.stack([columns, rows], axis=1).astype(np.float32)
    hand = hand[np.linalg.norm(hand - points[-1], axis=1) < 0.2 * unit]
    hull: NDArray[np.float32] = cv2.convexHull(np.concatenate([ends, hand]).astype(np.float32)).reshape(-1, 2)
    return hull


def covered_arms(body: Body, top: TopShape | None, labels: LabelMap) -> Mask:
    """The part of the arms that the new garment hides."""
    covered = np.zeros(labels.shape, np.uint8)
    for half, arm in zip(top.halves if top else (), body.arms, strict=False):
        end = max(UPPER_ARM, half.sleeve.reach) if half.sleeve else SHOULDER
        points, normals, radii = arm.at(np.linspace(-0.3, end, 40))
        across = normals * radii[:, None] * 1.3
        outline = np.concatenate([points + across, (points - across)[::-1]])
        cv2.fillPoly(covered, [np.round(outline).astype(np.int32)], 255)
        if half.sleeve:
            joint = (round(float(arm.axis[0, 0])), round(float(arm.axis[0, 1])))
            cv2.circle(covered, joint, int(0.3 * body.unit), 255, cv2.FILLED)
    return Mask(covered)


def _strip(limb: Limb, own: NDArray[np.bool_], first: float, most: NDArray[np.float64]) -> NDArray[np.float32]:
    """A limb's outline from some reach on; slimmer, at most `most`, where its width was measured over clothes."""
    reach = np.linspace(first, 2.35, 60)
    points, normals, radii = limb.at(reach)
    dressed = np.count_nonzero(own) < 0.5 * _area(limb)
    if dressed:
        radii = np.minimum(0.88 * radii, np.interp(reach, JOINTS, most)).astype(np.float32)
    across = normals * radii[:, None]
    outline: NDArray[np.float32] = np.concatenate([points + across, (points - across)[::-1]])
    return outline


def _neck(body: Body, top: TopShape | None) -> NDArray[np.float32]:
    """The neck's base and the opening of the new garment below it."""
    left, right = body.shoulders[0][0], body.shoulders[1][0]
    line = np.concatenate([left[None], top.neckline, right[None]]) if top is not None else np.stack([left, right])
    rise = np.array([0, 0.3 * body.unit], np.float32)
    inward = 0.35 * (right - left)
    return np.concatenate([line, [right - inward - rise, left + inward - rise]]).astype(np.float32)


def _area(limb: Limb) -> float:
    steps = np.linalg.norm(np.diff(limb.axis, axis=0), axis=1)
    return float((steps * 2 * limb.radius[1:]).sum())


def _fill(canvas: NDArray[np.uint8], outline: NDArray[np.float32], value: BodyPart) -> None:
    cv2.fillPoly(canvas, [np.round(outline).astype(np.int32)], int(value))
