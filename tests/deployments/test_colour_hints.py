"""Colour hints: squares of the picture's mean colour over its edges."""

import numpy as np
import pytest

from deployments.pix2pix_unet.colour_hints import choose_points, coloured_pixels, drawing_of, with_hints
from modiste.image import RGBImage


@pytest.fixture
def picture() -> RGBImage:
    image = np.full((40, 60, 3), 255, np.uint8)
    image[10:30, 15:45] = (200, 40, 60)
    return RGBImage(image)


def test_edges_are_black_lines_around_the_thing(picture: RGBImage) -> None:
    drawing = drawing_of(picture)
    black = np.argwhere(~drawing.any(2))
    assert set(np.unique(drawing)) == {0, 255}
    assert len(black) >= 80
    assert (black.min(0) >= (8, 13)).all()
    assert (black.max(0) <= (31, 46)).all()


def test_hints_are_chosen_once_each_and_never_on_white(picture: RGBImage) -> None:
    points = choose_points(picture, np.random.RandomState(0), 350)
    assert len(points) == 350
    assert len(np.unique(points, axis=0)) == 350
    assert (picture[points[:, 0], points[:, 1]] == (200, 40, 60)).all()
    assert len(choose_points(picture, np.random.RandomState(0), 9999)) == len(coloured_pixels(picture)) == 20 * 30


def test_squares_are_cut_at_the_border_and_take_the_mean_below(picture: RGBImage) -> None:
    drawing = RGBImage(np.full_like(picture, 255))
    source = with_hints(drawing, picture, np.array([[0, 0], [39, 59], [10, 30]]))
    painted = np.argwhere((source != 1).any(2))
    assert {tuple(p) for p in painted} == {
        (y, x) for y in (9, 10, 11) for x in (29, 30, 31)
    }  # white hints change nothing
    mean = (3 * np.array([255.0, 255, 255]) + 6 * np.array([200.0, 40, 60])) / 9
    assert source[9:12, 29:32] == pytest.approx(np.broadcast_to(mean / 127.5 - 1, (3, 3, 3)), abs=1e-6)


def test_a_later_hint_covers_an_earlier_one() -> None:
    picture = RGBImage(np.random.default_rng(0).integers(0, 200, (9, 9, 3), dtype=np.uint8))
    white = RGBImage(np.full_like(picture, 255))
    first, second = np.array([[4, 4]]), np.array([[4, 5]])
    both = with_hints(white, picture, np.concatenate([first, second]))
    assert np.array_equal(both[3:6, 4:7], with_hints(white, picture, second)[3:6, 4:7])
    assert np.array_equal(both[3:6, 3], with_hints(white, picture, first)[3:6, 3])


def test_no_hints_leave_the_drawing(picture: RGBImage) -> None:
    drawing = drawing_of(picture)
    assert np.array_equal(with_hints(drawing, picture, np.zeros((0, 2), np.int64)), drawing / np.float32(127.5) - 1)
