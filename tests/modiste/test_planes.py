"""Stored colours against libswscale's, and repainting that leaves the rest alone."""

import numpy as np
import pytest
from av.video.frame import VideoFrame

from modiste.geometry import Box
from modiste.image import RGBImage
from modiste.planes import Colours, Planes

NAMES = {1: "ITU709", 5: "ITU601", 2: "ITU601"}


def picture(height: int, width: int) -> RGBImage:
    y, x = np.mgrid[:height, :width]
    return RGBImage(np.stack([40 + 2 * x, 200 - y, 60 + x + y], axis=-1).astype(np.uint8))


def stored(image: RGBImage, colours: Colours) -> Planes:
    """By repainting all of an empty picture."""
    height, width = image.shape[:2]
    half = np.zeros(((height + 1) // 2, (width + 1) // 2), np.uint8)
    return Planes(np.zeros((height, width), np.uint8), half, half, colours).repainted(image, [Box(0, 0, width, height)])


@pytest.mark.parametrize("colours", [Colours(2, 0), Colours(5, 1), Colours(1, 1), Colours(1, 2)])
def test_colours_are_those_of_libswscale(colours: Colours) -> None:
    image = picture(48, 64)
    planes = stored(image, colours)
    packed = np.concatenate([plane.ravel() for plane in (planes.y, planes.u, planes.v)]).reshape(72, 64)
    frame = VideoFrame.from_ndarray(packed, format="yuv420p")
    theirs = frame.reformat(
        format="rgb24", src_colorspace=NAMES[colours.matrix], src_color_range=max(1, colours.range), interpolation=2
    ).to_ndarray()
    assert np.abs(planes.rgb().astype(int) - image).max() < 5
    assert np.abs(theirs.astype(int) - planes.rgb()).mean() < 2


def test_only_the_boxes_change() -> None:
    before = stored(picture(48, 64), Colours(1, 1))
    after = before.repainted(RGBImage(np.full((48, 64, 3), 250, np.uint8)), [Box(11, 7, 20, 15), Box(-9, 40, 3, 60)])
    changed = after.y != before.y
    assert changed[7:15, 11:20].all() and changed[40:, :3].all()
    changed[6:16, 10:20] = changed[40:, :4] = False
    assert not changed.any()
    assert before.repainted(picture(48, 64), []) is before


def test_odd_sides() -> None:
    image = picture(35, 51)
    assert np.abs(stored(image, Colours(2, 0)).rgb().astype(int) - image).max() < 6
