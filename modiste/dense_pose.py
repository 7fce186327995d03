"""Parts of a body's surface, as DensePose numbers them (Güler et al., CVPR 2018, arXiv:1802.00434), in colours.

1-2 trunk (back, front), 3-4 hands, 5-6 feet, 7-10 upper legs, 11-14 lower legs, 15-18 upper arms, 19-22 lower arms,
23-24 head (right, left); 0 is background.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import LabelMap, RGBImage

PARTS: Final = 24


def _colours() -> NDArray[np.uint8]:
    """[25, 3] RGB: parts spread over OpenCV's colour map PARULA."""
    steps = (np.arange(PARTS + 1) * (255 / PARTS)).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(steps[:, None], cv2.COLORMAP_PARULA)[:, 0, ::-1])


COLOURS: Final = _colours()


def coloured(parts: LabelMap) -> RGBImage:
    """Parts [H, W] in the colours that garment networks were trained with, on black."""
    return RGBImage(np.where(parts[..., None] > 0, COLOURS[parts], np.uint8(0)))
