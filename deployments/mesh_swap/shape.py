"""Where the source's points go: the source's proportions, in the target's pose, expression and outline."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from modiste.face_mesh import LIPS_OUTER, OVAL, neutral

RIGID = (10, 151, 9, 8, 168, 6, 197, 195, 33, 133, 362, 263, 127, 356, 234, 454, 132, 361, 50, 280)
"""Points that move little with expression: forehead, bridge of the nose, corners of the eyes, sides of the face."""
STRENGTH = 0.9
"""How much of the source's proportions shows where nothing holds a point back."""
_FREE_AT = 170.0
"""Distance from the outline, in thousandths of the face's width, from which on points are free to move."""
_TOGETHER = 60.0
"""Points this near (sigma, same unit) move as one: eyelids and lips stay as far open as the target's."""
_MOUTH_REACH = 130.0
_MOUTH_HELD = 0.6
"""Reach (sigma) and share of holding the mouth's surroundings back: their difference is mostly expression."""


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

    The outline is the target's; towards the middle the points take the source's proportions.
    """
    together, freedom = _influence()
    delta = together @ (posed(source, target) - target)
    return np.asarray(target + delta * freedom[:, None] * STRENGTH, np.float32)


@cache
def _influence() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much each point's motion counts for each other [468, 468], and how free each is, 0-1 [468]."""
    flat = neutral()[:, :2].astype(np.float64)
    together = np.exp(-((cdist(flat, flat) / _TOGETHER) ** 2) / 2)
    reach = np.clip(cdist(flat, flat[list(OVAL)]).min(axis=1) / _FREE_AT, 0, 1)
    mouth = np.exp(-((cdist(flat, flat[list(LIPS_OUTER)]).min(axis=1) / _MOUTH_REACH) ** 2) / 2)
    freedom = reach * reach * (3 - 2 * reach) * (1 - _MOUTH_HELD * mouth)
    return together / together.sum(axis=1, keepdims=True), freedom
