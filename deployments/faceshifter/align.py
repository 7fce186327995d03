"""How GHOST wants faces to lie: one of five templates, for heads turned by different angles.

Groshev et al., "GHOST - A New Face Swap Approach for Image and Video Domains", IEEE Access 2022.
"""

import numpy as np
from numpy.typing import NDArray

from modiste.geometry import Matrix, Points, similarity, transform

SIDE = 224
"""Side of the aligned face, pixels."""
TEMPLATE_SIDE = 112
TEMPLATES: NDArray[np.float32] = np.array(
    [
        [(51.642, 50.115), (57.617, 49.990), (35.740, 69.007), (51.157, 89.050), (57.025, 89.702)],
        [(45.031, 50.118), (65.568, 50.872), (39.677, 68.111), (45.177, 86.190), (64.246, 86.758)],
        [(39.730, 51.138), (72.270, 51.138), (56.000, 68.493), (42.463, 87.010), (69.537, 87.010)],
        [(46.845, 50.872), (67.382, 50.118), (72.737, 68.111), (48.167, 86.758), (67.236, 86.190)],
        [(54.796, 49.990), (60.771, 50.115), (76.673, 69.007), (55.388, 89.702), (61.257, 89.050)],
    ],
    np.float32,
)
"""[5, 5, 2]: x, y of the image-left eye, right eye, nose, left and right mouth corner on 112 x 112 pixels; the head in
left profile, turned left, from the front, turned right, in right profile."""


def alignment(points: Points, side: int = SIDE) -> Matrix:
    """Takes a face to the template that its points fit best.

    points:  [5, 2], in the templates' order
    returns: float64 [2, 3], picture to aligned face of `side` x `side` pixels
    """
    candidates = []
    for template in TEMPLATES * np.float32(side / TEMPLATE_SIDE):
        matrix = similarity(points, template)
        missed = np.linalg.norm(transform(points, matrix) - template, axis=1).sum()
        candidates.append((float(missed), matrix))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def resized(matrix: Matrix, factor: float) -> Matrix:
    """An alignment followed by a resize: pixels keep their edges, so centres move by half a pixel less."""
    moved = matrix * factor
    moved[:, 2] += (factor - 1) / 2
    return moved


def corners_kept(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Bilinear, outermost pixels onto outermost pixels, nothing averaged: as identity networks are fed.

    image: [h, w, C] -> [side, side, C]
    """
    for axis in (0, 1):
        at = np.linspace(0, image.shape[axis] - 1, side)
        low = np.minimum(at.astype(int), max(0, image.shape[axis] - 2))
        share = np.expand_dims(at - low, (1 - axis, 2)).astype(np.float32)
        first, second = np.take(image, low, axis), np.take(image, np.minimum(low + 1, image.shape[axis] - 1), axis)
        image = first + (second - first) * share
    return np.asarray(image, np.float32)
