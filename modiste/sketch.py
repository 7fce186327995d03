"""From any drawing to what painters are trained on: thin lines, garment centred, hints as 3 x 3 points."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.errors import NoSketch
from modiste.image import RGBImage
from modiste.lines import thin

SIZE = 128
LONG_SIDE = 112
"""Length of the drawing's longer side where the picture is 128 pixels; others are in proportion."""
WORKING = 640
"""Longest side at which lines are looked for."""
DARK = 0.62
"""Brightness relative to the paper below which something neutral is a line."""
COLOURED = 0.16
"""Spread between the channels, relative to the paper, from which something is a colour."""
BLOB, PENS = 0.022, 3.0
"""Neutral marks thicker than this share of the longest side and than so many widths of the pen are hints."""
MOST_POINTS = 60
"""Hints that are kept of many, evenly picked."""
MOST_MARKED = 0.5
"""Share of the picture from which it is no drawing on light paper."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


class NormalisedSketch(NamedTuple):
    """edges:      float32 [S, S], 1 on a line, 0 elsewhere
    hint_rgb:   float32 [S, S, 3], RGB, [-1, 1], 0 where there is no hint
    hint_mask:  float32 [S, S], 1 where there is a hint
    to_network: float64 [2, 3], from the drawing's pixels to these
    """

    edges: Floats
    hint_rgb: Floats
    hint_mask: Floats
    to_network: NDArray[np.float64]


def normalise_sketch(rgb: RGBImage, size: int = SIZE, most_points: int = MOST_POINTS) -> NormalisedSketch:
    """Tell lines from hints, and put both where the network expects them.

    Dark neutral marks are lines, thinned to one pixel and scaled so that their longer side is 7/8 of the picture;
    coloured marks, and neutral ones too thick for a line, are colour hints. Where nothing dark was drawn, the
    coloured marks are the drawing and there are no hints. Uneven paper is evened out first.

    rgb:  uint8 [H, W, 3], on light paper
    size: of the picture that the network sees, pixels
    raises: NoSketch where nothing that could be an outline is drawn, or where there is hardly any paper
    """
    small, scale = _working_copy(rgb)
    clean = _on_white(small)
    marked = float((clean.min(axis=2) < DARK).mean())
    if marked > MOST_MARKED:
        raise NoSketch(f"expected the outline of a garment on light paper, got marks on {marked:.0%} of the picture")
    dark, coloured, thick = _told_apart(clean)
    lines, hinted = _without_specks(dark), coloured | thick
    if not lines.any():
        lines, hinted = _without_specks(coloured), np.zeros_like(coloured)
    ys, xs = np.nonzero(lines)
    longest = max(np.ptp(xs), np.ptp(ys)) + 1 if len(xs) else 0
    if longest < 16:
        raise NoSketch(f"expected the outline of a garment in dark lines on light paper, got marks of {longest} px")
    zoom = LONG_SIDE / SIZE * size / longest
    middle = np.array([(xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2])
    matrix = np.column_stack([np.eye(2) * zoom, (size - 1) / 2 - zoom * middle])
    edges = _redrawn(thin(lines), matrix, size)
    hint_rgb, hint_mask = _points(clean, hinted, matrix, size, most_points)
    return NormalisedSketch(edges, hint_rgb, hint_mask, matrix @ np.diag([scale, scale, 1.0]))


def _working_copy(rgb: RGBImage) -> tuple[NDArray[np.uint8], float]:
    """The drawing at a size to work at, and the scale. Blocks become their darkest pixel: lines survive."""
    longest = max(rgb.shape[:2])
    factor = -(-longest // WORKING)
    if factor == 1:
        return np.asarray(rgb, np.uint8), 1.0
    darkest = cv2.erode(rgb, np.ones((factor, factor), np.uint8))
    size = (max(rgb.shape[1] // factor, 1), max(rgb.shape[0] // factor, 1))
    return np.asarray(cv2.resize(darkest, size, interpolation=cv2.INTER_NEAREST), np.uint8), 1.0 / factor


def _on_white(drawing: NDArray[np.uint8]) -> Floats:
    """float32 [H, W, 3], 1 on blank paper: each place relative to the lightest around it."""
    around = max(drawing.shape[:2]) // 8 | 1
    window = cv2.getStructuringElement(cv2.MORPH_RECT, (around, around))
    paper = cv2.dilate(cv2.medianBlur(drawing, 5), window)
    paper = cv2.blur(paper, (around, around)).astype(np.float32)
    return np.asarray(np.clip(drawing / np.maximum(paper, 60.0), 0.0, 1.0), np.float32)


def _told_apart(clean: Floats) -> tuple[Bools, Bools, Bools]:
    """(dark lines, coloured marks, neutral marks too thick for a line), bool [H, W] each."""
    brightest, darkest = clean.max(axis=2), clean.min(axis=2)
    coloured = brightest - darkest > COLOURED
    dark = (brightest < DARK) & ~coloured
    # Lines are thicker where they meet.
    radii = cv2.distanceTransform(dark.astype(np.uint8), cv2.DIST_L2, 3)[thin(dark)]
    pen = 2 * float(np.median(radii)) if len(radii) else 0.0
    thickness = max(9, round(BLOB * max(dark.shape)), round(PENS * pen)) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickness, thickness))
    neutral = ((brightest < 0.85) & ~coloured).astype(np.uint8)
    blobs = cv2.morphologyEx(neutral, cv2.MORPH_OPEN, disc) > 0
    # The soft rim of a thick mark belongs to the mark.
    near_blobs = cv2.dilate(blobs.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    # A colour one pixel wide is the rim of a line, not a hint.
    solid = cv2.morphologyEx(coloured.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0
    return dark & ~near_blobs, solid, blobs


def _without_specks(lines: Bools) -> Bools:
    """Marks shorter than 1.5% of the longest side are dust; lines that nearly touch count together."""
    joined = cv2.dilate(lines.astype(np.uint8), np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    extent = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) - 2
    kept = extent >= max(3.0, 0.015 * max(lines.shape))
    kept[0] = False
    return np.asarray(kept[labels] & lines)


def _redrawn(skeleton: Bools, matrix: NDArray[np.float64], size: int) -> Floats:
    """The skeleton's links drawn again on the network's grid, so that no scale breaks or thickens them."""
    drawn = np.zeros((size, size), np.uint8)
    padded = np.pad(skeleton, 1)
    ys, xs = np.nonzero(skeleton)
    sub = 16  # sixteenths of a pixel
    for dy, dx in ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1)):
        linked = padded[ys + 1 + dy, xs + 1 + dx]
        begin = np.column_stack([xs[linked], ys[linked]])
        links = np.stack([begin, begin + np.array([dx, dy])], axis=1) @ matrix[:, :2].T + matrix[:, 2]
        cv2.polylines(drawn, list(np.round(links * sub).astype(np.int32)), False, 1, 1, cv2.LINE_8, 4)
    return thin(drawn > 0).astype(np.float32)


def _points(clean: Floats, hinted: Bools, matrix: NDArray[np.float64], size: int, most: int) -> tuple[Floats, Floats]:
    """Coloured marks as points of 3 x 3 pixels, side by side along strokes, in the mark's own colour."""
    hint_rgb, hint_mask = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    # Rims are mixed with paper: only what is nearly as strong as the strongest close by counts.
    strength = (1.0 - clean.min(axis=2)) * hinted
    strongest = cv2.dilate(strength, np.ones((5, 5), np.uint8))
    ys, xs = np.nonzero(hinted & (strength >= 0.85 * strongest))
    if len(ys) == 0:
        return hint_rgb, hint_mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hinted.astype(np.uint8), connectivity=8)
    # Cells of 3 x 3 around the middle of each mark, so that a dot falls into one.
    extent = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    middles = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]] + (extent - 1) / 2
    mark_of = labels[ys, xs]
    places = np.column_stack([xs, ys]) @ matrix[:, :2].T + matrix[:, 2]
    cells = np.round((places - middles[mark_of] @ matrix[:, :2].T - matrix[:, 2]) / 3).astype(np.int64)
    within = ((places > 1) & (places < size - 2)).all(axis=1)
    places, colours = places[within], clean[ys[within], xs[within]] * 2 - 1
    _, cell_of = np.unique(np.column_stack([mark_of, cells])[within], axis=0, return_inverse=True)
    number = int(cell_of.max()) + 1 if len(cell_of) else 0
    for cell in range(0, number, -(-max(number, 1) // most)):
        x, y = np.round(places[cell_of == cell].mean(axis=0)).astype(int)
        hint_rgb[y - 1 : y + 2, x - 1 : x + 2] = np.median(colours[cell_of == cell], axis=0)
        hint_mask[y - 1 : y + 2, x - 1 : x + 2] = 1.0
    return hint_rgb, hint_mask
