"""BlazePose's landmark network: the region it looks at, its 39 points, and BODY_25 out of them."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.geometry import Matrix, Points, invert, similarity, transform
from modiste.image import Keypoints, RGBImage
from modiste.labels import BODY_25, JOINT

SIDE = 256
REGION_SCALE = 1.25

POINTS: Final = {
    "nose": 0,
    "left_eye": 2, "right_eye": 5,
    "left_ear": 7, "right_ear": 8,
    "left_shoulder": 11, "right_shoulder": 12,
    "left_elbow": 13, "right_elbow": 14,
    "left_wrist": 15, "right_wrist": 16,
    "left_hip": 23, "right_hip": 24,
    "left_knee": 25, "right_knee": 26,
    "left_ankle": 27, "right_ankle": 28,
    "left_heel": 29, "right_heel": 30,
    "left_big_toe": 31, "right_big_toe": 32,
}  # fmt: skip
"""BODY_25 joints that are landmarks of their own. BlazePose has one toe a foot: it stands for both."""
CENTRE, RIM = 33, 34
"""Auxiliary points that tell where to look next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """points: [39, 2] picture pixels; visibility, presence: [39], 0-1; score: 0-1, that there is a person."""

    points: Points
    visibility: NDArray[np.float32]
    presence: NDArray[np.float32]
    score: float


def region(centre: tuple[float, float], rim: tuple[float, float]) -> Matrix:
    """The square around the body with `rim` straight above `centre`: picture to 256 px crop."""
    middle, top = np.asarray(centre, np.float64), np.asarray(rim, np.float64)
    outer = middle + (top - middle) * REGION_SCALE
    source = np.stack([middle, outer]).astype(np.float32)
    target = np.array([[SIDE / 2 - 0.5, SIDE / 2 - 0.5], [SIDE / 2 - 0.5, -0.5]], np.float32)
    return similarity(source, target)


def look(image: RGBImage, matrix: Matrix) -> NDArray[np.float32]:
    """[1, 256, 256, 3] float32, 0-1; black outside the picture."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:
        # By area first: plain sampling of a large picture aliases.
        small = cv2.resize(image, None, fx=scale * 1.5, fy=scale * 1.5, interpolation=cv2.INTER_AREA)
        fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
        matrix = matrix @ np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5], [0, 0, 1]])
        image = RGBImage(small.astype(np.uint8, copy=False))
    crop = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(crop[None] / 255, np.float32)


def read(raw: NDArray[np.float32], score: float, matrix: Matrix) -> Located:
    """Network outputs to picture coordinates.

    raw: [195] = 39 x (x, y, z, visibility, presence), pixels and logits
    """
    rows = raw.reshape(39, 5)
    visibility, presence = 1 / (1 + np.exp(-np.clip(rows[:, 3:].T, -50, 50)))
    return Located(
        points=transform(rows[:, :2] - 0.5, invert(matrix)),
        visibility=visibility.astype(np.float32),
        presence=presence.astype(np.float32),
        score=score,
    )


def body_25(located: Located, height: int, width: int) -> Keypoints:
    """[25, 3]: x, y, score = visibility x presence; 0 where the joint lies outside the picture.

    The neck is midway between the shoulders, the mid hip between the hips; both carry the lower score of two.
    """
    keypoints = np.zeros((len(BODY_25), 3), np.float32)
    for name, index in POINTS.items():
        keypoints[JOINT[name]] = (*located.points[index], located.visibility[index] * located.presence[index])
    for side in ("left", "right"):
        keypoints[JOINT[f"{side}_small_toe"]] = keypoints[JOINT[f"{side}_big_toe"]]
    for middle, left, right in (
        ("neck", "left_shoulder", "right_shoulder"),
        ("mid_hip", "left_hip", "right_hip"),
    ):
        pair = keypoints[[JOINT[left], JOINT[right]]]
        keypoints[JOINT[middle]] = (*pair[:, :2].mean(axis=0), pair[:, 2].min())
    x, y = keypoints[:, 0], keypoints[:, 1]
    outside = (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)
    keypoints[outside, 2] = 0
    return Keypoints(keypoints)
