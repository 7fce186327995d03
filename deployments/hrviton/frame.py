"""The part of a person's picture that HR-VITON sees: three wide and four high, head to hips, as in VITON-HD."""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.hrviton.agnostic import (
    LEFT_HIP,
    LEFT_SHOULDER,
    NECK,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    Joints,
    check,
)
from deployments.roles import Dressed
from modiste.errors import NoGarment
from modiste.geometry import Box, Matrix, transform
from modiste.image import Keypoints, LabelMap, Mask, RGBAImage, RGBImage
from modiste.labels import Clothes

TRUNK: Final = 0.42
"""From the shoulders to the hips, over the frame's height."""
SHOULDERS: Final = 0.26
"""From the frame's upper edge, over its height."""
AROUND: Final = 0.02
"""Free on each side of head, clothes and arms where they reach further, over the larger side of them all."""
FILLED: Final = 0.88
"""Of the frame's width or height, by a garment laid flat."""
OLD: Final = (Clothes.UPPER_CLOTHES, Clothes.DRESS, Clothes.COAT)
REACHING: Final = (*OLD, Clothes.LEFT_ARM, Clothes.RIGHT_ARM, Clothes.HAT, Clothes.HAIR, Clothes.FACE)


def clothes_of(person: Dressed, model: str) -> LabelMap:
    """raises: ValueError where the parser does not tell clothes apart"""
    if person.clothes is None:
        raise ValueError(f"expected clothes from the model that plays HumanParsing, got none: {model} needs them")
    return person.clothes


def joints_of(keypoints: Keypoints) -> Joints:
    """BODY_25 with (0, 0) for what is not seen; the neck is midway between the shoulders."""
    joints = np.where(keypoints[:, 2:] > 0, keypoints[:, :2], 0).astype(np.float64)
    shoulders = joints[[RIGHT_SHOULDER, LEFT_SHOULDER]]
    if not joints[NECK].any() and shoulders.any(axis=1).all():
        joints[NECK] = shoulders.mean(axis=0)
    return joints


def person_frame(joints: Joints, clothes: LabelMap, size: tuple[int, int]) -> Matrix:
    """The picture's pixels -> the frame's; size: the frame's height and width.

    Larger than in training where head, clothes or arms reach further. Inside the picture as far as that is possible.
    raises: CannotFit where a shoulder or a hip is not seen
    """
    check(joints)
    shoulders = joints[[RIGHT_SHOULDER, LEFT_SHOULDER]].mean(axis=0)
    hips = joints[[RIGHT_HIP, LEFT_HIP]].mean(axis=0)
    height, width = size
    tall = max(float(np.linalg.norm(hips - shoulders)), 1.0) / TRUNK
    middle, top = float(shoulders[0] + hips[0]) / 2, float(shoulders[1]) - SHOULDERS * tall
    box = Box(middle - tall * width / height / 2, top, middle + tall * width / height / 2, top + tall)
    rows, columns = np.nonzero(np.isin(clothes, REACHING))
    if rows.size:
        reach = Box(float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        free = AROUND * max(reach.width, reach.height)
        box = Box(
            min(box.left, reach.left - free),
            min(box.top, reach.top - free),
            max(box.right, reach.right + free),
            max(box.bottom, reach.bottom + free),
        )
    scale = min(height / box.height, width / box.width)
    left = _inside(box.centre[0], width / scale, clothes.shape[1])
    upper = _inside(box.centre[1], height / scale, clothes.shape[0])
    return np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - upper) * scale - 0.5]])


def _inside(middle: float, length: float, limit: int) -> float:
    """Where a stretch about a middle begins, moved so that it lies between 0 and the limit, or these inside it."""
    begin, last = middle - length / 2, limit - length
    return float(np.clip(begin, min(0, last), max(0, last)))


def enlarged(matrix: Matrix, factor: float) -> Matrix:
    """The same to a frame of `factor` times the size."""
    return np.asarray(matrix * factor + np.array([[0, 0, 0.5 * factor - 0.5]] * 2), np.float64)


def moved(joints: Joints, matrix: Matrix) -> Joints:
    """Into the frame; what is not seen stays (0, 0)."""
    inside = transform(joints.astype(np.float32), matrix).astype(np.float64)
    return np.where(joints.any(axis=1, keepdims=True), inside, 0)


def labels_in(labels: LabelMap, matrix: Matrix, size: tuple[int, int]) -> LabelMap:
    """Into the frame; what is at the picture's edge goes on outside, as a body does."""
    moved_labels = cv2.warpAffine(labels, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return LabelMap(np.asarray(moved_labels, np.uint8))


def brought_back(
    planes: NDArray[np.float32], matrix: Matrix, height: int, width: int, *, goes_on: bool = False
) -> NDArray[np.float32]:
    """Planes [h, w] or [h, w, C] of the frame in the picture, outside 0 or, where it goes on, as at the edge."""
    scale = float(matrix[0, 0])
    border = cv2.BORDER_REPLICATE if goes_on else cv2.BORDER_CONSTANT
    if scale > 1:
        # Pixels of the picture are the mean of what they cover.
        planes = cv2.GaussianBlur(planes, (0, 0), 0.5 * math.sqrt(scale**2 - 1) + 1e-3, borderType=cv2.BORDER_REPLICATE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(planes, matrix, (width, height), flags=flags, borderMode=border), np.float32)


def layer_of(fitted: RGBAImage, matrix: Matrix, height: int, width: int) -> RGBAImage:
    """A layer of the frame in the picture, straight alpha."""
    alpha = fitted[..., 3:].astype(np.float32)
    back = brought_back(np.dstack([fitted[..., :3] * (alpha / 255), alpha]), matrix, height, width)
    colour = back[..., :3] * 255 / np.maximum(back[..., 3:], 1)
    return RGBAImage(np.clip(np.rint(np.dstack([colour, back[..., 3:]])), 0, 255).astype(np.uint8))


def laid_flat(garment: RGBAImage, size: tuple[int, int]) -> tuple[RGBImage, Mask]:
    """A cut-out garment in the middle of a white picture, and its mask; size: the picture's height and width.

    raises: NoGarment where it is transparent everywhere
    """
    rows, columns = (np.flatnonzero((garment[..., 3] > 127).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise NoGarment("expected a garment cut out, got a picture that is transparent everywhere")
    cut = garment[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    height, width = size
    scale = FILLED * min(height / cut.shape[0], width / cut.shape[1])
    inner = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    cut[..., :3] *= cut[..., 3:] / 255
    fitted = cv2.resize(cut, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    alpha = fitted[..., 3:]
    picture, mask = np.full((height, width, 3), 255, np.uint8), np.zeros((height, width), np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    place = slice(top, top + inner[1]), slice(left, left + inner[0])
    picture[place] = np.rint(fitted[..., :3] + (255 - alpha)).clip(0, 255).astype(np.uint8)
    mask[place] = np.rint(alpha[..., 0]).astype(np.uint8)
    return RGBImage(picture), Mask(mask)
