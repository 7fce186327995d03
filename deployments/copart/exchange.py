"""Which places of a face are exchanged: shares of chosen parts, or what another parser says.

Siarohin et al., "Motion-supervised Co-Part Segmentation", ICPR 2020, arXiv:2004.03234.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SURE = 0.5
"""Share from which on a place belongs to the chosen parts, where masks are hard."""


def mask(segments: Floats, chosen: Sequence[int], *, hard: bool) -> Floats:
    """Share of the chosen parts at each place.

    segments: [K + 1, h, w] of 0 to 1, the background first; or a parser's probabilities
    hard:     0 or 1 instead
    returns:  [h, w]
    """
    share = segments[list(chosen)].sum(axis=0)
    return (share > SURE).astype(np.float32) if hard else np.asarray(share, np.float32)


def shrunk(mask: Floats, factor: int) -> Floats:
    """Blurred as the network blurs pictures (nothing lies outside), then every `factor`-th pixel.

    mask: [H, W], a parser's at 512 x 512, for instance; by 8 it becomes as large as the network's own
    """
    sigma, reach = (factor - 1) / 2, 2 * (factor - 1)
    if not reach:
        return mask
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = (bell / bell.sum()).astype(np.float32)
    blurred = cv2.sepFilter2D(mask, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
    return np.ascontiguousarray(blurred[::factor, ::factor], np.float32)
