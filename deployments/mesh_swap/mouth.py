"""What of the target's mouth is kept, so that it is open or closed as in the photo."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.mesh_swap.region import grown, polygon
from modiste.face_mesh import LIPS_INNER, LIPS_OUTER

_CLOSED, _OPEN = 0.02, 0.05
"""Gap between the lips, in widths of the face, under which a mouth is closed and over which it is open."""


def openness(landmarks: NDArray[np.float32]) -> float:
    """0 = closed, 1 = open."""
    face_width = float(np.linalg.norm(landmarks[454] - landmarks[234]))
    gap = float(np.linalg.norm(landmarks[13] - landmarks[14])) / face_width
    return float(np.clip((gap - _CLOSED) / (_OPEN - _CLOSED), 0, 1))


def lips(points: NDArray[np.float32], shape: tuple[int, int], width: float) -> NDArray[np.float32]:
    """Both lips, without what is between them. [H, W], 0-1, soft."""
    return _soft((polygon(points, LIPS_OUTER, shape) & ~polygon(points, LIPS_INNER, shape)) > 127, width * 0.01)


def kept(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    points: NDArray[np.float32],
    shape: tuple[int, int],
    width: float,
) -> NDArray[np.float32]:
    """How much of each pixel is the target's own mouth. [H, W], 0-1, soft.

    In an open mouth, everything inside the lips. In a closed one whose source smiles with its teeth, the lips
    too: lips that were drawn apart cannot be closed by bending.

    source, target: the face meshes; points: where the mesh is in the result; width: of the face
    """
    wide, inside = openness(target), polygon(points, LIPS_INNER, shape) > 127
    shut = (1 - wide) * openness(source)
    whole = grown(polygon(points, LIPS_OUTER, shape) > 127, width * 0.015)
    return np.asarray(np.maximum(_soft(inside, width * 0.008) * wide, _soft(whole, width * 0.02) * shut), np.float32)


def _soft(inside: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(0.5, sigma)), np.float32)
