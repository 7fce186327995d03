"""Light on the new garment: the body's own folds where they can be seen, roundness, and contact shadows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.layer_composer.fill import Colour


def folds(colour: Colour, old: NDArray[np.bool_], unit: float) -> NDArray[np.float32]:
    """Relative brightness of the worn garment, [H, W] around 1; flat where a pattern or darkness hides it.

    unit: distance between the shoulders, pixels
    """
    flat = np.ones(old.shape, np.float32)
    inner = cv2.erode(old.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if np.count_nonzero(inner) < 500:
        return flat
    pixels = colour[inner]
    chroma = pixels - pixels.mean(axis=1, keepdims=True)
    busy = float(np.mean(np.std(chroma, axis=0)))
    grey = colour.mean(axis=2)
    level = float(np.median(grey[inner]))
    contrast = float(np.std(grey[inner])) / max(level, 1.0)
    if busy > 12 or contrast > 0.3 or level < 45:
        return flat
    mass = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), 0.012 * unit)
    fine = cv2.GaussianBlur(grey * inner, (0, 0), 0.012 * unit) / np.maximum(mass, 1e-3)
    ratio = np.clip(fine / level, 0.7, 1.2)
    ratio = 1 + (ratio - 1) * 0.75 * np.clip(mass * 2 - 1, 0, 1)
    return np.asarray(ratio, np.float32)


def roundness(alpha: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """Slight darkening towards the outline, as on anything round lit from the front."""
    depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim = np.clip(depth / (0.1 * unit), 0, 1)
    shade: NDArray[np.float32] = (0.88 + 0.12 * np.sqrt(rim)).astype(np.float32)
    return cv2.GaussianBlur(shade, (0, 0), 0.008 * unit)


def contact(front: NDArray[np.float32], unit: float, strength: float) -> NDArray[np.float32]:
    """Soft shadow that something in front (0-1 mask) throws on what lies behind; 1 where there is none."""
    spread = cv2.GaussianBlur(front, (0, 0), 0.02 * unit)
    shifted = cv2.warpAffine(spread, np.array([[1, 0, 0], [0, 1, 0.012 * unit]], np.float32), front.shape[::-1])
    return 1 - strength * np.clip(shifted, 0, 1) * (1 - front)
