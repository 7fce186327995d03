"""From a face parser's classes to a label map: the picture's own size, and which side of the face a part is on."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import LabelMap
from modiste.labels import FacePart

PAIRS: Final = (
    (FacePart.LEFT_BROW, FacePart.RIGHT_BROW),
    (FacePart.LEFT_EYE, FacePart.RIGHT_EYE),
    (FacePart.LEFT_EAR, FacePart.RIGHT_EAR),
)


def largest(logits: NDArray[np.float32], height: int, width: int) -> LabelMap:
    """Class of the largest logit, after each class was brought to the given size.

    logits:  [C, h, w]
    returns: [height, width]
    """
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.uint8)
    for part, plane in enumerate(logits):
        if part and plane.max() < logits[0].min():
            continue  # nowhere near winning
        here = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
        wins = here > best
        np.copyto(best, here, where=wins)
        labels[wins] = part
    return LabelMap(labels)


def by_side(labels: LabelMap) -> LabelMap:
    """Tell left from right parts: the person's left is right of the nose in an upright picture.

    "Right of" is measured across the line from mouth to eyes, so that a tilted head keeps its sides.
    """
    paired = [part for pair in PAIRS for part in pair]
    if not np.isin(labels, paired).any():
        return labels
    eyes, mouth = _centre(labels, paired[:4]), _centre(labels, [FacePart.MOUTH, FacePart.UPPER_LIP, FacePart.LOWER_LIP])
    up = np.array([0.0, -1.0]) if eyes is None or mouth is None else eyes - mouth
    across = np.array([-up[1], up[0]])  # points to the person's left
    origin = _bridge(labels, up)
    if origin is None:
        origin = eyes
    if origin is None:
        origin = np.array([(labels.shape[1] - 1) / 2, (labels.shape[0] - 1) / 2])
    result = labels.copy()
    for left, right in PAIRS:
        rows, columns = np.nonzero((labels == left) | (labels == right))
        is_left = (np.column_stack([columns, rows]) - origin) @ across > 0
        result[rows, columns] = np.where(is_left, left, right)
    return LabelMap(result)


def _centre(labels: LabelMap, parts: list[FacePart]) -> NDArray[np.float64] | None:
    """(x, y), or nothing where none of the parts is there."""
    rows, columns = np.nonzero(np.isin(labels, parts))
    return np.array([columns.mean(), rows.mean()]) if len(rows) else None


def _bridge(labels: LabelMap, up: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The upper third of the nose, which stays between the eyes when a head turns."""
    rows, columns = np.nonzero(labels == FacePart.NOSE)
    if len(rows) == 0:
        return None
    points = np.column_stack([columns, rows]).astype(np.float64)
    height = points @ up
    bridge: NDArray[np.float64] = points[height >= np.quantile(height, 0.67)].mean(axis=0)
    return bridge
