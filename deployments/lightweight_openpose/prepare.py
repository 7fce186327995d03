"""A picture as lightweight OpenPose wants it, its maps as grouping wants them, and points back in the picture."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import RGBImage

HEIGHT, STRIDE, ENLARGED = 256, 8, 4
"""Pixels of the network's input, of a cell of its maps, and how much the maps are enlarged before grouping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the picture lies in the network's input: scaled, then this far from the left and the top."""

    scale: float
    left: int
    top: int

    def back(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (x, y) of the enlarged maps in pixels of the picture; [..., 2]."""
        return (points * (STRIDE / ENLARGED) - (self.left, self.top)) / self.scale


def prepare(picture: RGBImage) -> tuple[NDArray[np.float32], Placement]:
    """The network's input, [1, 3, H, W] BGR, (byte - 128) / 256, padded with 0 to multiples of 8."""
    scale = HEIGHT / picture.shape[0]
    resized = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    height, width = resized.shape[:2]
    wanted = -(-max(HEIGHT, width) // STRIDE) * STRIDE
    top, left = (HEIGHT - height) // 2, (wanted - width) // 2
    tensor = np.zeros((1, 3, HEIGHT, wanted), np.float32)
    scaled = (np.asarray(resized, np.float32) - np.float32(128)) * np.float32(1 / 256)
    tensor[0, :, top : top + height, left : left + width] = scaled[:, :, ::-1].transpose(2, 0, 1)
    return tensor, Placement(scale=scale, left=left, top=top)


def enlarged(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heat maps or fields [C, h, w] as [4 h, 4 w, C]."""
    planes = np.ascontiguousarray(maps.transpose(1, 2, 0))
    return np.asarray(cv2.resize(planes, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC), np.float32)
