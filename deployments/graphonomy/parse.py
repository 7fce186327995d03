"""Pictures as Graphonomy wants them, and label maps from what it says of a picture and of its mirror image.

CIHP's classes, which HR-VITON takes as they are: 0 background, 1 hat, 2 hair, 3 glove, 4 sunglasses, 5 upper clothes,
6 dress, 7 coat, 8 socks, 9 trousers, 10 trunk's skin, 11 scarf, 12 skirt, 13 face, 14-15 arms, 16-17 legs, 18-19 shoes
(left, right).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modiste.image import LabelMap, RGBImage

SCALES = (1.0, 0.5, 0.75, 1.25, 1.5, 1.75)
"""The published figures take the sum over these; one alone is the practical setting."""

MIRRORED = (*range(14), 15, 14, 17, 16, 19, 18)
"""Which class of the mirror image is each class: left is right."""


def prepare(picture: RGBImage, scale: float = 1.0) -> NDArray[np.float32]:
    """The picture and its mirror image, [2, 3, H, W] BGR, -1 to 1.

    scale: of the picture, see `SCALES`
    """
    height, width = picture.shape[:2]
    if scale != 1:
        size = int(width * scale), int(height * scale)
        picture = RGBImage(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)))
    tensor = (picture[:, :, ::-1] * np.float32(2 / 255) - np.float32(1)).transpose(2, 0, 1)
    return np.stack((tensor, tensor[:, :, ::-1]))


def fitted(height: int, width: int, longest: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side shall be no more than this; smaller ones stay as they are."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def labels(logits: Sequence[NDArray[np.float32]], size: tuple[int, int] | None = None) -> LabelMap:
    """The classes of every pixel.

    logits: [2, 20, H, W] of the picture and its mirror image, for each scale
    size:   (height, width) of the result; None = as the first's
    """
    height, width = logits[0].shape[2:]
    total = np.zeros(logits[0].shape[1:], np.float32)
    for straight, mirrored in logits:
        total += _along(_along((straight + mirrored[MIRRORED, :, ::-1]) / 2, 1, height), 2, width)
    if size is None or size == (height, width):
        return LabelMap(total.argmax(0).astype(np.uint8))
    # Class by class: all of them at a large picture's size would fill the memory.
    best, largest = np.zeros(size, np.uint8), np.full(size, -np.inf, np.float32)
    for number in range(len(total)):
        (enlarged,) = _along(_along(total[number : number + 1], 1, size[0]), 2, size[1])
        best[enlarged > largest] = number
        np.maximum(largest, enlarged, out=largest)
    return LabelMap(best)


def _along(maps: NDArray[np.float32], axis: int, size: int) -> NDArray[np.float32]:
    """Maps of this size along an axis; first and last cells stay first and last."""
    if maps.shape[axis] == size:
        return maps
    at = np.linspace(0, maps.shape[axis] - 1, size)
    low = at.astype(np.intp).clip(max=max(maps.shape[axis] - 2, 0))
    shape = [1, 1, 1]
    shape[axis] = size
    share = (at - low).astype(np.float32).reshape(shape)
    after = np.minimum(low + 1, maps.shape[axis] - 1)
    return np.asarray(maps.take(low, axis) * (1 - share) + maps.take(after, axis) * share, np.float32)
