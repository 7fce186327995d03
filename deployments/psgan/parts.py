"""What PSGAN is told besides pictures, where each part is and where each place lies from the landmarks; and how its
result gets a picture's detail back.

Jiang et al., "PSGAN", CVPR 2020, arXiv:1909.06956.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import LabelMap, RGBImage
from modiste.labels import FacePart

Floats = NDArray[np.float32]

SIDE = 256
"""Side of the pictures, pixels."""
GRID = 64
"""Side of the maps in which make-up is brought over."""
LIPS = (FacePart.UPPER_LIP, FacePart.LOWER_LIP)
SKIN = (FacePart.SKIN, FacePart.NOSE)
EYES = (slice(36, 42), slice(42, 48))
"""Landmarks about each eye."""
AROUND_EYE = 16
"""Pixels that an eye's box grows by."""


def masks(labels: LabelMap, landmarks: Floats) -> Floats:
    """Lips, skin and the skin about the eyes.

    labels:    [256, 256], or another square; `FacePart`
    landmarks: [68, 2] y, x, pixels of the same picture
    returns:   [3, 256, 256], 0 or 1
    """
    around = AROUND_EYE * len(labels) // SIDE
    skin = np.isin(labels, SKIN)
    near = np.zeros_like(skin)
    for eye in EYES:
        top, left = np.maximum(landmarks[eye].min(0) - around, 0).astype(int)
        bottom, right = (landmarks[eye].max(0) + around).astype(int)
        near[top : bottom + 1, left : right + 1] = True
    return np.stack((np.isin(labels, LIPS), skin & ~near, skin & near)).astype(np.float32)


def offsets(landmarks: Floats, masks: Floats, grid: int = GRID) -> Floats:
    """Each place's distances from the landmarks, 68 down and then 68 across, together of length 1.

    landmarks: [68, 2] y, x, whole pixels
    masks:     [P, S, S]
    grid:      side of the map
    returns:   [P, 136, 64, 64], 0 outside a part's mask
    """
    side = masks.shape[-1]
    at = np.arange(grid) * side // grid
    rows = at[None, :, None] - landmarks[:, 0, None, None]
    columns = at[None, None, :] - landmarks[:, 1, None, None]
    away = np.concatenate(np.broadcast_arrays(rows, columns)).astype(np.float32)
    masked = away * masks[:, None, at[:, None], at]
    length = np.sqrt(np.square(masked).sum(1, keepdims=True))
    return np.asarray(masked / np.where(length == 0, np.float32(1e10), length), np.float32)


def detailed(made_up: Floats, source: RGBImage) -> RGBImage:
    """The network's result at the source's size, with the detail that the network's size lost.

    made_up: [256, 256, 3], or another square; RGB of any range, stretched to black and white
    source:  [H, W, 3]
    """
    low, high = made_up.min(), made_up.max()
    stretched = (made_up - low) * (255 / max(float(high - low), 1e-6))
    size: Sequence[int] = source.shape[1::-1]
    small = cv2.resize(source, made_up.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    lost = source.astype(np.float32) - cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    enlarged = cv2.resize(stretched, size, interpolation=cv2.INTER_LINEAR)
    whole: RGBImage = np.clip(np.round(enlarged + lost), 0, 255).astype(np.uint8)
    return whole
