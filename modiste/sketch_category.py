"""What kind of garment an outline is, by a small network over its filled silhouette.

One hidden layer over 24 x 24 cells, trained by `python -m deployments.pix2pix_garment.train_category` on the
silhouettes of the garments that the painter there was trained on.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.labels import SketchCategory

CATEGORIES: tuple[SketchCategory, ...] = get_args(SketchCategory)
GRID = 24
WEIGHTS = Path(__file__).with_name("sketch_category.npz")
REACHES = (1, 2, 3, 5, 7)
"""Gaps in the outline that are bridged, half of their width in pixels, smallest first."""
CLOSED = 0.8
"""Share of what the widest bridges enclose, from which on an outline counts as closed."""

Bits = NDArray[np.bool_]
Floats = NDArray[np.float32]


class Network(NamedTuple):
    """hidden: [577, H], output: [H + 1, 5]; the last row of each is its bias"""

    hidden: Floats
    output: Floats

    def __call__(self, cells: Floats) -> Floats:
        """cells: [N, 576], -1 outside to 1 inside; returns logits [N, 5]"""
        between = np.maximum(cells @ self.hidden[:-1] + self.hidden[-1], 0)
        return np.asarray(between @ self.output[:-1] + self.output[-1], np.float32)


def guess(edges: Floats) -> SketchCategory:
    """The kind of garment that a normalised sketch shows.

    edges: float32 [128, 128], 1 on a line; the drawing centred, its longer side 112
    """
    return CATEGORIES[int(trained()(coarse(filled(edges > 0))[None])[0].argmax())]


def filled(lines: Bits) -> Bits:
    """What an outline encloses, together with its lines; small gaps in it are bridged.

    lines, returns: bool [S, S]
    """
    areas = []
    for reach in REACHES:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach - 1, 2 * reach - 1))
        drawn = cv2.dilate(np.pad(lines, reach).astype(np.uint8), disc)
        _, outside, _, _ = cv2.floodFill(1 - drawn, None, (0, 0), 2)
        kept = cv2.erode((outside != 2).astype(np.uint8), disc)[reach:-reach, reach:-reach]
        areas.append((kept > 0) | lines)
    enough = CLOSED * areas[-1].sum()
    return np.asarray(next(area for area in areas if area.sum() >= enough))


def coarse(inside: Bits) -> Floats:
    """[S, S] -> [576]: how far each of 24 x 24 cells is inside, -1 to 1."""
    share = cv2.resize(inside.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(share.ravel() * 2 - 1, np.float32)


@cache
def trained() -> Network:
    with np.load(WEIGHTS) as weights:
        return Network(weights["hidden"].astype(np.float32), weights["output"].astype(np.float32))
