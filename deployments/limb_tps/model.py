"""Garment warp by thin-plate splines, one for each piece of the garment along its own limb.

The garment's outline gives its landmarks (collar, shoulder tips, armpits, cuffs, hem; waist, crotch, leg hems), the
person's keypoints, labels and matte give the same places on the body. Torso, sleeves and trouser halves are bent one
by one with dense matching points along all their edges, and share the points of their seams.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.limb_tps.body import Body, find_body
from deployments.limb_tps.fit import fit_skirt, fit_top, fit_trousers
from deployments.limb_tps.limbs import Limb
from deployments.limb_tps.neckline import find_neckline, open_neck
from deployments.limb_tps.outline import lower_kind, measure
from deployments.limb_tps.pieces import close_gaps, lay, pieces_of, reach_skin
from deployments.limb_tps.shapes import Kind, Shape, TopShape, TrousersShape
from deployments.limb_tps.upright import prepare
from deployments.limb_tps.worn import worn_top
from deployments.roles import Category, Dressed, GarmentWarp, WarpedGarment, WarpInput
from modiste.errors import CannotFit
from modiste.image import LabelMap, Mask, RGBAImage
from modiste.labels import BodyPart
from modiste.spec import ModelSpec, Resources

UPPER_ARM = 0.42
"""Reach along the arm from which on it is apart from the trunk."""
MIN_SYMMETRY = 0.62
"""Overlap of a garment with its mirror image, below which it is folded, twisted or not one garment."""


class LimbTPS(GarmentWarp):
    spec = ModelSpec(
        id="limb_tps",
        role="GarmentWarp",
        paper="Bookstein, Principal Warps: Thin-Plate Splines, TPAMI 1989",
        licence="ours",
        engines={},
        resources=Resources(cpus=1.0),
    )

    def postprocess(self, outputs: Tensors, x: WarpInput) -> WarpedGarment:
        body = find_body(x.person.labels, x.person.keypoints, x.person.person)
        texture, kind, shape = _garment(x)
        category: Category = kind if kind in ("upper", "dress") else "lower"  # type: ignore[assignment]
        target = _fit(shape, category, body, x)
        height, width = x.person.labels.shape
        layer, pieces = lay(texture, pieces_of(shape, target), height, width)
        top = target if isinstance(target, TopShape) else None
        covered = _covered(body, top, x.person.labels)
        if top is not None:
            close_gaps(layer, pieces, top)
            reach_skin(layer, pieces, (covered > 0) & (x.person.labels != BodyPart.BACKGROUND), 0.04 * body.unit)
        sleeves = [half.sleeve.reach if half.sleeve else 0.0 for half in top.halves] if top else [0.0, 0.0]
        return WarpedGarment(
            layer=layer,
            category=category,
            pieces=pieces,
            covered=covered,
            bare=bare_body(body, x.person.labels, top),
            unit=body.unit,
            sleeve_reach=(sleeves[1], sleeves[0]),
        )


def _garment(x: WarpInput) -> tuple[RGBAImage, Kind, Shape]:
    """The garment's texture, kind and landmarks, from its outline or from the body of who wears it."""
    if x.wearer is not None and x.category != "lower":
        worn = find_body(x.wearer.labels, x.wearer.keypoints, x.wearer.person)
        hem = worn_hem(x.wearer, worn, x.category)
        shape = worn_top(worn, x.wearer.labels, hem)
        _check_arms(worn, x.wearer.labels, shape)
        return x.garment, x.category or "upper", shape
    cutout = prepare(x.garment, level=x.wearer is None)
    if cutout.symmetry < MIN_SYMMETRY:
        raise CannotFit("expected a garment seen straight from the front and spread out, got an uneven outline")
    wanted: Kind | None = x.category if x.category != "lower" else lower_kind(cutout)  # type: ignore[assignment]
    kind, flat = measure(cutout, wanted)
    if not isinstance(flat, TopShape):
        return cutout.texture, kind, flat
    opened = find_neckline(cutout, flat)
    return open_neck(cutout.texture, opened), kind, opened


def worn_hem(wearer: Dressed, body: Body, category: Category | None) -> float | None:
    """Row where the worn garment ends."""
    if category != "dress":
        return waistline(wearer, body)
    cloth = np.isin(wearer.labels, (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT))
    rows = np.flatnonzero(cloth.sum(axis=1) > 0.25 * body.unit)
    return float(rows[-1]) if len(rows) and rows[-1] < cloth.shape[0] - 3 else None


def _fit(shape: Shape, category: Category, body: Body, x: WarpInput) -> Shape:
    border = waistline(x.person, body)
    hip_row = float(body.hips[:, 1].mean())
    if isinstance(shape, TopShape):
        hint = border if category == "upper" and x.tuck != "out" else None
        top = fit_top(shape, body, hint)
        _check_arms(body, x.person.labels, top)
        return top
    usual = hip_row - 0.42 * body.unit
    row = border if border is not None else usual
    hanging = x.tuck == "out" or (x.tuck == "auto" and row > hip_row - 0.2 * body.unit)
    row = min(row, usual) if hanging else row
    if row > x.person.labels.shape[0] - 0.25 * body.unit:
        raise CannotFit("expected a photo that shows the hips, got one that ends above them")
    if isinstance(shape, TrousersShape):
        crotch = np.array([float(body.hips[:, 0].mean()), hip_row + 0.22 * body.unit], np.float32)
        return fit_trousers(shape, body, row, crotch)
    return fit_skirt(shape, body, row)


def _check_arms(body: Body, labels: LabelMap, top: TopShape) -> None:
    """Refuse arms that lie across the chest where sleeves or skin would have to be made up over the garment."""
    for side, part in enumerate((BodyPart.RIGHT_ARM, BodyPart.LEFT_ARM)):
        points, _, _ = body.arms[side].at(np.linspace(0.9, 2.0, 24))
        inside = np.minimum(
            points[:, 0] - body.side(0, points[:, 1]), body.side(1, points[:, 1]) - points[:, 0]
        )
        across = (inside > 0.13 * body.unit) & (points[:, 1] < body.hips[:, 1].max() + 0.1 * body.unit)
        x = np.clip(points[:, 0].astype(int), 0, labels.shape[1] - 1)
        y = np.clip(points[:, 1].astype(int), 0, labels.shape[0] - 1)
        bare = float(np.mean(labels[y, x] == part))
        elbow, wrist = body.arms[side].axis[len(body.arms[side].axis) // 2], body.arms[side].axis[-1]
        if wrist[1] < elbow[1]:
            raise CannotFit("expected arms that hang down or rest on the hips, got a raised one")
        sleeve = top.halves[side].sleeve
        kept = bare > 0.6 and (sleeve is None or sleeve.reach < 1.0)
        if float(np.mean(across)) > 0.4 and not kept:
            raise CannotFit("expected arms beside the body, got an arm across it")


def waistline(person: Dressed, body: Body) -> float | None:
    """Row where the upper garment ends in front, None where the photo does not show it."""
    centre = (body.armpits[0] + body.armpits[1]) / 2
    half = 0.16 * body.unit
    columns = slice(max(0, int(centre[0] - half)), max(1, int(centre[0] + half)))
    block = person.labels[int(centre[1]) :, columns]
    if block.size == 0:
        return None
    upper = block == BodyPart.UPPER_GARMENT
    last = block.shape[0] - 1 - np.argmax(upper[::-1], axis=0)
    row = float(np.median(last[upper.any(axis=0)])) if upper.any() else None
    if row is None or row >= block.shape[0] - 3:
        return None
    return row + int(centre[1])


def bare_body(body: Body, labels: LabelMap, top: TopShape | None) -> LabelMap:
    """Where neck, trunk, arms and legs are under the clothes."""
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
            _fill(bare, _strip(body.arms[side], labels == part, 0.0 if whole else apart), part)
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
        _fill(bare, _strip(body.legs[side], labels == part, 0.25), part)
    _fill(bare, _neck(body, top), BodyPart.NECK)
    return LabelMap(bare)


def _wrist(arm: Limb, own: NDArray[np.bool_], unit: float) -> NDArray[np.float32]:
    """The hull of forearm's end and hand, which may bend away from the forearm."""
    points, normals, radii = arm.at(np.linspace(1.8, 2.0, 5))
    ends = np.concatenate([points + normals * radii[:, None] * 0.8, points - normals * radii[:, None] * 0.8])
    rows, columns = np.nonzero(own)
    hand = np.stack([columns, rows], axis=1).astype(np.float32)
    hand = hand[np.linalg.norm(hand - points[-1], axis=1) < 0.2 * unit]
    hull: NDArray[np.float32] = cv2.convexHull(np.concatenate([ends, hand]).astype(np.float32)).reshape(-1, 2)
    return hull


def _covered(body: Body, top: TopShape | None, labels: LabelMap) -> Mask:
    """The part of the arms that the new garment hides."""
    covered = np.zeros(labels.shape, np.uint8)
    for half, arm in zip(top.halves if top else (), body.arms, strict=False):
        end = max(UPPER_ARM, half.sleeve.reach) if half.sleeve else UPPER_ARM
        points, normals, radii = arm.at(np.linspace(-0.3, end, 40))
        across = normals * radii[:, None] * 1.3
        outline = np.concatenate([points + across, (points - across)[::-1]])
        cv2.fillPoly(covered, [np.round(outline).astype(np.int32)], 255)
        if half.sleeve:
            joint = (round(float(arm.axis[0, 0])), round(float(arm.axis[0, 1])))
            cv2.circle(covered, joint, int(0.3 * body.unit), 255, cv2.FILLED)
    return Mask(covered)


def _strip(limb: Limb, own: NDArray[np.bool_], first: float) -> NDArray[np.float32]:
    """A limb's outline from some reach on; slimmer where its width was measured over clothes."""
    points, normals, radii = limb.at(np.linspace(first, 2.35, 60))
    dressed = np.count_nonzero(own) < 0.5 * _area(limb)
    across = normals * radii[:, None] * (0.88 if dressed else 1.0)
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
