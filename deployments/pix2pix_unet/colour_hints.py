"""Drawings with colour hints: what the coloured-sketch generators were trained on, and how users draw for them.

Black lines one pixel wide on white; over them, small squares in the colour of the picture beneath. There is no mask:
white means that nothing is said. Convention of `michaelnation26/pix2pix-edges-with-color`.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.kit import Arrays
from deployments.networks import Procedure
from modiste.image import RGBImage
from modiste.sketch import NormalisedSketch

POINTS = 350
"""Hints that a training picture carries; with fewer, white bleeds into the colours."""
WHITE = 5.75 * 127.5
"""Sum of red, green and blue from which a pixel is white: 2.75 where each goes from -1 to 1."""
RADIUS = 1
"""A hint is a square of 2 RADIUS + 1 pixels; so is the width of a stroke drawn by hand."""

Points = NDArray[np.int64]
"""[K, 2] rows and columns."""


def drawing_of(picture: RGBImage) -> RGBImage:
    """The edges of a picture, black on white."""
    smooth = cv2.bilateralFilter(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 5, 50, 50)
    return RGBImage(cv2.cvtColor(255 - cv2.Canny(smooth, 45, 100), cv2.COLOR_GRAY2RGB))


def coloured_pixels(picture: RGBImage) -> Points:
    """Where the picture is not white, row by row."""
    return np.argwhere(picture.sum(2, dtype=np.uint16) < WHITE)


def choose_points(picture: RGBImage, random: np.random.RandomState, count: int = POINTS) -> Points:
    """Different coloured pixels by chance; fewer than `count` where there are no more."""
    among = coloured_pixels(picture)
    return among[random.permutation(len(among))[:count]]


def with_hints(drawing: RGBImage, picture: RGBImage, points: Points) -> NDArray[np.float32]:
    """The generator's input: the drawing, and over it a square in the picture's mean colour there for each point.

    drawing, picture: of the same size
    points:           painted in this order; squares are cut at the border
    returns:          [H, W, 3] float32, RGB, -1 to 1
    """
    height, width = picture.shape[:2]
    steps = np.arange(-RADIUS, RADIUS + 1)
    square = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    reached = points[:, None] + square
    inside: NDArray[np.bool_] = np.asarray(((reached >= 0) & (reached < (height, width))).all(-1))
    rows, columns = np.where(inside[..., None], reached, 0).transpose(2, 0, 1)
    colours = (picture[rows, columns] * inside[..., None]).sum(1, dtype=np.float32) / inside.sum(1, keepdims=True)
    painted = drawing.astype(np.float32)
    # Where squares overlap, numpy keeps what is assigned last, which is the later point's.
    painted[rows[inside], columns[inside]] = colours.repeat(inside.sum(1), axis=0)
    return np.asarray(painted / np.float32(127.5) - 1, np.float32)


def as_input(sketch: NormalisedSketch) -> NDArray[np.float32]:
    """The generator's input for a drawing whose lines and hints were told apart: [S, S, 3] float32, RGB, -1 to 1."""
    lines = 1 - 2 * sketch.edges[..., None]
    return np.asarray(np.where(sketch.hint_mask[..., None] > 0, sketch.hint_rgb, lines), np.float32)


def _reproduce(arrays: Arrays) -> Mapping[str, float]:
    picture = RGBImage(arrays["image_rgb"])
    drawing = drawing_of(picture)
    chosen = choose_points(picture, np.random.RandomState(0), len(arrays["points_yx"]))
    results: dict[str, NDArray[Any]] = {
        "edges": drawing,
        "points_yx": chosen,
        "source_with_points": with_hints(drawing, picture, chosen),
        "source_manual": with_hints(drawing, picture, arrays["manual_points_yx"]),
        "non_white_count": np.asarray(len(coloured_pixels(picture))),
    }
    return {name: _worst(arrays[name].astype(np.float64), result) for name, result in results.items()}


def _worst(expected: NDArray[np.float64], result: NDArray[Any]) -> float:
    return float(np.abs(expected - result).max() / np.abs(expected).max())


COLOUR_HINTS = Procedure(
    knows=lambda names: {"image_rgb", "edges", "points_yx", "source_with_points"} <= names, reproduce=_reproduce
)
