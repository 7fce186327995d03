"""What a sketch of a photographed garment would look like: its outline, and inner lines as bold as asked."""

from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from modiste.lines import thin

Style = Literal["outline", "bold", "fine"]
STYLES: tuple[Style, ...] = ("outline", "bold", "fine")
# Canny's upper threshold and the shortest line kept, in pixels.
INNER: dict[Style, tuple[float, int]] = {"bold": (150.0, 14), "fine": (80.0, 8)}


def outline(matte: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The contours of the garment, holes of some size included. matte: uint8 [H, W]; returns bool [H, W]."""
    inside = (cv2.GaussianBlur(matte, (0, 0), 1.0) > 127).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    drawn = np.zeros(matte.shape, np.uint8)
    cv2.drawContours(drawn, [c for c in contours if len(c) >= 16], -1, 1, 1)
    return drawn > 0


def inner_lines(photograph: NDArray[np.uint8], matte: NDArray[np.uint8], style: Style) -> NDArray[np.bool_]:
    """Seams, collars, folds and prints: Canny on a smoothed picture, short lines dropped.

    photograph: uint8 [H, W, 3] RGB; matte: uint8 [H, W]; returns bool [H, W]
    """
    if style == "outline":
        return np.zeros(matte.shape, np.bool_)
    threshold, shortest = INNER[style]
    smooth = cv2.bilateralFilter(photograph, 5, 40.0, 2.5)
    # Dark cloth has seams too: stretch the garment's own range of lightness before looking for edges.
    inside = matte > 200
    lightness = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    low, high = np.percentile(lightness[inside], (2, 98)) if inside.any() else (0.0, 255.0)
    stretched = np.clip((lightness - low) * (255.0 / max(float(high - low), 70.0)), 0, 255).astype(np.uint8)
    found = cv2.Canny(stretched, threshold * 0.5, threshold, L2gradient=True)
    found[cv2.erode(matte, np.ones((5, 5), np.uint8)) < 128] = 0
    _, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    return np.asarray((stats[:, cv2.CC_STAT_AREA] >= shortest)[labels] & (labels > 0))


def unsteady(lines: NDArray[np.bool_], amount: float, rng: Generator) -> NDArray[np.bool_]:
    """The same lines from an unsteady hand: displaced by about `amount` pixels, still one pixel wide."""
    if amount <= 0:
        return lines
    height, width = lines.shape
    coarse = rng.normal(0.0, 1.0, (2, max(height // 16, 2), max(width // 16, 2))).astype(np.float32)
    dx, dy = (cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) * amount for plane in coarse)
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    # The distance to a line can be resampled without gaps; the lines themselves cannot.
    distance = cv2.distanceTransform((~lines).astype(np.uint8), cv2.DIST_L2, 3)
    moved = cv2.remap(distance, xs + dx, ys + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=9.0)
    return thin(moved < 0.75)


def without_some(lines: NDArray[np.bool_], share: float, rng: Generator) -> NDArray[np.bool_]:
    """Whole lines left out with probability `share`."""
    count, labels = cv2.connectedComponents(lines.astype(np.uint8), connectivity=8)
    kept = rng.random(count) >= share
    kept[0] = False
    return np.asarray(kept[labels])


def with_gaps(lines: NDArray[np.bool_], gaps: int, rng: Generator) -> NDArray[np.bool_]:
    """Small squares rubbed out, where lines are."""
    ys, xs = np.nonzero(lines)
    left = lines.copy()
    for _ in range(gaps if len(ys) else 0):
        at, reach = int(rng.integers(len(ys))), int(rng.integers(1, 4))
        left[max(ys[at] - reach, 0) : ys[at] + reach + 1, max(xs[at] - reach, 0) : xs[at] + reach + 1] = False
    return left


def edges(photograph: NDArray[np.uint8], matte: NDArray[np.uint8], style: Style) -> NDArray[np.float32]:
    """The clean sketch of a garment, as used for measuring.

    photograph: uint8 [H, W, 3] RGB on white; matte: uint8 [H, W], 255 on the garment
    returns:    float32 [H, W], 1 on a line, 0 elsewhere
    """
    return thin(outline(matte) | inner_lines(photograph, matte, style)).astype(np.float32)


def drawn_edges(photograph: NDArray[np.uint8], matte: NDArray[np.uint8], rng: Generator) -> NDArray[np.float32]:
    """A sketch as some hand might draw it: any style, unsteady, with lines missing. Shapes as in `edges`."""
    style = STYLES[int(rng.choice(3, p=(0.3, 0.45, 0.25)))]
    inner = without_some(inner_lines(photograph, matte, style), float(rng.uniform(0.0, 0.5)), rng)
    lines = outline(matte) | inner
    amount = float(rng.uniform(0.3, 1.3)) if rng.random() < 0.6 else 0.0
    lines = thin(unsteady(lines, amount, rng))
    return with_gaps(lines, int(rng.integers(0, 6)), rng).astype(np.float32)
