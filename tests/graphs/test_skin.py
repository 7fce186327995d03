"""Skin tones: measured where the skin is, moved without flattening its shading."""

import cv2
import numpy as np
import pytest

from graphs.skin import as_hex, measure, parse_hex, recolour
from modiste.image import Mask, RGBImage

LIGHT, DARK = "#d9a88c", "#5c3a2a"


def lit_ball(colour: str) -> tuple[RGBImage, Mask]:
    """A ball of skin, lit from the left, on blue ground."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    inside = x**2 + y**2 < 0.8
    light = np.clip(0.85 - 0.35 * x, 0, 1.2)[..., None]
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    image = np.where(inside[..., None], np.clip(rgb * light, 0, 255), (30, 60, 160)).astype(np.uint8)
    return RGBImage(image), Mask((inside * 255).astype(np.uint8))


def test_hex_round_trip() -> None:
    for colour in (LIGHT, DARK, "#ffffff", "#c08080"):
        assert as_hex(parse_hex(colour)) == colour


def test_the_tone_is_that_of_the_skin_not_of_highlight_or_ground() -> None:
    image, mask = lit_ball(LIGHT)
    cv2.circle(image, (30, 40), 6, (255, 255, 255), -1)
    tone, wanted = measure(image, mask), parse_hex(LIGHT)
    assert abs(tone[0] - wanted[0]) < 4
    assert abs(tone[1] - wanted[1]) < 0.06
    assert abs(tone[2] - wanted[2]) < 0.15


def test_reddish_skin_is_not_torn_apart_at_the_hue_circle() -> None:
    x = np.mgrid[:64, :64][1]
    hsv = np.stack([(x % 12 - 6) % 360, np.full_like(x, 0.4, float), np.full_like(x, 0.7, float)], -1)
    image = cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB)
    tone = measure(RGBImage((image * 255).astype(np.uint8)), Mask(np.full((64, 64), 255, np.uint8)))
    assert abs(tone[0]) < 8


@pytest.mark.parametrize(("start", "end"), [(LIGHT, DARK), (DARK, LIGHT)])
def test_recolouring_reaches_the_tone_and_keeps_the_shading(start: str, end: str) -> None:
    image, mask = lit_ball(start)
    changed = recolour(image, mask, measure(image, mask), parse_hex(end))

    reached = measure(changed, mask)
    assert np.allclose(reached, parse_hex(end), atol=[3, 0.04, 0.05])
    inside = mask > 0
    before, after = image.max(axis=2)[inside].astype(int), changed.max(axis=2)[inside].astype(int)
    assert np.corrcoef(before, after)[0, 1] > 0.97
    assert after.max() < 252
    assert np.array_equal(changed[~inside], image[~inside])


def test_an_empty_mask_is_refused() -> None:
    image, mask = lit_ball(LIGHT)
    with pytest.raises(ValueError, match="empty"):
        measure(image, Mask(np.zeros_like(mask)))
