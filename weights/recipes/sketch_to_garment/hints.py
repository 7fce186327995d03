"""Colour hints as a user would give them: points of 3 x 3 pixels in their mean colour, strokes 3 px wide."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

MOST_POINTS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """rgb: float32 [H, W, 3] in [-1, 1], 0 where there is no hint; mask: float32 [H, W], 1 where there is."""

    rgb: NDArray[np.float32]
    mask: NDArray[np.float32]


def no_hints(size: int) -> Hints:
    return Hints(rgb=np.zeros((size, size, 3), np.float32), mask=np.zeros((size, size), np.float32))


def points(photograph: NDArray[np.uint8], matte: NDArray[np.uint8], number: int, rng: Generator) -> Hints:
    """Up to `number` points on the garment. photograph: uint8 [H, H, 3] RGB; matte: uint8 [H, H]."""
    hints = no_hints(photograph.shape[0])
    add_points(hints, photograph, matte, number, rng)
    return hints


def random_hints(photograph: NDArray[np.uint8], matte: NDArray[np.uint8], rng: Generator) -> Hints:
    """Points (few more often than many), strokes, or both; at least one of them."""
    hints = no_hints(photograph.shape[0])
    kind = rng.random()
    if kind < 0.4 or kind >= 0.8:
        add_strokes(hints, photograph, matte, int(rng.integers(1, 5)), rng)
    if kind >= 0.4:
        add_points(hints, photograph, matte, 1 + int((MOST_POINTS - 1) * rng.random() ** 1.5), rng)
    return hints


def add_points(
    hints: Hints, photograph: NDArray[np.uint8], matte: NDArray[np.uint8], number: int, rng: Generator
) -> None:
    ys, xs = _inside(matte)
    if len(ys) == 0:
        return
    means = _means(photograph)
    for at in rng.choice(len(ys), min(number, len(ys)), replace=False):
        y, x = int(ys[at]), int(xs[at])
        hints.rgb[y - 1 : y + 2, x - 1 : x + 2] = means[y, x]
        hints.mask[y - 1 : y + 2, x - 1 : x + 2] = 1.0


def add_strokes(
    hints: Hints, photograph: NDArray[np.uint8], matte: NDArray[np.uint8], number: int, rng: Generator
) -> None:
    """Wandering strokes, each in one colour: the mean of what it runs over."""
    ys, xs = _inside(matte)
    if len(ys) == 0:
        return
    means = _means(photograph)
    for _ in range(number):
        at = int(rng.integers(len(ys)))
        place, heading = np.array([xs[at], ys[at]], np.float64), float(rng.uniform(0, 2 * np.pi))
        track = [place]
        for _ in range(int(rng.integers(2, 9))):
            heading += float(rng.normal(0, 0.5))
            place = place + 3.0 * np.array([np.cos(heading), np.sin(heading)])
            track.append(place)
        drawn = np.zeros(matte.shape, np.uint8)
        cv2.polylines(drawn, [np.round(track).astype(np.int32)], False, 1, 3)
        covered = (drawn > 0) & (matte > 200)
        if covered.any():
            hints.rgb[covered] = means[covered].mean(axis=0)
            hints.mask[covered] = 1.0


def _inside(matte: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns whose 3 x 3 surroundings lie on the garment, away from the border of the picture."""
    safe = cv2.erode(matte, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 200
    rows, columns = np.nonzero(safe)
    return rows, columns


def _means(photograph: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colour of each 3 x 3 window, float32 in [-1, 1]."""
    return np.asarray(cv2.blur(photograph.astype(np.float32), (3, 3)) / 127.5 - 1.0, np.float32)
