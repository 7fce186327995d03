"""Thin-plate spline between two point sets, as a dense map.

Bookstein, "Principal Warps: Thin-Plate Splines and the Decomposition of Deformations", TPAMI 1989.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from modiste.geometry import Box

STRIDE = 8
"""Pixels between evaluated grid points; the spline is smooth, so the rest is interpolated linearly."""


def backward_map(
    target: NDArray[np.float32], source: NDArray[np.float32], box: Box, *, smoothing: float = 0.0
) -> NDArray[np.float32]:
    """Where each pixel of a target region comes from.

    target, source: [K, 2] matching points; box: whole-pixel region of the target picture
    smoothing:      0 passes through every point; larger values bend less
    returns:        float32 [h, w, 2], source (x, y) of each pixel of the box
    """
    _, first = np.unique(np.round(target, 1), axis=0, return_index=True)
    target, source = target[first].astype(np.float64), source[first].astype(np.float64)
    spread = max(float(np.ptp(target, axis=0).max()), 1.0)
    centre = target.mean(axis=0)
    spline = RBFInterpolator((target - centre) / spread, source, kernel="thin_plate_spline", smoothing=smoothing)
    columns = np.arange(box.left, box.right + STRIDE, STRIDE)
    rows = np.arange(box.top, box.bottom + STRIDE, STRIDE)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    coarse = spline((grid - centre) / spread).reshape(len(rows), len(columns), 2).astype(np.float32)
    x, y = np.meshgrid(
        np.arange(int(box.width), dtype=np.float32) / STRIDE, np.arange(int(box.height), dtype=np.float32) / STRIDE
    )
    dense: NDArray[np.float32] = cv2.remap(coarse, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return dense
