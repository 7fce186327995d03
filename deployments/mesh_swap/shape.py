"""Where the source's points go: the source's proportions, in the target's pose, expression and outline."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from modiste.face_mesh import LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_EYE, neutral

RIGID = (10, 151, 9, 8, 168, 6, 197, 195, 33, 133, 362, 263, 127, 356, 234, 454, 132, 361, 50, 280)
"""Points that move little with expression: forehead, bridge of the nose, corners of the eyes, sides of the face."""
STRENGTH = 0.8
"""How much of the source's proportions shows where the outline is far away."""
_FREE_AT = 170.0
"""Distance from the outline, in thousandths of the face's width, from which on points are free to move."""


def posed(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """The source's mesh turned, scaled and moved in space onto the target's (Umeyama 1991). [468, 3] each."""
    rigid = list(RIGID)
    a, b = source[rigid].astype(np.float64), target[rigid].astype(np.float64)
    a_mean, b_mean = a.mean(axis=0), b.mean(axis=0)
    a, b = a - a_mean, b - b_mean
    u, values, vt = np.linalg.svd(a.T @ b)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (values * np.diag(sign)).sum() / (a**2).sum()
    found: NDArray[np.float64] = scale * (source - a_mean) @ (u @ sign @ vt) + b_mean
    return found


def destination(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """source, target: face meshes [468, 3] of two pictures -> [468, 3] in the target's picture.

    The outline is the target's. Towards the middle the points take the source's proportions; eyes and mouth move as
    wholes, so that how far they are open stays the target's.
    """
    delta = posed(source, target) - target
    for eye in (RIGHT_EYE, LEFT_EYE):
        _as_a_whole(delta, target, eye, ends=(eye[0], eye[8]))
    _as_a_whole(delta, target, LIPS_OUTER + LIPS_INNER, ends=(61, 291))
    moved = target + delta * _freedom()[:, None] * STRENGTH
    return moved.astype(np.float32)


def _as_a_whole(
    delta: NDArray[np.float64], target: NDArray[np.float32], part: tuple[int, ...], ends: tuple[int, int]
) -> None:
    """Give a part the mean motion of its points and the stretch of its two ends; change `delta` in place."""
    points = list(part)
    first, last = ends
    middle = delta[points].mean(axis=0)
    axis = target[last, :2] - target[first, :2]
    length = float(np.linalg.norm(axis))
    grown = float((delta[last, :2] - delta[first, :2]) @ axis) / max(length, 1e-6) ** 2
    # Half of the stretch: the rest of it is expression (a smile), not proportion.
    grown = float(np.clip(grown / 2, -0.15, 0.15))
    centre = target[points, :2].mean(axis=0)
    delta[points] = middle
    delta[points, :2] += (target[points, :2] - centre) * grown


def _freedom() -> NDArray[np.float64]:
    """0 on the outline, 1 well inside. [468]"""
    face = neutral()
    reach = cdist(face[:, :2], face[list(OVAL), :2]).min(axis=1) / _FREE_AT
    t = np.clip(reach, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float64)
