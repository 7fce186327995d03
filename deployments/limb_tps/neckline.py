"""The front edge of the neck opening: what shows above it is the inside of the back, which a neck hides."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.limb_tps.shapes import Polyline, TopShape, length
from deployments.limb_tps.upright import Cutout
from modiste.image import RGBAImage

DEPTHS = np.arange(0.06, 0.44, 0.02)
"""Depth of the opening below the collar points, over the shoulder width."""
ROUNDNESS = (1.0, 1.5, 2.0, 3.0)
"""Exponent of the curve: 1 a V, 2 a round neck, 3 a square one."""
DEEP = 0.3
"""Depth from which on only a V is an opening, over the shoulder width."""
SHARES = (1.0, 0.78, 0.56)
"""Width of the opening over the distance between the collar points; less than 1 leaves the collar beside it."""
STRAP = 0.16
"""Widest strap over the shoulder width."""
USUAL_DEPTH = 0.14
HOOD = 0.3
"""Height above the collar points, over the shoulder width, from which on a collar is a hood."""
STANDING = 0.12
"""How much of a hood stays, over the shoulder width: the rest lies behind the head."""
FAINT = 7.0
"""Colour step in Lab units under which no edge is seen."""


def find_neckline(cutout: Cutout, shape: TopShape) -> TopShape:
    """Replace the outline's top edge between the collar points by the front edge of the opening."""
    first, last = shape.halves[0].shoulder[0], shape.halves[1].shoulder[0]
    if any(half.sleeve is None and length(half.shoulder) < STRAP * shape.unit for half in shape.halves):
        return shape  # between straps the outline itself is the opening
    width = shape.shoulder_width
    lab = cv2.cvtColor(np.ascontiguousarray(cutout.texture[..., :3]), cv2.COLOR_RGB2LAB).astype(np.float32)
    lab = cv2.GaussianBlur(lab, (0, 0), 0.012 * width)
    band = max(2.0, 0.03 * width)
    outline_dip = float(np.max(_below(shape.collar, first, last))) / width
    cloth = _cloth(lab, shape, width)
    # Under a hood the opening is small, and what the hood hides is no edge of it.
    hooded = float(np.min(_below(shape.collar, first, last))) < -HOOD * width
    found = []
    for depth in DEPTHS[(outline_dip - 0.02 <= DEPTHS) & ((0.16 if hooded else 1.0) >= DEPTHS)]:
        lines = [
            _curve(first, last, depth * width, roundness, share)
            for roundness in (ROUNDNESS if depth < DEEP else ROUNDNESS[:1])
            for share in SHARES
        ]
        steps = [
            _step(lab, cutout.texture[..., 3], line[3:-3], band) * _lining(lab, line, first, last, cloth)
            for line in lines
        ]
        best = int(np.argmax(steps))
        found.append((steps[best], lines[best]))
    strongest = max((step for step, _ in found), default=0.0)
    if strongest < FAINT:
        curve = _curve(first, last, max(USUAL_DEPTH, outline_dip) * width, 2.0, 1.0)
    else:
        # In a pattern every stripe is an edge; the neckline is the first of the strong ones.
        curve = next(line for step, line in found if step >= 0.8 * strongest)
    # What stands above the opening of a hood lies behind the head.
    collar = _curve(first, last, 0.0, 1.0, 1.0) if hooded else shape.collar
    return replace(shape, collar=collar, neckline=curve)


def _curve(first: Polyline, last: Polyline, depth: float, roundness: float, share: float) -> Polyline:
    t = np.linspace(-1, 1, 21)
    chord = first + (last - first) * ((t * share + 1) / 2)[:, None]
    across = (last - first) / max(float(np.linalg.norm(last - first)), 1.0)
    down = np.array([-across[1], across[0]])
    line: Polyline = (chord + down * (depth * (1 - np.abs(t) ** roundness))[:, None]).astype(np.float32)
    return line


def _below(line: Polyline, first: Polyline, last: Polyline) -> NDArray[np.float32]:
    across = (last - first) / max(float(np.linalg.norm(last - first)), 1.0)
    offset: NDArray[np.float32] = (line - first) @ np.array([-across[1], across[0]], np.float32)
    return offset


def _step(lab: NDArray[np.float32], alpha: NDArray[np.uint8], line: Polyline, band: float) -> float:
    """Colour difference across the curve that most of its length shows, in Lab units."""
    sides = [_read(lab, line + np.array([0, offset], np.float32)) for offset in (-band, band)]
    here = _read(alpha, line + np.array([0, band], np.float32))
    difference = np.linalg.norm(sides[0] - sides[1], axis=1) * (here > 127)
    return float(np.quantile(difference, 0.3))


def _cloth(lab: NDArray[np.float32], shape: TopShape, width: float) -> NDArray[np.float32]:
    """Median colour of the chest."""
    middle = (shape.halves[0].armhole[-1] + shape.halves[1].armhole[-1]) / 2
    x, y, r = int(middle[0]), int(middle[1]), max(2, int(0.22 * width))
    patch = lab[max(0, y - r // 2) : y + r, max(0, x - r) : x + r].reshape(-1, 3)
    return np.asarray(np.median(patch, axis=0), np.float32)


def _lining(
    lab: NDArray[np.float32], line: Polyline, first: Polyline, last: Polyline, cloth: NDArray[np.float32]
) -> float:
    """0.05-1: how far what lies above the curve differs from the front's cloth."""
    chord = first + (last - first) * np.linspace(0, 1, len(line))[:, None]
    inside = np.concatenate([line + (chord - line) * share for share in (0.25, 0.5, 0.75)]).astype(np.float32)
    colours = _read(lab, inside)
    return float(np.clip(np.quantile(np.linalg.norm(colours - cloth, axis=1), 0.3) / 18, 0.05, 1.0))


def _read(picture: NDArray[Any], points: Polyline) -> NDArray[Any]:
    """[H, W, ...] at [K, 2] -> [K, ...]"""
    x, y = np.ascontiguousarray(points[None, :, 0]), np.ascontiguousarray(points[None, :, 1])
    read: NDArray[Any] = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return read


def open_neck(texture: RGBAImage, shape: TopShape) -> RGBAImage:
    """Cut away what lies above the front edge between the collar points, and a hood."""
    line = shape.neckline
    top = -float(texture.shape[0])
    hole = np.concatenate([line, [[line[-1, 0], top], [line[0, 0], top]]])
    mask = np.zeros(texture.shape[:2], np.uint8)
    ends = np.stack([half.shoulder[0] for half in shape.halves])
    mask[: max(0, int(ends[:, 1].min() - STANDING * shape.unit))] = 255
    cv2.fillPoly(mask, [np.round(hole * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    opened = texture.copy()
    opened[..., 3] = np.minimum(texture[..., 3], 255 - mask)
    return RGBAImage(opened)
