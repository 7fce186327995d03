"""Pictures as SCHP wants them, label maps from what it says, and its label sets in CIHP's terms."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import Keypoints, LabelMap, RGBImage
from modiste.labels import JOINT, Clothes

LIP, ATR = 473, 512
"""Side of the network's input, pixels, by the data that it learnt from; Pascal's as ATR's."""
MEAN_BGR, SPREAD_BGR = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)

LIP_NAMES = (
    "background", "hat", "hair", "glove", "sunglasses", "upper_clothes", "dress", "coat", "socks", "trousers",
    "jumpsuit", "scarf", "skirt", "face", "left_arm", "right_arm", "left_leg", "right_leg", "left_shoe", "right_shoe",
)  # fmt: skip
"""CIHP's as well, but for the jumpsuit: there the class is the trunk's skin, which LIP counts to the face."""

ATR_NAMES = (
    "background", "hat", "hair", "sunglasses", "upper_clothes", "skirt", "trousers", "dress", "belt", "left_shoe",
    "right_shoe", "face", "left_leg", "right_leg", "left_arm", "right_arm", "bag", "scarf",
)  # fmt: skip
ATR_TO_CIHP = np.array((0, 1, 2, 4, 5, 12, 9, 6, 0, 18, 19, 13, 16, 17, 14, 15, 0, 11), np.uint8)
"""Belts and bags become background, as CIHP has none."""
LIP_TO_CIHP = np.where(np.arange(20) == LIP_NAMES.index("jumpsuit"), Clothes.DRESS, np.arange(20)).astype(np.uint8)
"""A jumpsuit is a dress: one garment from the shoulders to the legs."""
CHIN = 0.45
"""Where the chin is on the way from the nose to the neck, which is between the shoulders."""


def prepare(picture: RGBImage, side: int) -> NDArray[np.float32]:
    """The network's input, [1, 3, side, side] BGR, normalised; the picture in the middle of black, as large as fits."""
    height, width = picture.shape[:2]
    scale, left, top = _placement(height, width, side)
    matrix = np.array(((scale, 0, left), (0, scale, top)))
    placed = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR)
    scaled = placed[:, :, ::-1] * np.float32(1 / 255)
    normal = (scaled - np.array(MEAN_BGR, np.float32)) / np.array(SPREAD_BGR, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


def labels(logits: NDArray[np.float32], side: int, height: int, width: int) -> LabelMap:
    """The classes of every pixel of a picture.

    logits: [C, h, w] of the fusion; side: of the network's input; height, width: of the picture
    """
    scale, left, top = _placement(height, width, side)
    rows = _between(logits.shape[1], side, np.arange(height) * scale + top)
    columns = _between(logits.shape[2], side, np.arange(width) * scale + left).T
    best, largest = np.zeros((height, width), np.uint8), np.full((height, width), -np.inf, np.float32)
    for number, plane in enumerate(logits):
        enlarged = rows @ plane @ columns
        best[enlarged > largest] = number
        np.maximum(largest, enlarged, out=largest)
    return LabelMap(best)


def with_neck(clothes: LabelMap, keypoints: Keypoints) -> LabelMap:
    """CIHP's trunk skin, where the network has no class for it and counts it to the face: all of that below the chin.

    clothes:   [H, W] in CIHP's classes
    keypoints: BODY_25; where the nose or the neck was not seen, everything stays as it is
    """
    nose, neck = keypoints[JOINT["nose"]], keypoints[JOINT["neck"]]
    way = (neck - nose)[:2]
    if not (nose[2] > 0 and neck[2] > 0 and way.any()):
        return clothes
    rows, columns = np.nonzero(clothes == Clothes.FACE)
    along = ((np.stack([columns, rows], axis=1) - nose[:2]) @ way) / float(way @ way)
    below = along > CHIN
    found = clothes.copy()
    found[rows[below], columns[below]] = Clothes.TORSO_SKIN
    return LabelMap(found)


def _placement(height: int, width: int, side: int) -> tuple[float, float, float]:
    """Scale, left and top of a picture in the input: the centres of its outermost pixels on those of the input's."""
    scale = (side - 1) / max(height - 1, width - 1, 1)
    return scale, (side - 1 - scale * (width - 1)) / 2, (side - 1 - scale * (height - 1)) / 2


def _between(cells: int, side: int, at: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """[P, cells]: each place's shares of the cells, first enlarged to the input's side and then looked up there."""
    steps = np.linspace(0, cells - 1, side)
    low = np.floor(at).astype(np.intp).clip(0, side - 2)
    share = (at - low)[:, None]
    every = np.maximum(1 - np.abs(steps[:, None] - np.arange(cells)), 0)
    return np.asarray(every[low] * (1 - share) + every[low + 1] * share, np.float32)
