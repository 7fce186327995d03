"""Light on the new garment: the body's own folds where they can be seen, roundness, and contact shadows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.layer_composer.fill import Colour

USUAL_LIGHT = np.array([0.0, -0.1, 0.4], np.float32)
"""From the front and a little from above."""
LEAST_LIGHT, MOST_LIGHT = np.array([-0.3, -0.25, 0.3]), np.array([0.3, 0.1, 0.6])


def folds(colour: Colour, old: NDArray[np.bool_], unit: float) -> NDArray[np.float32]:
    """Relative brightness of the worn garment, [H, W] around 1; flat where a pattern or darkness hides it.

    unit: distance between the shoulders, pixels
    """
    flat = np.ones(old.shape, np.float32)
    inner = cv2.erode(old.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if np.count_nonzero(inner) < 500:
        return flat
    grey = colour.mean(axis=2)
    level = float(np.median(grey[inner]))
    coarse, middling = _smooth(grey, inner, 0.05 * unit), _smooth(grey, inner, 0.012 * unit)
    detail = float(np.mean(np.abs(middling - coarse)[inner])) / max(level, 1.0)
    chroma = colour[inner] - colour[inner].mean(axis=1, keepdims=True)
    if level < 45 or detail > 0.045 or float(np.mean(np.std(chroma, axis=0))) > 10:
        return flat
    mass = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), 0.04 * unit)
    ratio = np.clip(_smooth(_without_lines(grey, inner, level, unit), inner, 0.02 * unit) / level, 0.75, 1.15)
    # Towards its border the old garment's own seams and shadows begin.
    return np.asarray(1 + (ratio - 1) * 0.6 * np.clip(mass * 2.5 - 1.4, 0, 1), np.float32)


def _without_lines(
    grey: NDArray[np.float32], known: NDArray[np.bool_], level: float, unit: float
) -> NDArray[np.float32]:
    """Zips, seams and prints narrower than a fold taken out by a median."""
    factor = min(1.0, 120 / unit)
    small = cv2.resize(np.where(known, grey, level), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    median = cv2.medianBlur(np.clip(small, 0, 255).astype(np.uint8), 11)
    return np.asarray(cv2.resize(median, grey.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _smooth(grey: NDArray[np.float32], known: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Blur within `known` only."""
    mass = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma)
    return np.asarray(cv2.GaussianBlur(grey * known, (0, 0), sigma) / np.maximum(mass, 1e-3), np.float32)


def on_skin(colour: Colour, face: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How the face's brightness follows its surface: slopes of its logarithm over x, y and depth of the normal.

    face: [H, W], taken for an ellipsoid
    """
    rows, columns = np.nonzero(cv2.erode(face.astype(np.uint8), np.ones((5, 5), np.uint8)))
    if len(rows) < 200:
        return USUAL_LIGHT
    spans = [(float(np.quantile(v, 0.02)), float(np.quantile(v, 0.98))) for v in (columns, rows)]
    normal = np.stack(
        [
            (v - (low + high) / 2) / max((high - low) / 2, 1.0)
            for v, (low, high) in zip((columns, rows), spans, strict=True)
        ],
        axis=1,
    )
    inside = (normal**2).sum(axis=1) < 0.9
    grey = np.log(np.maximum(colour[rows, columns].mean(axis=1), 8.0))
    # Eyes, brows, lips and beards are darker than skin: they say nothing about light.
    inside &= grey > np.quantile(grey, 0.25)
    x, y = normal[inside, 0], normal[inside, 1]
    depth = np.sqrt(1 - np.minimum(x**2 + y**2, 1))
    found, *_ = np.linalg.lstsq(np.stack([x, y, depth, np.ones_like(x)], axis=1), grey[inside], rcond=None)
    slopes: NDArray[np.float32] = np.clip(found[:3], LEAST_LIGHT, MOST_LIGHT).astype(np.float32)
    return slopes


def shaded(relief: NDArray[np.float32], slopes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brightness [H, W] of limbs under the light of `on_skin`, 1 where they face the camera."""
    depth = np.sqrt(1 - np.minimum((relief**2).sum(axis=2), 0.97))
    return np.asarray(np.exp(relief @ slopes[:2] + slopes[2] * (depth - 1)), np.float32)


def roundness(alpha: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """Slight darkening towards the outline, as on anything round lit from the front."""
    depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim = np.clip(depth / (0.1 * unit), 0, 1)
    shade: NDArray[np.float32] = (0.88 + 0.12 * np.sqrt(rim)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(shade, (0, 0), 0.008 * unit), np.float32)


def contact(front: NDArray[np.float32], unit: float, strength: float) -> NDArray[np.float32]:
    """Soft shadow that something in front (0-1 mask) throws on what lies behind; 1 where there is none."""
    spread = cv2.GaussianBlur(front, (0, 0), 0.02 * unit)
    shifted = cv2.warpAffine(spread, np.array([[1, 0, 0], [0, 1, 0.012 * unit]], np.float32), front.shape[::-1])
    return np.asarray(1 - strength * np.clip(shifted, 0, 1) * (1 - front), np.float32)
