"""An article, cut free of its plain background and brought to one place and size, so that pictures compare."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import Mask, RGBImage

SIDE = 224
LONG_SIDE = 196
"""Longer side of the article in the square."""
WORKING = 448
"""Longest side at which the background is looked for."""
PLAIN = 8.0
"""Largest difference in CIE Lab from the border's median for a border pixel to count as plain."""
APART = 4.0
"""Difference in CIE Lab from which on something is not background."""


class Cutout(NamedTuple):
    """image: uint8 [224, 224, 3], article on white, centred, longer side 196 px; mask: uint8 [224, 224], 255 on it"""

    image: RGBImage
    mask: Mask


def cut_out(image: RGBImage) -> Cutout:
    """Find the article by its difference from the border.

    Where the border is not plain, as in a photograph of a room, the whole picture counts as the article.
    """
    scale = min(1.0, WORKING / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mask = _article(small)
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    zoom = LONG_SIDE / max(bottom - top, right - left)
    centre = np.array([(left + right - 1) / 2, (top + bottom - 1) / 2])
    matrix = np.column_stack([np.eye(2) * zoom, (SIDE - 1) / 2 - zoom * centre])
    on_white = np.where(mask[..., None] > 0, small, 255).astype(np.uint8)
    if zoom < 0.7:  # area first, so that fine patterns do not alias
        on_white = cv2.GaussianBlur(on_white, (0, 0), 0.4 / zoom)
    placed = cv2.warpAffine(on_white, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    inside = cv2.warpAffine(mask, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return Cutout(RGBImage(placed), Mask(np.where(inside > 127, 255, 0).astype(np.uint8)))


def _article(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 on the article, holes filled; the whole picture where nothing can be told apart."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    frame = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    ground = np.median(frame, axis=0)
    plain = np.linalg.norm(frame - ground, axis=1) < PLAIN
    everything = np.full(image.shape[:2], 255, np.uint8)
    if plain.mean() < 0.7:
        return everything
    differs = (np.linalg.norm(lab - ground, axis=2) > APART).astype(np.uint8)
    closed = cv2.morphologyEx(np.pad(differs, 8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))[8:-8, 8:-8]
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max((cv2.contourArea(contour) for contour in contours), default=0.0)
    # A pair of socks is two things; dust is not.
    kept = [contour for contour in contours if cv2.contourArea(contour) >= max(0.1 * largest, 0.001 * everything.size)]
    if largest < 0.01 * everything.size:
        return everything
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.drawContours(mask, kept, -1, 255, cv2.FILLED)
    return mask
