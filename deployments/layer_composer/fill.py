"""Filling what was hidden: smooth colour from what is known around, and the grain that goes with it."""

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]
"""float32 [H, W, 3], 0-255."""


def spread(colour: Colour, known: NDArray[np.bool_]) -> Colour:
    """Known pixels kept, the others interpolated from coarse to fine (push-pull).

    Gortler et al., "The Lumigraph", SIGGRAPH 1996, section on reconstruction.
    """
    weight = known.astype(np.float32)
    levels = [(colour * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 2:
        value, mass = levels[-1]
        size = ((mass.shape[1] + 1) // 2, (mass.shape[0] + 1) // 2)
        value = cv2.resize(value, size, interpolation=cv2.INTER_AREA)
        mass = cv2.resize(mass, size, interpolation=cv2.INTER_AREA)
        full = np.minimum(1.0, 4 * mass) / np.maximum(mass, 1e-6)
        levels.append((value * full[..., None], mass * full))
    value, mass = levels[-1]
    filled = value / np.maximum(mass, 1e-6)[..., None]
    for value, mass in reversed(levels[:-1]):
        coarse = cv2.resize(filled, mass.shape[::-1], interpolation=cv2.INTER_LINEAR)
        if coarse.ndim == 2:
            coarse = coarse[..., None]
        filled = value + coarse * np.clip(1 - mass, 0, 1)[..., None]
    return np.asarray(filled, np.float32)


def backdrop(colour: Colour, free: NDArray[np.bool_]) -> Colour:
    """The background behind a person, as far as `free` pixels tell, smooth and with the picture's grain."""
    plate = spread(colour, free)
    hidden = (~free).astype(np.uint8)
    soft = cv2.GaussianBlur(plate, (0, 0), 0.01 * max(free.shape))
    mix = cv2.GaussianBlur(hidden.astype(np.float32), (0, 0), 3)[..., None] * hidden[..., None]
    plate = plate + (soft - plate) * mix
    return np.asarray(plate + grain(colour, free)[..., None] * hidden[..., None], np.float32)


def grain(colour: Colour, known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Noise as strong as that of the known pixels."""
    grey = colour.mean(axis=2)
    fine = (grey - cv2.GaussianBlur(grey, (0, 0), 1.5))[known]
    # Edges are no grain: the median of the deviations leaves them out.
    strength = float(np.median(np.abs(fine))) * 1.4 if fine.size else 0.0
    noise = np.random.default_rng(0).standard_normal(known.shape).astype(np.float32)
    return np.asarray(min(strength, 2.5) * cv2.GaussianBlur(noise, (0, 0), 0.7) * 1.8, np.float32)
