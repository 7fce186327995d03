"""Which pixels of the target are replaced."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.roles import FaceView
from modiste.face_mesh import LEFT_BROW, LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_BROW, RIGHT_EYE
from modiste.image import LabelMap, Mask
from modiste.labels import FacePart as F

FACE = (
    F.SKIN, F.LEFT_BROW, F.RIGHT_BROW, F.LEFT_EYE, F.RIGHT_EYE, F.NOSE, F.MOUTH, F.UPPER_LIP, F.LOWER_LIP,
)  # fmt: skip
"""What a face is made of; everything else may be in front of it."""
SKIN = (F.SKIN, F.NOSE)
FOREHEAD = (
    127, 162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389, 356,
    383, 300, 293, 334, 296, 336, 9, 107, 66, 105, 63, 70, 156,
)  # fmt: skip
"""From temple to temple along the hairline, and back over the brows."""
TEMPLES = (
    (127, 234, 93, 132, 177, 147, 123, 116, 143, 156, 70),
    (356, 454, 323, 361, 401, 376, 352, 345, 372, 383, 300),
)
"""In front of each ear, from the temple to the corner of the jaw."""
_STRAND = 0.07
"""Darkening of the forehead, in logarithms of brightness, from which on it is taken for hair; at twice that, surely."""
_BROWS_SEEN = 0.9
"""Share of the source's brows that must be free of hair."""
LENS_REACH = 0.05
"""How far around an eye a lens is replaced, in widths of the face."""


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
    """Without specks and threads thinner than the radius, and without holes smaller than a disc of it."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(radius)) + 1,) * 2)
    count, marked, measures, _ = cv2.connectedComponentsWithStats((~inside).astype(np.uint8), connectivity=8)
    small = np.zeros(count, np.bool_)
    small[1:] = measures[1:, cv2.CC_STAT_AREA] < 4 * radius**2
    filled = inside | small[marked]
    return np.asarray(cv2.morphologyEx(filled.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0, np.bool_)


def grown(inside: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    size = 2 * max(1, round(radius)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate(inside.astype(np.uint8), kernel) > 0, np.bool_)


def replaced(target: FaceView, points: NDArray[np.float32], width: float) -> NDArray[np.bool_]:
    """The oval of the mesh where the parsing sees a face: hair, hat, hands stay, and so does the frame of glasses.

    Behind clear lenses the eyes are replaced: the part of the glasses where old or new eyes are seen.
    """
    shape = (target.labels.shape[0], target.labels.shape[1])
    oval = polygon(target.landmarks, OVAL, shape) > 127
    face = opened(is_any(target.labels, FACE), width * 0.015)
    glasses = is_any(target.labels, (F.GLASSES,))
    if glasses.any():
        seen = np.zeros(shape, np.bool_)
        for eye in (LEFT_EYE, RIGHT_EYE):
            opening = (polygon(target.landmarks, eye, shape) > 0) | (polygon(points, eye, shape) > 0)
            seen |= grown(opening, width * LENS_REACH) & (not _dark(target, eye, shape))
        face |= glasses & seen
    return oval & face


def features(
    points: NDArray[np.float32], target: NDArray[np.float32], shape: tuple[int, int], width: float
) -> NDArray[np.bool_]:
    """Eyes, brows and mouth of either face with a margin: where colour says nothing about the light."""
    drawn = _brow(points, shape) | _brow(target, shape)
    for loop in (LEFT_EYE, RIGHT_EYE, LIPS_OUTER):
        drawn |= (polygon(points, loop, shape) > 0) | (polygon(target, loop, shape) > 0)
    return grown(drawn, width * 0.02)


def brows_to_keep(
    clean: NDArray[np.bool_], points: NDArray[np.float32], target: NDArray[np.float32], width: float
) -> NDArray[np.bool_]:
    """Both brows of the target, where hair covers a brow of the source: half of one and half of the other would show.

    clean: where the source, already in place, shows a face
    """
    ours = _brow(points, clean.shape)
    if float(clean[ours].mean() if ours.any() else 1.0) > _BROWS_SEEN:
        return np.zeros(clean.shape, np.bool_)
    return grown(ours | _brow(target, clean.shape), width * 0.03)


def _brow(mesh: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Both brows."""
    band = np.zeros(shape, np.uint8)
    for brow in (LEFT_BROW, RIGHT_BROW):
        cv2.fillConvexPoly(band, cv2.convexHull(np.rint(mesh[list(brow), :2]).astype(np.int32)), 1)
    return np.asarray(band > 0, np.bool_)


def strands(
    face: NDArray[np.float32],
    target: NDArray[np.uint8],
    points: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    width: float,
) -> NDArray[np.float32]:
    """Forehead and temples where the new face is darker than skin would be: hair that no parser saw. [H, W], 0-1."""
    shape = (face.shape[0], face.shape[1])
    bare = np.maximum.reduce([polygon(landmarks, loop, shape) for loop in (FOREHEAD, *TEMPLES)]) > 127
    bare &= ~grown(_brow(points, shape), width * 0.03)
    sigma = max(0.6, width * 0.006)
    new, old = (
        np.log(cv2.GaussianBlur(np.asarray(i, np.float32).mean(axis=2), (0, 0), sigma) + 8) for i in (face, target)
    )
    darker = np.clip((old - new - _STRAND) / _STRAND, 0, 1) * bare
    return np.asarray(cv2.GaussianBlur(cv2.dilate(darker, np.ones((3, 3))), (0, 0), sigma * 1.5), np.float32)


def _dark(target: FaceView, eye: tuple[int, ...], shape: tuple[int, int]) -> bool:
    """Sunglasses: what is seen in the eye's place is far darker than the face, all of it."""
    brightness = target.image.astype(np.float32).mean(axis=2)
    opening = grown(polygon(target.landmarks, eye, shape) > 0, 2)
    skin = is_any(target.labels, SKIN)
    if not skin.any():
        return True
    return float(np.percentile(brightness[opening], 75)) < 0.5 * float(np.median(brightness[skin]))
