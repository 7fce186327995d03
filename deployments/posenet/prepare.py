"""A picture as PoseNet wants it, and PoseNet's people as OpenPose would have said them."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.kit import Arrays, difference
from deployments.networks import Procedure
from deployments.posenet.decode import NAMES, Floats
from modiste.image import Keypoints, RGBImage
from modiste.labels import BODY_25, JOINT


def prepare(picture: RGBImage, stride: int, zoom: float = 1.0) -> tuple[NDArray[np.float32], Floats]:
    """The network's input, and what its points are multiplied by.

    zoom:    of the picture, before its sides are rounded down to a multiple of the stride and 1 more
    returns: [1, 3, H, W] RGB, -1 to 1; (y, x) pixels of the picture per pixel of the input
    """
    height, width = picture.shape[:2]
    size = tuple(int(side * zoom) // stride * stride + 1 for side in (width, height))
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    scaled = np.asarray(resized, np.float32) * np.float32(2 / 255) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]), np.array([height / size[1], width / size[0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a picture lies in a square input. corner: (y, x) of its top left; back: (y, x) picture pixels per pixel."""

    corner: Floats
    back: Floats


def placed(height: int, width: int, side: int) -> tuple[tuple[int, int], Placement]:
    """Width and height of a picture in the middle of a square, as large as fits, and where it lies there."""
    scale = side / max(height, width)
    tall, wide = (max(1, round(edge * scale)) for edge in (height, width))
    corner = np.array([(side - tall) // 2, (side - wide) // 2], np.float64)
    return (wide, tall), Placement(corner=corner, back=np.array([height / tall, width / wide]))


def squared(picture: RGBImage, side: int) -> NDArray[np.float32]:
    """The network's input where all are of one size, [1, 3, side, side] RGB, -1 to 1; black around the picture.

    side: a multiple of the stride and 1 more
    """
    size, placement = placed(picture.shape[0], picture.shape[1], side)
    top, left = placement.corner.astype(int)
    square = np.zeros((side, side, 3), np.float32)
    square[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    scaled = square * np.float32(2 / 255) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


_SOURCES = tuple((JOINT[name], NAMES.index(name)) for name in BODY_25 if name in NAMES)
_BETWEEN = (("neck", "left_shoulder", "right_shoulder"), ("mid_hip", "left_hip", "right_hip"))


def body_25(points: Floats, scores: Floats, scale: Floats, least: float = 0.1) -> Keypoints:
    """One person's keypoints as OpenPose has them.

    points: [17, 2] (y, x) of the input; scores: [17]; scale: see `prepare`
    least:  keypoints of smaller scores are not seen
    """
    seen = scores >= least
    found = np.zeros((len(BODY_25), 3), np.float32)
    targets, sources = np.array(_SOURCES).T
    found[targets, :2] = (points * scale)[sources, ::-1] * seen[sources, None]
    found[targets, 2] = scores[sources] * seen[sources]
    for name, *sides in _BETWEEN:
        both = found[[JOINT[side] for side in sides]]
        if both[:, 2].all():
            found[JOINT[name]] = (*both[:, :2].mean(0), both[:, 2].min())
    return Keypoints(found)


def _reproduce(arrays: Arrays) -> Mapping[str, float]:
    picture, expected = RGBImage(arrays["bgr"][:, :, ::-1]), arrays["tensor"].shape
    # The kit does not say the stride, but the size of its tensor does.
    tried = [prepare(picture, stride) for stride in (16, 8, 32)]
    tensor, scale = next((result for result in tried if result[0].shape == expected), tried[0])
    return {"tensor": difference(arrays["tensor"], tensor), "scale": difference(arrays["scale"], scale)}


PREPARATION = Procedure(knows=lambda names: {"bgr", "tensor", "scale"} <= names, reproduce=_reproduce)
