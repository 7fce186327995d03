"""From RetinaFace's numbers to faces: priors, boxes, landmarks, and one face for each.

Deng et al., "RetinaFace", CVPR 2020, arXiv:1905.00641. Places and sizes are shares of the picture's width and height.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MEAN = (104.0, 117.0, 123.0)
"""Taken from blue, green and red of 0-255."""
SIZES = ((16, 32), (64, 128), (256, 512))
STEPS = (8, 16, 32)
VARIANCES = (0.1, 0.2)
WORTH_A_LOOK = 0.02
CANDIDATES = 5000
SAME = 0.4
FACES = 750


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """sizes: sides of the squares of each level, pixels; steps: pixels between their centres; clip: to the picture"""

    sizes: Sequence[Sequence[int]] = SIZES
    steps: Sequence[int] = STEPS
    clip: bool = False


OFFICIAL = Priors()


def priors(height: int, width: int, told: Priors = OFFICIAL) -> Floats:
    """Squares about the cells of each level, row by row, all sizes of a cell side by side.

    returns: [K, 4] centre x, centre y, width, height
    """
    levels = []
    for sizes, step in zip(told.sizes, told.steps, strict=True):
        y = (np.arange(-(-height // step)) + 0.5) * step / height
        x = (np.arange(-(-width // step)) + 0.5) * step / width
        cells = np.stack(np.broadcast_arrays(x[None, :, None], y[:, None, None], 0.0, 0.0), -1)
        squares = np.repeat(cells, len(sizes), 2)
        squares[..., 2:] = np.asarray(sizes, np.float64)[:, None] / (width, height)
        levels.append(squares.reshape(-1, 4))
    found = np.concatenate(levels).astype(np.float32)
    return found.clip(0, 1) if told.clip else found


def boxes(predicted: Floats, around: Floats, variances: Sequence[float] = VARIANCES) -> Floats:
    """predicted: [K, 4]; around: the priors [K, 4]; returns [K, 4] left, top, right, bottom."""
    near, far = np.float32(variances[0]), np.float32(variances[1])
    centre = around[:, :2] + predicted[:, :2] * near * around[:, 2:]
    size = around[:, 2:] * np.exp(predicted[:, 2:] * far)
    corner = centre - size / 2
    return np.concatenate((corner, corner + size), 1)


def landmarks(predicted: Floats, around: Floats, variances: Sequence[float] = VARIANCES) -> Floats:
    """predicted: [K, 10]; around: the priors [K, 4].

    returns: [K, 10], x and y of the image-left eye, the right eye, the nose, the left and the right mouth corner
    """
    reach = np.tile(np.float32(variances[0]) * around[:, 2:], 5)
    return np.tile(around[:, :2], 5) + predicted * reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """boxes: [F, 4] left, top, right, bottom, pixels; points: [F, 5, 2] x, y, pixels; scores: [F], most likely first"""

    boxes: Floats
    points: Floats
    scores: Floats


def faces(loc: Floats, logits: Floats, landms: Floats, height: int, width: int, sure: float = WORTH_A_LOOK) -> Found:
    """The faces of one picture, overlapping candidates of the same face left out.

    loc, logits, landms: [K, 4], [K, 2], [K, 10] of a picture of this size
    """
    scores = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    likely = np.flatnonzero(scores > sure)
    likely = likely[np.argsort(-scores[likely], kind="stable")[:CANDIDATES]]
    around = priors(height, width)[likely]
    size = np.array([width, height], np.float32)
    corners = boxes(loc[likely], around) * np.tile(size, 2)
    points = (landmarks(landms[likely], around) * np.tile(size, 5)).reshape(-1, 5, 2)
    # A box reaches to the far edge of its last pixel: the reference counts one pixel more each way.
    sides = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2] + 1), 1)
    kept = cv2.dnn.NMSBoxes(sides.tolist(), scores[likely].tolist(), sure, SAME)
    order = np.asarray(kept, np.int64).ravel()[:FACES]
    return Found(boxes=corners[order], points=points[order], scores=scores[likely][order].astype(np.float32))
