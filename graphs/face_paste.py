"""A changed face crop back into its picture, without touching any other pixel."""

import cv2
import numpy as np

from modiste.geometry import Matrix, paste
from modiste.image import Mask, RGBImage

_FINEST = 1.5
"""Crop pixels per picture pixel up to which linear sampling does not alias."""


def lay_back(picture: RGBImage, patch: RGBImage, mask: Mask, matrix: Matrix) -> RGBImage:
    """Paste a crop that may be much finer than the picture: it is first reduced by area.

    picture: [H, W, 3]; patch, mask: [h, w, 3], [h, w] made with `matrix` (picture points to patch points)
    returns: a new picture; where the mask is 0 it equals `picture` exactly
    """
    finer = float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))) / _FINEST
    if finer > 1:
        size = (max(1, round(patch.shape[1] / finer)), max(1, round(patch.shape[0] / finer)))
        fx, fy = size[0] / patch.shape[1], size[1] / patch.shape[0]
        patch = RGBImage(cv2.resize(patch, size, interpolation=cv2.INTER_AREA))
        mask = Mask(cv2.resize(mask, size, interpolation=cv2.INTER_AREA))
        # Pixel centres: x_small = (x + 0.5) * f - 0.5
        reduce = np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5]])
        matrix = reduce @ np.vstack([matrix, [0, 0, 1]])
    return paste(picture, patch, mask, matrix)
