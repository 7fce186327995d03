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


OVERLAP = (0.25, 0.6)
"""Share of a part within the face up to which it is no part of the face, and from which on it is one wholly."""


def of_face(segments: Floats, face: Floats) -> Floats:
    """Share of the parts that lie in a face, at each place.

    Parts come out of training without names and mean something else in each checkpoint: which are the face's is told by
    how much of each lies there. By how much is a slope and no step, so that what follows a moving face does not jump.

    segments: [K + 1, h, w] of 0 to 1, the background first
    face:     [h, w] of 0 to 1
    returns:  [h, w] of 0 to 1
    """
    parts = segments[1:]
    within = (parts * face).sum((1, 2)) / np.maximum(parts.sum((1, 2)), 1e-6)
    t = np.clip((within - OVERLAP[0]) / (OVERLAP[1] - OVERLAP[0]), 0, 1)
    weights = t * t * (3 - 2 * t)
    return np.asarray((parts * weights[:, None, None]).sum(0), np.float32)


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
