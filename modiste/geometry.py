"""Boxes, similarity transforms, crops and exact pasting back. Points are (x, y) in pixels, centres at integers."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import Mask, RGBImage

Matrix = NDArray[np.float64]
"""float64 [2, 3]: maps source points to destination points."""
Points = NDArray[np.float32]
"""float32 [K, 2]."""


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned box, pixels; `right` and `bottom` are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def scaled(self, factor: float) -> "Box":
        """Grow or shrink about the centre."""
        (x, y), w, h = self.centre, self.width * factor / 2, self.height * factor / 2
        return Box(x - w, y - h, x + w, y + h)

    def shifted(self, dx: float, dy: float) -> "Box":
        return Box(self.left + dx, self.top + dy, self.right + dx, self.bottom + dy)

    def clipped(self, height: int, width: int) -> "Box":
        """The whole-pixel part inside a picture."""
        return Box(
            float(np.clip(np.floor(self.left), 0, width)),
            float(np.clip(np.floor(self.top), 0, height)),
            float(np.clip(np.ceil(self.right), 0, width)),
            float(np.clip(np.ceil(self.bottom), 0, height)),
        )

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0-1."""
        overlap = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )
        inside = overlap.area if overlap.width > 0 and overlap.height > 0 else 0.0
        union = self.area + other.area - inside
        return inside / union if union > 0 else 0.0


def bounding_box(points: NDArray[np.float32]) -> Box:
    """points: [K, 2+] -> the smallest box that holds them."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def crop(image: RGBImage, box: Box) -> tuple[RGBImage, Box]:
    """Cut out the part of `box` that lies inside the picture; returns the copy and its whole-pixel box."""
    inside = box.clipped(*image.shape[:2])
    rows, columns = slice(int(inside.top), int(inside.bottom)), slice(int(inside.left), int(inside.right))
    return RGBImage(np.ascontiguousarray(image[rows, columns])), inside


def similarity(source: Points, target: Points) -> Matrix:
    """Least-squares rotation + uniform scale + shift that takes `source` to `target` (Umeyama 1991).

    source, target: [K, 2], K >= 2
    returns:        float64 [2, 3]
    """
    source, target = source.astype(np.float64), target.astype(np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    scale = (a**2).sum()
    cos = (a * b).sum() / scale
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / scale
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def invert(matrix: Matrix) -> Matrix:
    return np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64)


def transform(points: NDArray[np.float32], matrix: Matrix) -> Points:
    """points: [K, 2] -> [K, 2]."""
    return (points[:, :2] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def warp(image: RGBImage, matrix: Matrix, width: int, height: int) -> RGBImage:
    """Resample so that output point = matrix applied to input point; edge pixels repeat outside.

    Shrinking by more than 2 is done by area first, so that fine detail does not alias.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:
        factor = scale * 1.5
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
        # Pixel centres: x_small = (x + 0.5) * f - 0.5
        to_full = np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5], [0, 0, 1]])
        image, matrix = RGBImage(small), matrix @ to_full
    return RGBImage(
        cv2.warpAffine(image, matrix, (width, height), flags=_sampling(matrix), borderMode=cv2.BORDER_REPLICATE)
    )


def paste(canvas: RGBImage, patch: RGBImage, mask: Mask, matrix: Matrix) -> RGBImage:
    """Lay a warped patch back into the picture it came from.

    canvas: [H, W, 3]; patch, mask: [h, w, 3], [h, w] made with `matrix` (canvas points to patch points)
    returns: a new picture; where the mask is 0 it equals `canvas` exactly
    """
    back = invert(matrix)
    height, width = canvas.shape[:2]
    h, w = mask.shape
    corners = transform(np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32), back)
    region = bounding_box(corners).scaled(1.02).clipped(height, width)
    rows, columns = slice(int(region.top), int(region.bottom)), slice(int(region.left), int(region.right))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    result = canvas.copy()
    if size[0] <= 0 or size[1] <= 0:
        return RGBImage(result)
    local = back - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    flags = _sampling(local)
    colour = cv2.warpAffine(patch, local, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    alpha = np.multiply(cv2.warpAffine(mask, local, size, flags=flags), np.float32(1 / 255), dtype=np.float32)
    result[rows, columns] = cv2.blendLinear(colour, np.ascontiguousarray(canvas[rows, columns]), alpha, 1 - alpha)
    return RGBImage(result)


def _sampling(matrix: Matrix) -> int:
    """What `cv2.warpAffine` shall do: a shift by whole pixels needs no interpolation."""
    moved = matrix - np.eye(2, 3)
    whole = not moved[:, :2].any() and (moved == np.rint(moved)).all()
    return cv2.INTER_NEAREST if whole else cv2.INTER_LINEAR
