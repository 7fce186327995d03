"""Garment pieces bent onto the body one by one and laid over each other without cracks.

Neighbouring pieces share the points of their common seam, and each is cut with an overlap: where both lie, both show
the same cloth.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.limb_tps.shapes import Polyline, Shape, SkirtShape, TopShape, TrousersShape, resample
from deployments.limb_tps.spline import backward_map
from modiste.geometry import Box
from modiste.image import LabelMap, RGBAImage

TORSO, LEFT_PIECE, RIGHT_PIECE = 1, 2, 3
"""Values of the piece map; left and right as seen by the viewer."""


MOST_DRAWN = 1.15
"""How much slimmer than laid flat the front of a garment is made before its sides go around the body."""
NARROWEST = 0.72
"""Least share of the front's width that is seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """target, source: matching points; cut, area: closed outlines on the garment and on the person."""

    value: int
    target: Polyline
    source: Polyline
    cut: Polyline
    area: Polyline


def wrapped(garment: TopShape, body: TopShape) -> TopShape:
    """The part of a wide garment's front that is seen: the rest goes around the body's sides.

    Without it cloth much wider and shorter than the body would be squeezed and drawn out.
    """
    slimness = [
        float(shape.hem[:, 1].mean() - shape.collar[[0, -1], 1].mean())
        / max(float(np.linalg.norm(shape.halves[0].side[0] - shape.halves[1].side[0])), 1.0)
        for shape in (body, garment)
    ]
    share = float(np.clip(MOST_DRAWN * slimness[1] / max(slimness[0], 1e-3), NARROWEST, 1.0))
    centre = float(np.mean([half.side[0, 0] for half in garment.halves]))

    def inward(line: Polyline, amount: NDArray[np.float64]) -> Polyline:
        moved = line.copy()
        moved[:, 0] = centre + (line[:, 0] - centre) * (1 - (1 - share) * amount)
        return moved

    halves = tuple(
        replace(
            half,
            armhole=inward(half.armhole, np.linspace(0, 1, len(half.armhole))),
            side=inward(half.side, np.ones(len(half.side))),
        )
        for half in garment.halves
    )
    return replace(garment, halves=(halves[0], halves[1]), hem=inward(garment.hem, np.ones(len(garment.hem))))


def top_pieces(garment: TopShape, body: TopShape) -> list[Piece]:
    """Torso first, then the sleeves that lie over it."""
    front = wrapped(garment, body)
    pieces = [
        Piece(
            value=TORSO,
            target=_torso_points(body),
            source=_torso_points(front),
            cut=_torso_outline(front),
            area=_torso_outline(body),
        )
    ]
    for side, value in ((0, LEFT_PIECE), (1, RIGHT_PIECE)):
        there, here = garment.halves[side].sleeve, body.halves[side].sleeve
        if there is None or here is None:
            continue
        pieces.append(
            Piece(
                value=value,
                target=_sleeve_points(here.outer, here.inner, here.seam),
                source=_sleeve_points(there.outer, there.inner, there.seam),
                cut=np.concatenate([there.seam[::-1], there.outer, there.inner[::-1]]),
                area=np.concatenate([here.seam[::-1], here.outer, here.inner[::-1]]),
            )
        )
    return pieces


def _torso_points(shape: TopShape) -> Polyline:
    left, right = shape.halves
    lines = [shape.collar, shape.neckline, shape.hem]
    for half in (left, right):
        lines += [half.shoulder, half.armhole[1:], half.side[1:]]
    # Cross lines keep stripes level between the sides.
    across = [(left.side[i] + right.side[i])[None] / 2 for i in range(0, len(left.side) - 1, 3)]
    return np.concatenate(lines + across).astype(np.float32)


def _torso_outline(shape: TopShape) -> Polyline:
    left, right = shape.halves
    return np.concatenate(
        [
            shape.collar,
            right.shoulder,
            right.armhole,
            right.side,
            shape.hem[::-1],
            left.side[::-1],
            left.armhole[::-1],
            left.shoulder[::-1],
        ]
    )


def _sleeve_points(outer: Polyline, inner: Polyline, seam: Polyline) -> Polyline:
    cuff = resample(np.stack([outer[-1], inner[-1]]), 4)[1:-1]
    middle = (outer[2:-1] + inner[2:-1]) / 2
    return np.concatenate([outer, inner, seam[1:-1], cuff, middle]).astype(np.float32)


def trousers_pieces(garment: TrousersShape, body: TrousersShape) -> list[Piece]:
    """Two halves that meet at the middle, from waist to crotch."""
    pieces = []
    for side, value in ((0, LEFT_PIECE), (1, RIGHT_PIECE)):
        points, outlines = [], []
        for shape in (body, garment):
            leg, n = shape.legs[side], len(shape.waist)
            waist = shape.waist[: n // 2 + 1] if side == 0 else shape.waist[: n // 2 - 1 : -1]
            middle = resample(np.stack([waist[-1], shape.crotch]), 6)
            hem = resample(np.stack([leg.outer[-1], leg.inner[-1]]), 5)[1:-1]
            points.append(np.concatenate([waist, leg.outer[1:], leg.inner, middle[1:-1], hem]))
            outlines.append(np.concatenate([waist, middle, leg.inner, leg.outer[::-1]]))
        pieces.append(Piece(value=value, target=points[0], source=points[1], cut=outlines[1], area=outlines[0]))
    return pieces


def skirt_pieces(garment: SkirtShape, body: SkirtShape) -> list[Piece]:
    points, outlines = [], []
    for shape in (body, garment):
        left, right = shape.sides
        across = [(left[i] + right[i])[None] / 2 for i in range(2, len(left) - 1, 3)]
        points.append(np.concatenate([shape.waist, left[1:], right[1:], shape.hem[1:-1], *across]))
        outlines.append(np.concatenate([shape.waist, right, shape.hem[::-1], left[::-1]]))
    return [Piece(value=TORSO, target=points[0], source=points[1], cut=outlines[1], area=outlines[0])]


def pieces_of(garment: Shape, body: Shape) -> list[Piece]:
    if isinstance(garment, TopShape) and isinstance(body, TopShape):
        return top_pieces(garment, body)
    if isinstance(garment, TrousersShape) and isinstance(body, TrousersShape):
        return trousers_pieces(garment, body)
    if isinstance(garment, SkirtShape) and isinstance(body, SkirtShape):
        return skirt_pieces(garment, body)
    raise TypeError(f"expected two shapes of one kind, got {type(garment).__name__} and {type(body).__name__}")


def lay(texture: RGBAImage, pieces: list[Piece], height: int, width: int) -> tuple[RGBAImage, LabelMap]:
    """Bend and stack the pieces.

    texture: the upright garment, straight alpha
    returns: [height, width, 4] layer, straight alpha; [height, width] piece map, 0 where there is no cloth
    """
    premultiplied = np.zeros((height, width, 3), np.float32)
    covered = np.zeros((height, width), np.float32)
    owner = np.zeros((height, width), np.uint8)
    for piece in pieces:
        box, colour, alpha = _bend(texture, piece, height, width)
        if box is None:
            continue
        rows, columns = slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right))
        under = 1 - alpha
        premultiplied[rows, columns] = premultiplied[rows, columns] * under[..., None] + colour * alpha[..., None]
        covered[rows, columns] = covered[rows, columns] * under + alpha
        owner[rows, columns][alpha > 0.5] = piece.value
    straight = premultiplied / np.maximum(covered, 1e-3)[..., None]
    layer = np.dstack([np.clip(straight, 0, 255), covered * 255])
    return RGBAImage(np.rint(layer).astype(np.uint8)), LabelMap(owner)


def close_gaps(layer: RGBAImage, pieces: LabelMap, target: TopShape) -> None:
    """Fill, in place, what is open between the armpits and the hem with the cloth beside it.

    Under the arms and along the sides a flat garment and its new place never match to the pixel.
    """
    left, right = target.halves
    body = np.concatenate([left.side, target.hem, right.side[::-1]])
    area = np.zeros(pieces.shape, np.uint8)
    cv2.fillPoly(area, [np.round(body).astype(np.int32)], 1)
    run_on(layer, (area > 0) & (layer[..., 3] < 250), pieces)


def close_legs(layer: RGBAImage, pieces: LabelMap, target: TrousersShape, person: NDArray[np.bool_]) -> None:
    """Fill, in place, what is open between trouser legs where the person's own legs touch."""
    left, right = target.legs
    between = np.zeros(pieces.shape, np.uint8)
    outline = np.concatenate([left.outer, right.outer[::-1]])
    cv2.fillPoly(between, [np.round(outline).astype(np.int32)], 1)
    gap = (between > 0) & person & (layer[..., 3] < 250)
    cloth = cv2.dilate((layer[..., 3] > 250).astype(np.uint8), np.ones((3, 3), np.uint8), iterations=12) > 0
    run_on(layer, gap & cloth, pieces)


def reach_skin(layer: RGBAImage, pieces: LabelMap, hidden: NDArray[np.bool_], most: float) -> None:
    """Widen sleeves, in place and by at most `most` pixels, to the edge of the arm they hide."""
    sleeves = ((pieces > TORSO) & (layer[..., 3] > 127)).astype(np.uint8)
    size = 2 * max(1, round(most)) + 1
    near = cv2.dilate(sleeves, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    rim = near & hidden & (pieces != TORSO) & (layer[..., 3] < 250)
    # The end of the sleeve stays where it is.
    run_on(layer, cv2.morphologyEx(rim.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0, pieces)


def run_on(layer: RGBAImage, gap: NDArray[np.bool_], pieces: LabelMap | None = None) -> None:
    """Make `gap` opaque with the nearest cloth, and part of its piece, in place."""
    solid = cv2.erode((layer[..., 3] > 250).astype(np.uint8), np.ones((3, 3), np.uint8))
    if not gap.any() or not solid.any():
        return
    _, nearest = cv2.distanceTransformWithLabels(1 - solid, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(solid)
    at = np.zeros((int(nearest.max()) + 1, 2), np.intp)
    at[nearest[rows, columns]] = np.stack([rows, columns], 1)
    source = at[nearest[gap]]
    opaque = layer[gap, 3:].astype(np.float32) / 255
    beside = layer[source[:, 0], source[:, 1], :3].astype(np.float32)
    layer[gap, :3] = np.rint(layer[gap, :3] * opaque + beside * (1 - opaque)).astype(np.uint8)
    layer[gap, 3] = 255
    if pieces is not None:
        pieces[gap] = np.where(pieces[gap] == 0, pieces[source[:, 0], source[:, 1]], pieces[gap])


def soften(layer: RGBAImage) -> None:
    """Anti-alias the outline after gaps were closed, in place; the rim takes the colour of the cloth inside."""
    alpha = layer[..., 3].copy()
    rim = (cv2.dilate((alpha > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & (alpha < 250)
    run_on(layer, rim)
    layer[..., 3] = cv2.GaussianBlur(alpha, (0, 0), 0.8)


def _bend(
    texture: RGBAImage, piece: Piece, height: int, width: int
) -> tuple[Box | None, NDArray[np.float32], NDArray[np.float32]]:
    span = float(np.ptp(piece.area, axis=0).max())
    margin = 0.05 * span + 4
    low, high = piece.area.min(axis=0) - margin, piece.area.max(axis=0) + margin
    box = Box(float(low[0]), float(low[1]), float(high[0]), float(high[1])).clipped(height, width)
    if box.width < 2 or box.height < 2:
        return None, np.zeros((0, 0, 3), np.float32), np.zeros((0, 0), np.float32)
    source = backward_map(piece.target, piece.source, box, smoothing=1e-4)
    # The torso is cut at the seam; what lies over it reaches across softly.
    overlap = 0.0 if piece.value == TORSO else 0.03 * float(np.ptp(piece.source, axis=0).max())
    cut = _filled(piece.cut, texture.shape[0], texture.shape[1], np.zeros(2), overlap + 1)
    if overlap:
        cut = cv2.GaussianBlur(cut, (0, 0), 0.4 * overlap)
    area = _filled(piece.area, int(box.height), int(box.width), np.array([box.left, box.top]), 0.02 * span + 3)
    shrink = float(np.ptp(piece.source, axis=0).max()) / max(span, 1.0)
    cloth = texture
    if shrink > 1.6:
        # Fine patterns would flicker when only every second pixel is read.
        cloth = RGBAImage(cv2.GaussianBlur(texture, (0, 0), 0.35 * shrink))
    x, y = source[..., 0], source[..., 1]
    colour = cv2.remap(cloth[..., :3], x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(texture[..., 3], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    inside = cv2.remap(cut, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    opacity = alpha.astype(np.float32) / 255 * np.minimum(inside, area).astype(np.float32) / 255
    return box, colour.astype(np.float32), opacity


def _filled(outline: Polyline, height: int, width: int, origin: NDArray[np.float64], grow: float) -> NDArray[np.uint8]:
    """Anti-aliased polygon, grown by some pixels."""
    mask = np.zeros((height, width), np.uint8)
    shifted = np.round((outline - origin) * 16).astype(np.int32)
    cv2.fillPoly(mask, [shifted], 255, cv2.LINE_AA, 4)
    size = 2 * int(grow) + 1
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)
