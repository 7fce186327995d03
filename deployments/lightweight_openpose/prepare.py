"""A picture as lightweight OpenPose wants it, its maps as grouping wants them, and points back in the picture."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.lightweight_openpose.group import People
from modiste.image import Keypoints, RGBImage
from modiste.labels import BODY_25, COCO_18, JOINT

HEIGHT, STRIDE, ENLARGED = 256, 8, 4
"""Pixels of the network's input, of a cell of its maps, and how much the maps are enlarged before grouping."""
WIDEST = 8
"""Most widths over heights of the input: pictures that are wider still are squeezed."""

_TARGETS = np.array([JOINT[name] for name in COCO_18])


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the picture lies in the network's input: scaled (x, y), then this far from the left."""

    scale: tuple[float, float]
    left: int

    def back(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (x, y) of the enlarged maps in pixels of the picture; [..., 2]."""
        return (points * (STRIDE / ENLARGED) - (self.left, 0)) / self.scale


def placed(picture: RGBImage, height: int = HEIGHT) -> tuple[tuple[int, int], int, Placement]:
    """Width and height of the picture in an input of this height, the input's width, and where the picture lies."""
    tall, wide = picture.shape[:2]
    scale = height / tall
    width = min(max(round(wide * scale), 1), WIDEST * height)
    wanted = -(-max(height, width) // STRIDE) * STRIDE
    across = scale if width == round(wide * scale) else width / wide
    return (width, height), wanted, Placement(scale=(across, scale), left=(wanted - width) // 2)


def prepare(picture: RGBImage, height: int = HEIGHT) -> tuple[NDArray[np.float32], Placement]:
    """The network's input, [1, 3, height, W] BGR, (byte - 128) / 256, padded with 0 at both sides to a multiple of 8
    that is no less than the height."""
    size, wanted, placement = placed(picture, height)
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    tensor = np.zeros((1, 3, height, wanted), np.float32)
    scaled = (np.asarray(resized, np.float32) - np.float32(128)) * np.float32(1 / 256)
    columns = slice(placement.left, placement.left + size[0])
    tensor[0, :, :, columns] = scaled[:, :, ::-1].transpose(2, 0, 1)
    return tensor, placement


def enlarged(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heat maps or fields [C, h, w] as [4 h, 4 w, C]."""
    planes = np.ascontiguousarray(maps.transpose(1, 2, 0))
    return np.asarray(cv2.resize(planes, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC), np.float32)


def body_25(people: People, placement: Placement, height: int, width: int) -> list[Keypoints]:
    """Everybody's joints in the picture as BODY_25; feet are not told, and the mid hip is between the hips.

    people: in cells of the enlarged maps; height, width: of the picture
    """
    found = []
    for members in people.members:
        keypoints = np.zeros((len(BODY_25), 3), np.float32)
        seen = members >= 0
        points = people.points[members[seen]]
        keypoints[_TARGETS[seen]] = np.column_stack((placement.back(points[:, :2]), points[:, 2].clip(0, 1)))
        x, y = keypoints[:, 0], keypoints[:, 1]
        keypoints[(x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)] = 0
        hips = keypoints[[JOINT["right_hip"], JOINT["left_hip"]]]
        if hips[:, 2].all():
            keypoints[JOINT["mid_hip"]] = (*hips[:, :2].mean(axis=0), hips[:, 2].min())
        found.append(Keypoints(keypoints))
    return found
