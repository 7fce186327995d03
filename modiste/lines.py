"""Lines one pixel wide."""

import cv2
import numpy as np
from numpy.typing import NDArray


def _tables() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each pattern of the neighbours (bit i: neighbour i, clockwise from above), may the pixel go?"""
    first, second = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
    for pattern in range(256):
        p = [pattern >> bit & 1 for bit in range(8)]
        steps = sum(a == 0 and b == 1 for a, b in zip(p, p[1:] + p[:1], strict=True))
        if steps == 1 and 2 <= sum(p) <= 6:
            first[pattern] = not (p[0] and p[2] and p[4]) and not (p[2] and p[4] and p[6])
            second[pattern] = not (p[0] and p[2] and p[6]) and not (p[0] and p[4] and p[6])
    return first, second


_TABLES = _tables()


def thin(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Peel strokes of any width down to their centre lines, keeping what is connected connected.

    Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", CACM 1984.

    lines:   bool [H, W], True on a stroke
    returns: bool [H, W]
    """
    left = np.pad(lines, 1).astype(np.uint8)
    rows, columns = left.shape
    around = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    changed = True
    while changed:
        changed = False
        for table in _TABLES:
            pattern = np.zeros((rows - 2, columns - 2), np.uint8)
            for bit, (y, x) in enumerate(around):
                pattern |= left[y : y + rows - 2, x : x + columns - 2] << bit
            inner = left[1:-1, 1:-1]
            gone = table[pattern] & (inner > 0)
            if gone.any():
                inner[gone] = 0
                changed = True
    return left[1:-1, 1:-1] > 0


def enlarge(lines: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """Lines found on a smaller picture, one pixel wide at full size.

    lines:   bool [h, w], one pixel wide
    returns: bool [height, width]
    """
    large = cv2.resize(lines.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return thin(large > 0)
