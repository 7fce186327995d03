import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modiste.geometry import Box, bounding_box, crop, invert, paste, similarity, transform, warp
from modiste.image import Mask, RGBImage


def noise(height: int, width: int) -> RGBImage:
    return RGBImage(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


@given(st.floats(-3.1, 3.1), st.floats(0.2, 5), st.floats(-50, 50), st.floats(-50, 50))
def test_similarity_finds_the_transform_that_was_applied(angle: float, scale: float, dx: float, dy: float) -> None:
    points = np.array([[0, 0], [10, 2], [3, 8], [7, 7]], np.float32)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    moved = transform(points, np.array([[c, -s, dx], [s, c, dy]]))
    found = similarity(points, moved)
    assert np.abs(transform(points, found) - moved).max() < 1e-3
    assert np.abs(transform(moved, invert(found)) - points).max() < 1e-3


def test_box_arithmetic() -> None:
    box = Box(10, 20, 30, 60)
    assert (box.width, box.height, box.area, box.centre) == (20, 40, 800, (20, 40))
    assert box.scaled(2) == Box(0, 0, 40, 80)
    assert box.iou(box) == 1 and box.iou(Box(30, 20, 50, 60)) == 0
    assert abs(box.iou(Box(20, 20, 40, 60)) - 1 / 3) < 1e-9
    assert Box(-5.5, 3.2, 200, 90).clipped(50, 100) == Box(0, 3, 100, 50)
    assert bounding_box(np.array([[1, 5, 9], [4, 2, 9]], np.float32)) == Box(1, 2, 4, 5)


def test_crop_stays_inside_and_says_where_it_was() -> None:
    picture = noise(50, 80)
    part, inside = crop(picture, Box(-10, 20, 30, 70))
    assert inside == Box(0, 20, 30, 50)
    assert (part == picture[20:50, 0:30]).all()


def test_pasting_an_untouched_patch_changes_nothing_much_and_nothing_outside() -> None:
    smooth = np.mgrid[:120, :160].sum(axis=0).astype(np.uint8)
    canvas = RGBImage(np.repeat(smooth[..., None], 3, axis=2))
    matrix = similarity(np.array([[60, 40], [100, 50]], np.float32), np.array([[40, 50], [90, 50]], np.float32))
    patch = warp(canvas, matrix, 128, 128)
    mask = Mask(np.zeros((128, 128), np.uint8))
    mask[30:90, 30:90] = 255
    back = paste(canvas, patch, mask, matrix)
    assert np.abs(back.astype(int) - canvas).max() <= 3
    other = paste(canvas, RGBImage(255 - patch), mask, matrix)
    changed = (other != canvas).any(axis=2)
    inside = transform(np.argwhere(changed)[:, ::-1].astype(np.float32), matrix)
    assert changed.any()
    assert inside.min() >= 28 and inside.max() <= 92


def test_an_empty_mask_gives_the_same_bytes() -> None:
    canvas = noise(60, 60)
    identity = np.array([[1.0, 0, -10], [0, 1, -10]])
    nothing = Mask(np.zeros((32, 32), np.uint8))
    assert (paste(canvas, RGBImage(np.zeros((32, 32, 3), np.uint8)), nothing, identity) == canvas).all()


def test_shrinking_does_not_alias() -> None:
    stripes = RGBImage(np.zeros((400, 400, 3), np.uint8))
    stripes[:, ::2] = 255
    small = warp(stripes, np.array([[0.1, 0, 0], [0, 0.1, 0]]), 40, 40)
    assert abs(float(small[5:35, 5:35].mean()) - 127.5) < 8
