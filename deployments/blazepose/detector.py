"""BlazePose's person detector: anchors, decoding and non-maximum suppression.

The detector knows a person by the middle of the hips, a point that tells size and tilt (on the circle around
the whole body) and the same for the upper body. Offsets are relative to the letterboxed 224 px square.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.geometry import Box, Points
from modiste.image import RGBImage

SIDE = 224
GRIDS = ((28, 2), (14, 2), (7, 6))
"""Cells a side, anchors a cell: strides 8, 16 and three layers of 32, two anchors each."""
LEAST_SCORE = 0.5
OVERLAP = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """box: of the face; hips: their middle; rim: on the circle around the body, straight up along it.

    Pixels of the picture; hips and rim may lie outside it.
    """

    score: float
    box: Box
    hips: tuple[float, float]
    rim: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """side: the square's side in picture pixels; left, top: its corner in the picture."""

    side: float
    left: float
    top: float


def frame(image: RGBImage) -> Letterbox:
    """The square that holds the whole picture, the picture in its middle."""
    height, width = image.shape[:2]
    side = max(height, width)
    return Letterbox(side, (width - side) / 2, (height - side) / 2)


def letterbox(image: RGBImage) -> NDArray[np.float32]:
    """image: [H, W, 3] uint8 -> [224, 224, 3] float32, -1 to 1, black bars."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    left, top = (SIDE - w) // 2, (SIDE - h) // 2
    square[top : top + h, left : left + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    return square.astype(np.float32) / 127.5 - 1


def anchors() -> NDArray[np.float32]:
    """[2254, 2] centres (x, y), 0-1, in the order of the network's rows."""
    layers = []
    for cells, count in GRIDS:
        axis = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(axis, axis)
        layers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(layers)


ANCHORS = anchors()


def decode(raw: NDArray[np.float32], logits: NDArray[np.float32], square: Letterbox) -> tuple[Detection, ...]:
    """Rows of the network to people, best first.

    raw:    [2254, 12] box centre, size and four points, pixels of the square, relative to the anchor
    logits: [2254]
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    sure = np.flatnonzero(scores >= LEAST_SCORE)
    values = raw[sure].reshape(-1, 6, 2) / SIDE
    centres, sizes = values[:, 0] + ANCHORS[sure], values[:, 1]
    points = values[:, 2:] + ANCHORS[sure][:, None]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    left_over = list(np.argsort(-scores[sure]))
    found = []
    while left_over:
        best = left_over[0]
        overlap = np.array([_box(boxes[best]).iou(_box(boxes[i])) for i in left_over])
        group = [i for i, o in zip(left_over, overlap, strict=True) if o > OVERLAP]
        left_over = [i for i in left_over if i not in group]
        # Overlapping boxes are averaged by score, which is steadier than the best one alone.
        weight = scores[sure][group] / scores[sure][group].sum()
        box = weight @ boxes[group]
        mean: Points = np.einsum("g,gpc->pc", weight, points[group])
        offset = np.array([square.left, square.top])
        corners = box.reshape(2, 2) * square.side + offset
        mean = mean * square.side + offset
        found.append(
            Detection(
                score=float(scores[sure][best]),
                box=_box(corners.ravel()),
                hips=(float(mean[0, 0]), float(mean[0, 1])),
                rim=(float(mean[1, 0]), float(mean[1, 1])),
            )
        )
    return tuple(found)


def _box(corners: NDArray[np.floating]) -> Box:
    left, top, right, bottom = (float(v) for v in corners)
    return Box(left, top, right, bottom)
