"""Light and skin colour of the target on the warped source, in CIE Lab."""

import cv2
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
"""float32 [H, W], 0-1."""

LIGHT_REACH = 0.13
"""Blur (sigma) that separates light from features, in widths of the face."""
_LIMIT = np.array([30.0, 8.0, 10.0], np.float32)
"""How far light may differ from the mean shift, in Lab units: keeps a cast on one cheek from becoming a stain."""


def smooth_known(values: NDArray[np.float32], known: Weights, sigma: float) -> NDArray[np.float32]:
    """Blur [H, W, 3] over the known pixels only (normalised convolution), and go on smoothly past them."""
    total = np.zeros_like(values)
    share = np.zeros(known.shape, np.float32)
    for reach, trust in ((1.0, 1.0), (2.5, 0.05), (8.0, 0.001)):
        step = max(1, int(sigma * reach / 3))  # a blur this wide loses nothing at a lower resolution
        size = (max(1, known.shape[1] // step), max(1, known.shape[0] // step))
        small = cv2.resize(values * known[..., None], size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        s = sigma * reach / step
        small = cv2.GaussianBlur(small, (0, 0), s, borderType=cv2.BORDER_REPLICATE)
        weight = cv2.GaussianBlur(weight, (0, 0), s, borderType=cv2.BORDER_REPLICATE)
        whole = known.shape[::-1]
        total += trust * cv2.resize(small, whole, interpolation=cv2.INTER_LINEAR)
        share += trust * cv2.resize(weight, whole, interpolation=cv2.INTER_LINEAR)
    return np.asarray(total / np.maximum(share, 1e-9)[..., None], np.float32)


def matched(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    source_skin: Weights,
    target_skin: Weights,
    obey: Weights,
    *,
    width: float,
    tone: float,
) -> NDArray[np.float32]:
    """source, target: Lab [H, W, 3]; skins: where each shows bare skin; obey: how much each pixel follows, 0-1.

    width: of the face, pixels; tone: 0 keeps the source's mean skin colour, 1 takes the target's
    returns: the source, lit and coloured as the target
    """
    both = source_skin * target_skin
    total = float(both.sum())
    if total < 50:
        return source
    difference = target - source
    mean = (difference * both[..., None]).sum(axis=(0, 1)) / total
    light = smooth_known(difference, both, LIGHT_REACH * width) - mean
    light = _LIMIT * np.tanh(light / _LIMIT)
    return np.asarray(source + (tone * mean + light) * obey[..., None], np.float32)
