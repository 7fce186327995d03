"""Light and skin colour of the target on the warped source.

Light and skin tone multiply, so differences are taken between logarithms of colour. What is darker than the skin
around it (brows, lashes, lips) is multiplied by the same gain as the skin; what is brighter is gloss, which mirrors
the lamp and not the skin, and is shifted by as much as the skin was.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.image import RGBImage

Colour = NDArray[np.float32]
"""float32 [H, W, 3] RGB, 0-1."""
Weights = NDArray[np.float32]
"""float32 [H, W], 0-1."""

LIGHT_REACH, CAST_REACH = 0.12, 0.06
"""Blur (sigma) that separates light, and its colour, from features, in widths of the face."""
_FLOOR = 0.03
_LIGHT_LIMIT, _CAST_LIMIT = 0.45, 0.25
"""How far local light and its colour may differ from the mean: keeps a cast on one cheek from becoming a stain."""
_LIP_LIMIT = 0.35
_BLACK, _SKIN = 0.4, 0.85
"""Brightness against the skin around: up to the first a pixel has no colour to change, from the second all of it."""
_KNEE = 0.92
"""Brightness above which highlights are compressed rather than cut."""
_GREY = 3.0
"""Mean difference between channels, 0-255, under which a picture is taken for black and white."""


def is_grey(image: RGBImage) -> bool:
    channels = image.astype(np.float32)
    return float(np.ptp(channels, axis=2).mean()) < _GREY


def grey(image: RGBImage) -> RGBImage:
    return RGBImage(np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2))


def to_rgb(colour: Colour) -> RGBImage:
    value = colour.copy()
    over = value > _KNEE
    value[over] = _KNEE + (1 - _KNEE) * np.tanh((value[over] - _KNEE) / (1 - _KNEE))
    return RGBImage(np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8))


def smooth_known(values: NDArray[np.float32], known: Weights, sigma: float) -> NDArray[np.float32]:
    """Blur [H, W, 3] over the known pixels only (normalised convolution), and go on smoothly past them."""
    total = np.zeros(values.shape, np.float32)
    share = np.zeros(known.shape, np.float32)
    for reach, trust in ((1.0, 1.0), (2.5, 0.05), (8.0, 0.001)):
        step = max(1, int(sigma * reach / 3))  # a blur this wide loses nothing at a lower resolution
        size = (max(1, known.shape[1] // step), max(1, known.shape[0] // step))
        small = cv2.resize(values * known[..., None], size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        s = sigma * reach / step
        small = cv2.GaussianBlur(small, (0, 0), s, borderType=cv2.BORDER_REPLICATE)
        weight = cv2.GaussianBlur(weight, (0, 0), s, borderType=cv2.BORDER_REPLICATE)
        whole = known.shape[::-1]
        total += trust * cv2.resize(small, whole, interpolation=cv2.INTER_LINEAR)
        share += trust * cv2.resize(weight, whole, interpolation=cv2.INTER_LINEAR)
    return np.asarray(total / np.maximum(share, np.float32(1e-9))[..., None], np.float32)


def matched(source: RGBImage, target: RGBImage, skin: Weights, obey: Weights, *, width: float, tone: float) -> Colour:
    """skin: where both show bare skin; obey: how much each pixel follows, 0-1.

    width: of the face, pixels; tone: 0 keeps the source's mean skin colour, 1 takes the target's
    returns: the source, lit and coloured as the target, not clipped
    """
    given = np.asarray(source.astype(np.float32) / 255, np.float32)
    total = float(skin.sum())
    if total < 50:
        return given
    ours = np.log(given + np.float32(_FLOOR))
    difference = np.asarray(np.log(target.astype(np.float32) / 255 + np.float32(_FLOOR)) - ours, np.float32)
    mean = np.asarray((difference * skin[..., None]).sum(axis=(0, 1)) / total, np.float32)
    light = smooth_known(difference, skin, LIGHT_REACH * width) - mean
    cast = smooth_known(difference, skin, CAST_REACH * width) - mean
    light = light.mean(axis=2, keepdims=True)
    cast = cast - cast.mean(axis=2, keepdims=True)
    change = tone * mean
    change = change + _LIGHT_LIMIT * np.tanh(light / _LIGHT_LIMIT) + _CAST_LIMIT * np.tanh(cast / _CAST_LIMIT)
    around = np.exp(smooth_known(ours, skin, LIGHT_REACH * width)) - _FLOOR
    # Hair, lashes and pupils are nearly black under any light: they become lighter or darker, not another colour.
    lit = np.clip(given.mean(axis=2) / np.maximum(around.mean(axis=2), 0.05), 0, 1)[..., None]
    coloured = np.clip((lit - _BLACK) / (_SKIN - _BLACK), 0, 1)
    level = change.mean(axis=2, keepdims=True)
    gain = np.exp((level + (change - level) * coloured) * obey[..., None])
    return np.asarray(np.minimum(given, around) * gain + np.maximum(given - around, 0), np.float32)


def lips_nearer(face: Colour, own: RGBImage, lips: Weights, share: float) -> Colour:
    """Lips `share` of the way to the mean colour of the target's own; `own`: the target on the same mesh."""
    total = float(lips.sum())
    if total < 20:
        return face
    wanted = np.log(own.astype(np.float32) / 255 + _FLOOR)
    now = np.log(np.clip(face, 0, 1) + _FLOOR)
    mean = ((wanted - now) * lips[..., None]).sum(axis=(0, 1)) / total
    shift = share * _LIP_LIMIT * np.tanh(mean / _LIP_LIMIT)
    return np.asarray(face * np.exp(shift * lips[..., None]), np.float32)
