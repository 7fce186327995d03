"""From drawings to what the sketch network expects."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from modiste.errors import NoSketch
from modiste.image import RGBImage
from modiste.sketch import normalise_sketch

OUTLINE = np.array([(0.3, 0.2), (0.7, 0.2), (0.85, 0.8), (0.15, 0.8)])


def skirt(size: int, width: int = 1, colour: tuple[int, int, int] = (0, 0, 0)) -> NDArray[np.uint8]:
    paper = np.full((size, size, 3), 255, np.uint8)
    cv2.polylines(paper, [(OUTLINE * size).astype(np.int32)], True, colour, width, cv2.LINE_AA)
    return paper


def near(lines: NDArray[np.float32], reach: int) -> NDArray[np.bool_]:
    return np.asarray(cv2.dilate(lines, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0)


@pytest.mark.parametrize(("size", "width"), [(128, 1), (256, 1), (512, 1), (512, 6), (700, 2), (1600, 3), (3000, 12)])
def test_any_size_and_pen_gives_the_same_lines(size: int, width: int) -> None:
    found = normalise_sketch(RGBImage(skirt(size, width)))
    rows, columns = np.nonzero(found.edges)
    assert abs(np.ptp(columns) + 1 - 112) <= 2 and abs(np.ptp(rows) + 1 - 112 * 6 / 7) <= 3
    assert abs((columns.min() + columns.max()) / 2 - 63.5) <= 1.5
    assert abs((rows.min() + rows.max()) / 2 - 63.5) <= 1.5
    reference = normalise_sketch(RGBImage(skirt(512))).edges
    assert not found.edges[~near(reference, 2)].any() and not reference[~near(found.edges, 2)].any()
    assert not found.hint_mask.any()


def test_lines_are_thin_and_closed() -> None:
    edges = normalise_sketch(RGBImage(skirt(512, 5))).edges
    assert edges.dtype == np.float32 and set(np.unique(edges)) == {0.0, 1.0}
    assert edges.sum() < 420
    outside = (edges == 0).astype(np.uint8)
    areas = cv2.connectedComponentsWithStats(outside, connectivity=4)[2][1:, cv2.CC_STAT_AREA]
    assert sum(area > 500 for area in areas) == 2


@pytest.mark.parametrize("colour", [(220, 30, 30), (20, 40, 150), (240, 200, 40), (20, 20, 20), (150, 150, 150)])
def test_strokes_become_hints_of_their_colour(colour: tuple[int, int, int]) -> None:
    drawing = skirt(512)
    cv2.line(drawing, (256, 200), (256, 320), colour, 14)
    found = normalise_sketch(RGBImage(drawing))
    marked = found.hint_mask > 0
    assert 27 <= marked.sum() <= 400
    assert np.abs((found.hint_rgb[marked] + 1) * 127.5 - colour).max() < 12
    assert not found.hint_rgb[~marked].any()
    rows, columns = np.nonzero(marked)
    place = found.to_network @ (256, 260, 1)
    assert np.hypot(columns.mean() - place[0], rows.mean() - place[1]) < 3
    assert not found.edges[marked].any()


def test_small_dots_are_hints_of_three_by_three() -> None:
    drawing = skirt(256)
    drawing[150:153, 120:123] = (30, 160, 60)
    found = normalise_sketch(RGBImage(drawing))
    assert found.hint_mask.sum() == 9
    assert np.abs((found.hint_rgb[found.hint_mask > 0] + 1) * 127.5 - (30, 160, 60)).max() < 8


def test_grey_paper_and_uneven_light_do_not_matter() -> None:
    drawing = skirt(600, 3).astype(np.float32)
    cv2.line(drawing, (300, 250), (300, 350), (40, 60, 200), 8)
    light = np.linspace(0.55, 0.95, 600, dtype=np.float32)[None, :, None] * np.array([1.0, 0.98, 0.9], np.float32)
    noise = np.random.default_rng(0).normal(0, 3, drawing.shape)
    photographed = np.clip(drawing * light + noise, 0, 255).astype(np.uint8)
    found = normalise_sketch(RGBImage(photographed))
    reference = normalise_sketch(RGBImage(skirt(600, 3)))
    assert not found.edges[~near(reference.edges, 2)].any()
    assert near(found.edges, 2)[reference.edges > 0].all()
    assert 9 <= found.hint_mask.sum() <= 200


def test_a_drawing_in_coloured_pen_is_a_drawing() -> None:
    found = normalise_sketch(RGBImage(skirt(512, 3, (30, 50, 190))))
    assert found.edges.sum() > 250 and not found.hint_mask.any()


def test_specks_do_not_move_the_drawing() -> None:
    drawing = skirt(512)
    drawing[10, 10] = drawing[500:502, 505] = 0
    assert np.array_equal(normalise_sketch(RGBImage(drawing)).edges, normalise_sketch(RGBImage(skirt(512))).edges)


@pytest.mark.parametrize("shade", [255, 128, 0])
def test_blank_paper_is_no_sketch(shade: int) -> None:
    with pytest.raises(NoSketch, match="expected the outline"):
        normalise_sketch(RGBImage(np.full((300, 400, 3), shade, np.uint8)))


def test_white_on_black_is_no_sketch() -> None:
    with pytest.raises(NoSketch, match="light paper"):
        normalise_sketch(RGBImage(255 - skirt(512)))


def test_a_dot_is_no_sketch() -> None:
    drawing = np.full((300, 300, 3), 255, np.uint8)
    drawing[100:108, 100:108] = 0
    with pytest.raises(NoSketch):
        normalise_sketch(RGBImage(drawing))
