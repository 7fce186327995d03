"""Pictures as video stores them: brightness in full size, colour in half, so that what nobody touches stays as it is.

RGB is computed from them, and goes back into them where it was changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.geometry import Box
from modiste.image import RGBImage

Plane = NDArray[np.uint8]
"""uint8 [H, W]."""

_SHARES = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""Of red and blue in brightness, by number of the matrix (ITU-T H.273): BT.709, FCC, SMPTE 240M, BT.2020."""
_BT601 = (0.299, 0.114)
_FULL_RANGE = 2


@dataclass(frozen=True, slots=True)
class Colours:
    """What the numbers in the planes mean: matrix and range by their numbers in ITU-T H.273 and libavutil."""

    matrix: int
    range: int


@cache
def from_rgb(colours: Colours) -> NDArray[np.float32]:
    """float32 [3, 4]: RGB and 1 -> brightness, blue and red difference; all 0-255."""
    red, blue = _SHARES.get(colours.matrix, _BT601)
    weights = np.array([red, 1 - red - blue, blue])
    rows = [weights, (np.eye(3)[2] - weights) / (1 - blue) / 2, (np.eye(3)[0] - weights) / (1 - red) / 2]
    full = colours.range == _FULL_RANGE
    reach = np.array([255, 255, 255] if full else [219, 224, 224]) / 255
    return np.column_stack([rows * reach[:, None], [0 if full else 16, 128, 128]]).astype(np.float32)


@cache
def to_rgb(colours: Colours) -> NDArray[np.float32]:
    """float32 [3, 4]: back again."""
    there = from_rgb(colours).astype(np.float64)
    linear = np.linalg.inv(there[:, :3])
    return np.column_stack([linear, -linear @ there[:, 3]]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Planes:
    """y: brightness [H, W]; u, v: blue and red difference, [(H + 1) // 2, (W + 1) // 2]. Never written to."""

    y: Plane
    u: Plane
    v: Plane
    colours: Colours

    def rgb(self) -> RGBImage:
        size = (2 * self.u.shape[1], 2 * self.u.shape[0])
        height, width = self.y.shape
        u, v = (cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST)[:height, :width] for plane in (self.u, self.v))
        return RGBImage(np.asarray(cv2.transform(cv2.merge([self.y, u, v]), to_rgb(self.colours)), np.uint8))

    def repainted(self, image: RGBImage, boxes: Sequence[Box]) -> "Planes":
        """As the picture `image` inside the boxes, which grow to whole pixels of colour; as they are elsewhere."""
        if not boxes:
            return self
        y, u, v = self.y.copy(), self.u.copy(), self.v.copy()
        for box in boxes:
            inside = box.clipped(*y.shape)
            top, left = int(inside.top) // 2, int(inside.left) // 2
            bottom, right = (int(inside.bottom) + 1) // 2, (int(inside.right) + 1) // 2
            patch = image[2 * top : 2 * bottom, 2 * left : 2 * right]
            if patch.size == 0:
                continue
            # Where the sides are odd, the last pixel of colour has but one row or column to be the mean of.
            odd = (patch.shape[0] % 2, patch.shape[1] % 2)
            if any(odd):
                patch = np.pad(patch, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
            coarse = cv2.resize(patch, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
            bright = cv2.transform(patch, from_rgb(self.colours))[..., 0]
            under = y[2 * top : 2 * bottom, 2 * left : 2 * right]
            under[:] = bright[: under.shape[0], : under.shape[1]]
            _, u[top:bottom, left:right], v[top:bottom, left:right] = cv2.split(
                cv2.transform(coarse, from_rgb(self.colours))
            )
        return replace(self, y=y, u=u, v=v)
