"""People's boxes around DensePose's networks: the picture's preparation, anchors, proposals and detections.

Faster R-CNN on a feature pyramid (Ren et al., arXiv:1506.01497; Lin et al., arXiv:1612.03144), with the settings of
DensePose R_50_FPN_s1x.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from modiste.image import RGBImage

Floats = NDArray[np.float32]

MEAN_BGR = (103.53, 116.28, 123.675)
SHORT, LONG, MULTIPLE = 800, 1333, 32
"""The shorter side becomes 800 pixels, or less where the longer one would exceed 1333; then it is padded."""

STRIDES, SIDES = (4, 8, 16, 32, 64), (32, 64, 128, 256, 512)
"""Pixels per cell of the five levels, and the side of their square anchors."""
SHAPES = (0.5, 1.0, 2.0)
"""Anchors' heights over widths, in the order of the network's channels."""

PROPOSED, PROPOSAL_OVERLAP = 1000, 0.7
"""So many of each level's anchors are looked at, and so many stay; what overlaps a better one more is dropped."""
SCORE, OVERLAP, MOST = 0.05, 0.5, 100
"""Least probability of a person, overlap as above, and most people."""
LARGEST = float(np.log(1000 / 16))
"""A box is enlarged no more than exp of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """boxes: float32 [P, 4] left, top, right, bottom in pixels of the network's input; scores: [P], best first."""

    boxes: Floats
    scores: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """size: (height, width) of the picture in the input, padded: of the input; back: [4], what boxes of the input are
    multiplied by to lie in the picture."""

    size: tuple[int, int]
    padded: tuple[int, int]
    back: Floats


def placed(height: int, width: int, short: int = SHORT) -> Placement:
    """Where a picture lies in the input. short: pixels of the shorter side; the longer's limit follows"""
    scale = min(short / min(height, width), short * LONG / SHORT / max(height, width))
    tall, wide = (max(1, int(side * scale + 0.5)) for side in (height, width))
    return Placement(
        size=(tall, wide),
        padded=(-(-tall // MULTIPLE) * MULTIPLE, -(-wide // MULTIPLE) * MULTIPLE),
        back=np.array((width / wide, height / tall) * 2, np.float32),
    )


def prepare(picture: RGBImage, short: int = SHORT) -> Floats:
    """The network's input: [1, 3, H, W] BGR less its mean, padded with 0 at the right and below to multiples of 32."""
    where = placed(picture.shape[0], picture.shape[1], short)
    height, width = where.size
    # Pillow's filter widens where pictures shrink, as in training; OpenCV's would leave pixels out.
    resized = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
    tensor = np.zeros((1, 3, *where.padded), np.float32)
    tensor[0, :, :height, :width] = (resized[:, :, ::-1] - np.array(MEAN_BGR, np.float32)).transpose(2, 0, 1)
    return tensor


@lru_cache(maxsize=16)
def anchors(height: int, width: int) -> tuple[Floats, ...]:
    """Boxes [A, 4] of each level, row by row, in each cell one of each shape, for an input of this padded size."""
    ratios = np.array(SHAPES)
    found = []
    for stride, side in zip(STRIDES, SIDES, strict=True):
        wide = side / np.sqrt(ratios)
        half = np.stack((wide, wide * ratios), 1) / 2
        rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)]
        centres = np.stack((columns, rows), -1).reshape(-1, 1, 2) * stride
        boxes = np.concatenate((centres - half, centres + half), -1)
        found.append(np.asarray(boxes.reshape(-1, 4), np.float32))
    return tuple(found)


def proposals(logits: Floats, deltas: Floats, padded: tuple[int, int], size: tuple[int, int]) -> Floats:
    """Boxes [R, 4] worth looking at, best first.

    logits, deltas: [A] and [A, 4] of one picture, as the network gives them
    padded, size:   (height, width) of the input, and of the picture in it
    """
    of_level = anchors(*padded)
    ends = np.cumsum([len(boxes) for boxes in of_level])
    kept_boxes, kept_logits, levels = [], [], []
    for level, (boxes, end) in enumerate(zip(of_level, ends, strict=True)):
        scores = logits[end - len(boxes) : end]
        best = _best(scores, PROPOSED)
        moved = within(shifted(boxes[best], deltas[end - len(boxes) : end][best]), size)
        real = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
        kept_boxes.append(moved[real])
        kept_logits.append(scores[best][real])
        levels.append(np.full(int(real.sum()), level))
    boxes, scores = np.concatenate(kept_boxes), np.concatenate(kept_logits)
    return boxes[_apart(boxes, scores, np.concatenate(levels), PROPOSAL_OVERLAP)[:PROPOSED]]


def people(boxes: Floats, logits: Floats, deltas: Floats, size: tuple[int, int], least: float = SCORE) -> People:
    """The people among proposals.

    boxes:  [R, 4] proposals; logits: [R, 2] of person and background; deltas: [R, 4], see `DensePose.classify`
    least:  probability of a person
    """
    weights = np.array((10, 10, 5, 5), np.float32)
    scores = np.asarray(expit(logits[:, 0] - logits[:, 1]), np.float32)
    likely = np.flatnonzero(scores > least)
    moved = within(shifted(boxes[likely], deltas[likely] / weights), size)
    kept = _apart(moved, scores[likely], np.zeros(len(likely), np.intp), OVERLAP)[:MOST]
    return People(boxes=moved[kept], scores=scores[likely][kept])


def shifted(boxes: Floats, deltas: Floats) -> Floats:
    """Boxes [R, 4] whose centres move by deltas [R, 4] of their sizes, and whose sizes grow by exp of them."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sizes / 2 + deltas[:, :2] * sizes
    half = np.exp(np.minimum(deltas[:, 2:], LARGEST)) * sizes / 2
    return np.concatenate((centres - half, centres + half), 1)


def within(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Boxes cut at the border of a picture of this (height, width)."""
    height, width = size
    return boxes.clip(0, np.array((width, height, width, height), np.float32))


def _best(scores: Floats, most: int) -> NDArray[np.intp]:
    """Indices of the highest scores, best first."""
    if len(scores) > most:
        among = np.argpartition(scores, -most)[-most:]
        return among[np.argsort(-scores[among], kind="stable")]
    return np.argsort(-scores, kind="stable")


def _apart(boxes: Floats, scores: Floats, groups: NDArray[np.intp], overlap: float) -> NDArray[np.intp]:
    """Indices of boxes that overlap no better one of their group by more than this, best first."""
    corners = boxes.astype(np.float64)
    rectangles = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), 1)
    kept = np.asarray(
        cv2.dnn.NMSBoxesBatched(rectangles.tolist(), scores.tolist(), groups.tolist(), -np.inf, overlap), np.intp
    ).reshape(-1)
    return kept[np.argsort(-scores[kept], kind="stable")]
