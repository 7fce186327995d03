"""Which pixels of the target are replaced."""

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.face_mesh import OVAL
from modiste.image import LabelMap, Landmarks, Mask
from modiste.labels import FacePart as F

FACE = (
    F.SKIN, F.LEFT_BROW, F.RIGHT_BROW, F.LEFT_EYE, F.RIGHT_EYE, F.NOSE, F.MOUTH, F.UPPER_LIP, F.LOWER_LIP,
)  # fmt: skip
"""What a face is made of; everything else may be in front of it."""
SKIN = (F.SKIN, F.NOSE)


def is_any(labels: LabelMap, parts: tuple[F, ...]) -> NDArray[np.bool_]:
    return np.isin(labels, [int(p) for p in parts])


def polygon(points: NDArray[np.float32], indices: tuple[int, ...], shape: tuple[int, int]) -> Mask:
    """The area enclosed by a loop of landmarks."""
    drawn = np.zeros(shape, np.uint8)
    loop = np.rint(points[list(indices), :2] * 16).astype(np.int32)
    cv2.fillPoly(drawn, [loop], 255, lineType=cv2.LINE_AA, shift=4)
    return Mask(drawn)


def soft_edge(inside: NDArray[np.bool_], width: float) -> NDArray[np.float32]:
    """0 outside and on the edge, 1 from `width` pixels inside on, smooth between."""
    t = np.clip(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / max(width, 1.0), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def opened(inside: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Without specks and threads thinner than the radius, and without holes of that size."""
    size = 2 * max(1, round(radius)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    filled = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    return np.asarray(cv2.morphologyEx(filled, cv2.MORPH_OPEN, kernel) > 0, np.bool_)


def face_area(landmarks: Landmarks, labels: LabelMap) -> NDArray[np.bool_]:
    """The oval of the mesh where the parsing sees a face: hair, hat, glasses, hands stay."""
    oval = polygon(landmarks, OVAL, (labels.shape[0], labels.shape[1])) > 127
    return oval & is_any(labels, FACE)
