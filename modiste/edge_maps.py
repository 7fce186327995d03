"""From a picture to what networks that find edges take, and from what they give to lines.

The same for all detectors of one family (DexiNed, LDC, TEED): their published preset for pictures of any kind.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from modiste.image import Mask, RGBImage
from modiste.lines import enlarge, thin

LINE = 0.5
"""Where a line is, between the faintest and the strongest place of a picture."""
FAINTEST = 0.1
"""Least spread of the probabilities for there to be a line at all: a blank picture's noise would be stretched, too."""


def edge_planes(image: RGBImage, height: int, width: int, means: Sequence[float]) -> NDArray[np.float32]:
    """The network's input: the whole picture at the network's size, whatever its shape.

    means:   blue, green and red, 0-255
    returns: float32 [1, 3, height, width], BGR, 0-255 minus the means
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray((small - np.array(means, np.float32)).transpose(2, 0, 1)[None], np.float32)


def edge_lines(logits: NDArray[np.float32], height: int, width: int) -> Mask:
    """Lines one pixel wide, 255, where an edge is more probable than halfway up the picture's own range.

    logits:  float32 [h, w], any size
    returns: uint8 [height, width]
    """
    probable = expit(logits)
    low, high = float(probable.min()), float(probable.max())
    if high - low < FAINTEST:
        return Mask(np.zeros((height, width), np.uint8))
    size = (min(width, logits.shape[1]), min(height, logits.shape[0]))
    strength = cv2.resize((probable - low) / (high - low), size, interpolation=cv2.INTER_LINEAR)
    lines = thin(strength >= LINE)
    if lines.shape != (height, width):
        lines = enlarge(lines, height, width)
    return Mask(np.where(lines, 255, 0).astype(np.uint8))
