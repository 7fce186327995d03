"""Where a face ends below: the jaw line, and whether skin under it is throat or beard."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.suit_collage.edge import Field, Flags
from modiste.image import LabelMap, Landmarks
from modiste.labels import FacePart

JAW: Final = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)
"""Mesh points along the jaw, from the ear further left over the chin to the other."""
RIGHT_EYE: Final = (33, 133)
LEFT_EYE: Final = (362, 263)
HINGES: Final = (58, 288)
CHIN: Final = 152
CHEEKS: Final = (50, 101, 280, 330)
"""Below the eyes, above any beard."""
CHIN_SIDES: Final = (32, 140, 262, 369, 199)
BEARD_HUE, BEARD_LIGHT = 9.0, 38.0
"""Lab differences of chin and cheek (8-bit scale) beyond which there may be a beard."""


def eye_distance(landmarks: Landmarks) -> float:
    """In space, so that a turned head is not taken for a narrow one."""
    eyes = [landmarks[list(corners)].mean(axis=0) for corners in (RIGHT_EYE, LEFT_EYE)]
    return float(np.linalg.norm(eyes[0] - eyes[1]))


def below_jaw(landmarks: Landmarks, height: int, width: int) -> Field:
    """[H, W]: how far below the jaw line a pixel lies, pixels; negative above it.

    Beyond its hinges the line rises towards the ears.
    """
    jaw = landmarks[list(JAW), :2]
    order = np.argsort(jaw[:, 0])
    columns = np.arange(width, dtype=np.float32)
    line = np.interp(columns, jaw[order, 0], jaw[order, 1]).astype(np.float32)
    line -= np.maximum(jaw[order[0], 0] - columns, 0) + np.maximum(columns - jaw[order[-1], 0], 0)
    return np.asarray(np.arange(height, dtype=np.float32)[:, None] - line[None], np.float32)


def bearded(image: NDArray[np.uint8], landmarks: Landmarks, labels: LabelMap) -> bool:
    """Whether the chin's colour is not that of the cheeks."""
    unit = eye_distance(landmarks)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    cheeks, chin = (skin_near(landmarks, labels, where, unit) for where in (CHEEKS, CHIN_SIDES))
    if not cheeks.any() or not chin.any():
        return False
    apart = np.median(lab[cheeks], axis=0) - np.median(lab[chin], axis=0)
    return bool(np.hypot(apart[1], apart[2]) > BEARD_HUE or abs(apart[0]) > BEARD_LIGHT)


def without_throat(image: NDArray[np.uint8], landmarks: Landmarks, labels: LabelMap) -> LabelMap:
    """Skin below the jaw is neck, unless it may be a beard.

    labels: `FacePart` [H, W], in which a double chin or a throat is often the face's skin
    """
    if bearded(image, landmarks, labels):
        return labels
    low = below_jaw(landmarks, *labels.shape) > 0.06 * eye_distance(landmarks)
    return LabelMap(np.where(low & (labels == FacePart.SKIN), FacePart.NECK, labels).astype(np.uint8))


def skin_near(landmarks: Landmarks, labels: LabelMap, points: tuple[int, ...], unit: float) -> Flags:
    """Skin around some mesh points."""
    near = np.zeros(labels.shape, np.uint8)
    for x, y in landmarks[list(points), :2]:
        cv2.circle(near, (round(float(x)), round(float(y))), max(1, round(0.12 * unit)), 1, -1)
    return np.asarray((near > 0) & (labels == FacePart.SKIN))
