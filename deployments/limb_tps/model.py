"""Garment warp by thin-plate splines, one for each piece of the garment along its own limb.

The garment's outline gives its landmarks (collar, shoulder tips, armpits, cuffs, hem; waist, crotch, leg hems), the
person's keypoints, labels and matte give the same places on the body. Torso, sleeves and trouser halves are bent one
by one with dense matching points along all their edges, and share the points of their seams.
"""

import numpy as np

from compile.engine import Tensors
from deployments.limb_tps.bare import bare_body, covered_arms, relief
from deployments.limb_tps.body import Body, find_body
from deployments.limb_tps.fit import fit_skirt, fit_top, fit_trousers
from deployments.limb_tps.gaps import reopened
from deployments.limb_tps.half_outline import split_halves
from deployments.limb_tps.kinds import decide, is_strapless
from deployments.limb_tps.look import sleeves, styles
from deployments.limb_tps.neckline import find_neckline, open_neck
from deployments.limb_tps.outline import measure
from deployments.limb_tps.pieces import close_gaps, close_legs, lay, pieces_of, reach_skin, soften
from deployments.limb_tps.shapes import Kind, Shape, TopShape, TrousersShape
from deployments.limb_tps.straps import strapped
from deployments.limb_tps.top_outline import evened
from deployments.limb_tps.upright import prepare
from deployments.limb_tps.worn import filled, worn_top
from deployments.roles import Category, Dressed, GarmentWarp, PiecedGarment, WarpInput
from modiste.errors import CannotFit
from modiste.image import LabelMap, RGBAImage
from modiste.labels import BodyPart
from modiste.spec import ModelSpec, Resources

LEAST_WAIST = 0.42
"""Width of the body between the arms over the shoulder width."""
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

    def postprocess(self, outputs: Tensors, x: WarpInput) -> PiecedGarment:
        body = find_body(x.person.labels, x.person.keypoints, x.person.person)
        texture, kind, shape = _garment(x)
        category: Category = "lower" if kind in {"trousers", "skirt"} else kind  # type: ignore[assignment]
        target = _fit(shape, category, body, x)
        height, width = x.person.labels.shape
        layer, pieces = lay(texture, pieces_of(shape, target), height, width)
        top = target if isinstance(target, TopShape) else None
        covered = covered_arms(body, top, x.person.labels)
        if top is not None:
            close_gaps(layer, pieces, top)
            reach_skin(layer, pieces, (covered > 0) & (x.person.labels != BodyPart.BACKGROUND), 0.04 * body.unit)
        if isinstance(target, TrousersShape):
            close_legs(layer, pieces, target, x.person.labels != BodyPart.BACKGROUND)
        soften(layer)
        reaches = [half.sleeve.reach if half.sleeve else 0.0 for half in top.halves] if top else [0.0, 0.0]
        bare = bare_body(body, x.person.labels, target)
        return PiecedGarment(
            layer=layer,
            category=category,
            pieces=pieces,
            covered=covered,
            bare=bare,
            relief=relief(body, bare),
            unit=body.unit,
            sleeve_reach=(reaches[1], reaches[0]),
        )


def _garment(x: WarpInput) -> tuple[RGBAImage, Kind, Shape]:
    """The garment's texture, kind and landmarks, from its outline or from the body of who wears it."""
    if x.wearer is not None and x.category != "lower":
        worn = find_body(x.wearer.labels, x.wearer.keypoints, x.wearer.person)
        hem = worn_hem(x.wearer, worn, x.category)
        shape = worn_top(worn, x.wearer.labels, hem)
        _check_arms(worn, x.wearer.labels, shape)
        return filled(x.garment, shape), x.category or "upper", shape
    cutout = prepare(reopened(x.garment) if x.wearer is None else x.garment, level=x.wearer is None)
    if cutout.symmetry < MIN_SYMMETRY:
        raise CannotFit("expected a garment seen straight from the front and spread out, got an uneven outline")
    chains = split_halves(cutout)
    probable = None if x.look is None else styles(x.look)
    kind = decide(chains, x.category, probable)
    # What tells sleeves of tops apart was not learnt on dresses.
    length = None if probable is None or kind == "dress" else sleeves(probable)
    if kind in (None, "upper", "dress"):
        if kind != "dress" and length in ("none", None) and is_strapless(chains):
            cutout, strappy = strapped(cutout, chains)
            return cutout.texture, kind or "upper", strappy
        cutout = cutout if length == "none" else evened(cutout, chains)
    kind, flat = measure(cutout, kind, sleeves=length)
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
        hint = border if category == "upper" else None
        top = fit_top(shape, body, hint, own_length=x.tuck == "out", dress=category == "dress")
        _check_arms(body, x.person.labels, top)
        _check_waist(body)
        return top
    usual = hip_row - 0.42 * body.unit
    row = border if border is not None else usual
    if row < usual:
        # Over a bare belly the new waistband lies where the old one does.
        worn = np.flatnonzero(
            np.mean(x.person.labels[:, _middle_columns(body)] == BodyPart.LOWER_GARMENT, axis=1) > 0.5
        )
        row = float(worn[0]) if len(worn) and row < worn[0] < hip_row else usual
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
        inside = np.minimum(points[:, 0] - body.side(0, points[:, 1]), body.side(1, points[:, 1]) - points[:, 0])
        across = (inside > 0.1 * body.unit) & (points[:, 1] < body.hips[:, 1].max() + 0.1 * body.unit)
        x = np.clip(points[:, 0].astype(int), 0, labels.shape[1] - 1)
        y = np.clip(points[:, 1].astype(int), 0, labels.shape[0] - 1)
        bare = float(np.mean(labels[y, x] == part))
        elbow, wrist = body.arms[side].axis[len(body.arms[side].axis) // 2], body.arms[side].axis[-1]
        if wrist[1] < elbow[1]:
            raise CannotFit("expected arms that hang down or rest on the hips, got a raised one")
        sleeve = top.halves[side].sleeve
        kept = bare > 0.6 and (sleeve is None or sleeve.reach < 1.0)
        if float(np.mean(across)) > 0.25 and not kept:
            raise CannotFit("expected arms beside the body, got an arm across it")


def _check_waist(body: Body) -> None:
    """Refuse arms held so close before the body that little of it shows between them."""
    rows = max(2, int(body.hips[:, 1].mean()) - body.top)
    width = (body.sides[1] - body.sides[0])[: rows * 2 // 3]
    if float(width.min()) < LEAST_WAIST * body.unit:
        raise CannotFit("expected arms beside the body, got arms that hide its sides")


def waistline(person: Dressed, body: Body) -> float | None:
    """Row where the upper garment ends in front, None where the photo does not show it."""
    centre = (body.armpits[0] + body.armpits[1]) / 2
    block = person.labels[int(centre[1]) :, _middle_columns(body)]
    if block.size == 0:
        return None
    upper = block == BodyPart.UPPER_GARMENT
    last = block.shape[0] - 1 - np.argmax(upper[::-1], axis=0)
    row = float(np.median(last[upper.any(axis=0)])) if upper.any() else None
    if row is None or row >= block.shape[0] - 3:
        return None
    return row + int(centre[1])


def _middle_columns(body: Body) -> slice:
    centre, half = float(body.armpits[0][0] + body.armpits[1][0]) / 2, 0.16 * body.unit
    return slice(max(0, int(centre - half)), max(1, int(centre + half)))
