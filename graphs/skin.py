"""Skin tone: measured by k-means in HSV on masked skin, and changed without touching the shading."""

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import Mask, RGBImage

Tone = NDArray[np.float64]
"""float64 [3]: hue (degrees, -180 to 180, 0 = red), saturation 0-1, value 0-1."""

_CLUSTERS = 3
_SAMPLES = 4000
_FLOOR = 0.02
"""Saturation and value are kept this far from 0 and 1, where ratios say nothing."""


def parse_hex(colour: str) -> Tone:
    """ "#rrggbb" -> its tone."""
    pixel = np.array([[[int(colour[i : i + 2], 16) for i in (1, 3, 5)]]], np.uint8)
    return np.array(_to_hsv(RGBImage(pixel))[0, 0], np.float64)


def as_hex(tone: Tone) -> str:
    pixel = _to_rgb(np.asarray(tone, np.float32).reshape(1, 1, 3))[0, 0]
    return "#{:02x}{:02x}{:02x}".format(*(int(v) for v in pixel))


def measure(image: RGBImage, skin: Mask) -> Tone:
    """The tone of the largest of three k-means clusters of the skin: neither highlight nor shadow.

    skin: 255 where there is bare skin
    raises: ValueError where the mask is empty
    """
    pixels = _to_hsv(image)[skin > 127]
    if not len(pixels):
        raise ValueError("expected a mask with skin in it, got an empty one")
    # Evenly spread samples instead of random ones: the same picture always measures the same.
    pixels = pixels[:: max(1, len(pixels) // _SAMPLES)]
    # One unit of hue counts as far as it moves a colour of middling saturation.
    scaled = (pixels * np.array([1 / 120, 1, 1])).astype(np.float32)
    count = min(_CLUSTERS, len(scaled))
    spread = np.argsort(scaled[:, 2])
    start = np.zeros((len(scaled), 1), np.int32)
    start[spread, 0] = np.arange(len(scaled)) * count // len(scaled)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    _, labels, centres = cv2.kmeans(scaled, count, start, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    largest = int(np.bincount(np.ravel(labels), minlength=count).argmax())
    return np.asarray(centres[largest] * np.array([120.0, 1.0, 1.0]), np.float64)


def recolour(image: RGBImage, skin: Mask, tone: Tone, wanted: Tone) -> RGBImage:
    """Move skin from one tone to another, keeping its shading.

    Hue is shifted. Saturation and value are multiplied where they fall, as less light would do it; where they
    rise, the brightest rise less, so that highlights stay below white in their old order.

    skin: soft mask, 255 = skin
    returns: a new picture; where the mask is 0 it equals `image` exactly
    """
    hsv = _to_hsv(image)
    hsv[..., 0] += wanted[0] - tone[0]
    for channel in (1, 2):
        old, new = (float(np.clip(t[channel], _FLOOR, 1 - _FLOOR)) for t in (tone, wanted))
        if new <= old:
            hsv[..., channel] *= new / old
        else:
            odds = new * (1 - old) / (old * (1 - new))
            hsv[..., channel] *= odds / (1 + (odds - 1) * hsv[..., channel])
    changed = _to_rgb(hsv).astype(np.float32)
    share = (skin.astype(np.float32) / 255)[..., None]
    mixed = image + (changed - image) * share
    return RGBImage(np.where(share > 0, np.rint(mixed), image).astype(np.uint8))


def _to_hsv(image: RGBImage) -> NDArray[np.float32]:
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 180) % 360 - 180  # skin lies around 0, where the circle must not be cut
    return np.asarray(hsv, np.float32)


def _to_rgb(hsv: NDArray[np.float32]) -> RGBImage:
    whole = np.stack([hsv[..., 0] % 360, hsv[..., 1], hsv[..., 2]], axis=-1).astype(np.float32)
    return RGBImage(np.rint(np.clip(cv2.cvtColor(whole, cv2.COLOR_HSV2RGB), 0, 1) * 255).astype(np.uint8))
