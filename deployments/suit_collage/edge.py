"""Soft edges: how much of each pixel along an outline belongs to the inside, and what colour that part has.

A pixel on an outline mixes an inside and an outside colour; where both are known nearby, its place on the line
between them in colour space is its share (the compositing equation, solved by projection as in chroma keying).
Where both look alike the geometric outline decides.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Flags = NDArray[np.bool_]

ALIKE = 16.0
"""Colour difference (0-441) at which colour and geometry have an equal say."""


def soft_edge(image: NDArray[np.uint8], inside: Flags, band: float) -> tuple[Field, Field]:
    """Share of the inside and its own colour.

    image:   [H, W, 3] uint8 RGB; inside: [H, W]; band: half width of the uncertain strip, pixels
    returns: alpha [H, W] 0-1, colour [H, W, 3] 0-255 free of the outside's colour
    """
    to_outside = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    to_inside = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 3)
    picture = image.astype(np.float32)
    within = local_mean(picture, (to_outside > band).astype(np.float32), band)
    without = local_mean(picture, (to_inside > band).astype(np.float32), band)
    difference = within - without
    length = (difference**2).sum(axis=2)
    share = np.clip(((picture - without) * difference).sum(axis=2) / np.maximum(length, 1e-3), 0, 1)
    told_apart = length / (length + ALIKE**2)
    signed = to_outside - to_inside
    geometric = np.clip(0.5 + signed / (0.8 * band), 0, 1)
    # Colour speaks in the middle of the strip and falls silent towards its rims.
    reach = np.clip(3 - 3 * np.abs(signed) / band, 0, 1) * told_apart
    alpha = (reach * share + (1 - reach) * geometric).astype(np.float32)
    alpha[signed >= band], alpha[signed <= -band] = 1, 0
    mixed = np.clip((picture - (1 - alpha[..., None]) * without) / np.maximum(alpha[..., None], 0.25), 0, 255)
    # Little of a faint pixel's colour can be trusted: take its neighbours'.
    trust = (alpha**2)[..., None]
    own = np.where(signed[..., None] >= band, picture, trust * mixed + (1 - trust) * within)
    return alpha, own.astype(np.float32)


def local_mean(picture: Field, weight: Field, sigma: float) -> Field:
    """`_local_mean` on a smaller copy, as far as `sigma` allows: what it gives is smooth."""
    height, width = weight.shape
    shrink = min(max(1.0, sigma / 2), max(height, width) / 64)
    if shrink < 1.3:
        return _local_mean(picture, weight, sigma)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(picture * weight[..., None], size, interpolation=cv2.INTER_AREA)
    mean = _local_mean(summed / np.maximum(small, 1e-5)[..., None], small, sigma / shrink)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _local_mean(picture: Field, weight: Field, sigma: float) -> Field:
    """Mean colour of the weighted pixels nearby; farther ones count where there are none near.

    picture: [H, W, C]; weight: [H, W]; returns [H, W, C]
    """
    height, width = weight.shape
    total = float(weight.sum())
    mean = (picture * weight[..., None]).sum(axis=(0, 1)) / max(total, 1e-6)
    result = np.broadcast_to(mean, picture.shape).astype(np.float32).copy()
    scale = max(height, width) / 4
    while scale > sigma / 2:
        shrink = max(1.0, scale / 4)
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        small_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        small_sum = cv2.resize(picture * weight[..., None], size, interpolation=cv2.INTER_AREA)
        blur = scale / shrink
        small_weight, small_sum = (
            cv2.GaussianBlur(small_weight, (0, 0), blur),
            cv2.GaussianBlur(small_sum, (0, 0), blur),
        )
        near = cv2.resize(small_weight, (width, height), interpolation=cv2.INTER_LINEAR)
        summed = cv2.resize(small_sum, (width, height), interpolation=cv2.INTER_LINEAR)
        known = np.clip(near / 0.1, 0, 1)[..., None]
        result = result * (1 - known) + summed / np.maximum(near, 1e-5)[..., None] * known
        scale /= 2
    return np.asarray(result, np.float32)
