"""A garment cut-out made ready to measure: one piece, upright, at working size."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.errors import NoGarment
from modiste.image import Mask, RGBAImage

WORK_SIZE = 900
"""Long side of the prepared cut-out, pixels."""
SYMMETRY_SIZE = 96
TILTS = np.arange(-24, 25, 3)
MARGIN = 0.06
EDGE = 150
"""Matte value at which cloth ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutout:
    """texture: upright garment, straight alpha; mask: its one solid piece; axis: x of its middle line;
    symmetry: 0-1, overlap with its own mirror image."""

    texture: RGBAImage
    mask: Mask
    axis: float
    symmetry: float


def prepare(garment: RGBAImage, *, level: bool) -> Cutout:
    """Keep the largest piece, turn it upright by its own symmetry, crop and scale.

    level:  False leaves the rotation alone (garments cut from a worn picture)
    raises: NoGarment
    """
    alpha = garment[..., 3]
    solid = _largest_piece(alpha)
    share = float(np.count_nonzero(solid)) / solid.size
    if share < 0.02:
        raise NoGarment(f"expected a garment that fills at least 2 % of its picture, got {share:.1%}")
    if share > 0.97:
        raise NoGarment("expected a garment that stands out from its background, got one without an outline")
    tilt, _, _ = _best_mirror(solid, TILTS if level else np.zeros(1))
    texture, mask = _turn(garment, solid, float(tilt))
    _, offset, symmetry = _best_mirror(mask, np.zeros(1))
    left, _, width, _ = cv2.boundingRect(mask)
    return Cutout(texture=texture, mask=mask, axis=left + width / 2 + offset, symmetry=symmetry)


def mirrored(cutout: Cutout, side: int, beyond: float) -> Cutout:
    """The other half replaced by the mirror image of one: a sleeve that is folded away lies as its fellow does.

    side: 0 keeps the left, 1 the right half; beyond: pixels from the middle line up to which cloth that is there stays
    """
    height, width = cutout.mask.shape
    reach = int(max(cutout.axis, width - cutout.axis)) + 1
    columns = np.arange(2 * reach + 1) - reach
    wide = cv2.warpAffine(
        cutout.texture, np.array([[1, 0, reach - cutout.axis], [0, 1, 0]], np.float32), (2 * reach + 1, height)
    )
    solid = cv2.warpAffine(
        cutout.mask, np.array([[1, 0, reach - cutout.axis], [0, 1, 0]], np.float32), (2 * reach + 1, height)
    )
    other = columns > 0 if side == 0 else columns < 0
    mask = np.where(other, solid[:, ::-1], solid)
    outer = np.clip((np.abs(columns) - beyond) / 12 + 0.5, 0, 1) * other
    share = np.maximum(outer, np.where(other, 1 - wide[..., 3].astype(np.float32) / 255, 0))[..., None]
    mixed = wide * (1 - share) + wide[:, ::-1] * share
    mixed[..., 3] = np.where(other, wide[:, ::-1, 3], wide[..., 3])
    return replace(
        cutout,
        texture=RGBAImage(np.rint(mixed).astype(np.uint8)),
        mask=Mask(np.where(mask > 127, 255, 0).astype(np.uint8)),
        axis=float(reach),
        symmetry=1.0,
    )


def _largest_piece(alpha: NDArray[np.uint8]) -> Mask:
    solid = (alpha > EDGE).astype(np.uint8)
    # Hanger hooks, tags and threads are thinner than any sleeve.
    size = max(3, round(0.012 * max(alpha.shape)) | 1)
    opened = cv2.morphologyEx(solid, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        raise NoGarment("expected a picture of one garment, got none")
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = int(np.argmax(areas)) + 1
    if areas.size > 1 and np.partition(areas, -2)[-2] > 0.35 * areas.max():
        raise NoGarment("expected a picture of one garment, got several separate ones")
    piece = (pieces == largest).astype(np.uint8)
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(piece)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    # Gaps between a sleeve and the torso stay open; pin holes of the matte are closed.
    holes = cv2.connectedComponentsWithStats(filled - piece)
    small = np.isin(holes[1], 1 + np.flatnonzero(holes[2][1:, cv2.CC_STAT_AREA] < 0.004 * piece.sum()))
    return Mask(((piece > 0) | small).astype(np.uint8) * 255)


def _best_mirror(mask: Mask, tilts: NDArray[np.int_] | NDArray[np.float64]) -> tuple[float, float, float]:
    """Tilt in degrees, shift of the axis from the box's centre in pixels, overlap 0-1."""
    scale = SYMMETRY_SIZE / max(mask.shape)
    small = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pad = SYMMETRY_SIZE // 3
    small = np.pad(small, pad)
    ys, xs = np.nonzero(small > 127)
    centre = (float(xs.mean()), float(ys.mean()))
    best = (0.0, 0.0, -1.0)
    for tilt in tilts:
        matrix = cv2.getRotationMatrix2D(centre, float(tilt), 1.0)
        turned = cv2.warpAffine(small, matrix, small.shape[::-1]) > 127
        columns = np.flatnonzero(turned.any(axis=0))
        middle = (columns[0] + columns[-1]) / 2
        for shift in np.arange(-8, 9):
            axis = middle + shift / 2
            mirrored = _mirror(turned, axis)
            union = int(np.count_nonzero(turned | mirrored))
            overlap = int(np.count_nonzero(turned & mirrored)) / max(1, union)
            # A straight garment stays straight: small tilts must pay for themselves.
            score = overlap - 0.0012 * abs(float(tilt))
            if score > best[2]:
                best = (float(tilt), float(shift / 2 / scale), float(score))
    return best


def _mirror(mask: NDArray[np.bool_], axis: float) -> NDArray[np.bool_]:
    columns = np.round(2 * axis - np.arange(mask.shape[1])).astype(int)
    inside = (columns >= 0) & (columns < mask.shape[1])
    mirrored = np.zeros_like(mask)
    mirrored[:, inside] = mask[:, columns[inside]]
    return mirrored


def _turn(garment: RGBAImage, solid: Mask, tilt: float) -> tuple[RGBAImage, Mask]:
    """Rotate, crop to the garment with a margin and scale to WORK_SIZE; colour is carried premultiplied."""
    height, width = solid.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), tilt, 1.0)
    points = cv2.findNonZero(solid).reshape(-1, 2).astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    low, high = points.min(axis=0), points.max(axis=0)
    longest = float((high - low).max())
    scale = WORK_SIZE / (longest * (1 + 2 * MARGIN))
    matrix = scale * np.column_stack([matrix[:, :2], matrix[:, 2] - low + MARGIN * longest])
    size = tuple(int(np.ceil(v)) for v in scale * (high - low + 2 * MARGIN * longest))
    kept = cv2.dilate(solid, np.ones((5, 5), np.uint8))
    colour = np.dstack([garment[..., :3], np.minimum(garment[..., 3], kept)])
    if scale < 0.5:
        factor = scale * 1.5
        colour = cv2.resize(colour, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        to_full = np.array([[1 / factor, 0, 0.5 / factor - 0.5], [0, 1 / factor, 0.5 / factor - 0.5], [0, 0, 1]])
        matrix = matrix @ to_full
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    colour[..., :3] = _clean_edge(colour)
    texture = cv2.warpAffine(colour, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    # Cloth has no soft edge: the matte says where it ends, slightly generously.
    soft = cv2.warpAffine(colour[..., 3], matrix, size, flags=cv2.INTER_CUBIC)
    mask = (cv2.GaussianBlur(soft, (0, 0), max(1.0, 0.5 * scale)) > EDGE).astype(np.uint8) * 255
    rim = max(5, 2 * round(1.3 * scale) + 1)
    mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim)))
    texture[..., 3] = cv2.GaussianBlur(mask, (0, 0), 1.2)
    return RGBAImage(texture), _largest_piece(mask)


def _clean_edge(cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours along the outline replaced by those further inside: no background shines through."""
    size = max(3, round(0.008 * max(cutout.shape)) | 1)
    inner = cv2.erode((cutout[..., 3] > EDGE).astype(np.uint8), np.ones((size, size), np.uint8))
    if not inner.any():
        return cutout[..., :3]
    _, nearest = cv2.distanceTransformWithLabels(1 - inner, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(inner)
    at = np.zeros((int(nearest.max()) + 1, 2), np.intp)
    at[nearest[rows, columns]] = np.stack([rows, columns], 1)
    source = at[nearest]
    cleaned: NDArray[np.uint8] = cutout[..., :3][source[..., 0], source[..., 1]]
    return cleaned
