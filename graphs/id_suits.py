"""Suits to put a head on: those of the samples, or an uploaded cut-out whose neck opening is found in its alpha."""

import json
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from modiste.errors import UnsuitableSuit
from modiste.geometry import Points
from modiste.image import Mask, RGBAImage, decode_rgba
from modiste.settings import settings

SuitName = Literal["m_suit_navy", "m_suit_charcoal", "m_shirt_blue", "f_suit_black", "f_suit_beige", "f_blouse_white"]
LEAST_WIDTH = 300
EYES_APART = 0.142
"""Distance of the eyes over the width of the clothed shoulders."""
EYES_ABOVE = 2.05
"""Height of the eyes over the corners of the neck opening, in eye distances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suit:
    """picture: [H, W, 4]; opening: 255 where skin must fill the neck; eyes: [2, 2] where the head's eyes belong, the
    one further left first."""

    picture: RGBAImage
    opening: Mask
    eyes: Points


def load_suit(name: SuitName) -> Suit:
    """One of the samples' suits."""
    folder = settings().samples / "suits"
    facts = json.loads((folder / f"{name}.json").read_text())
    picture = decode_rgba((folder / facts["image"]).read_bytes())
    inner = decode_rgba((folder / facts["inner_mask"]).read_bytes())[..., 0]
    eyes = np.array([facts["template_r_eye"], facts["template_l_eye"]], np.float32)
    return Suit(picture=picture, opening=Mask(np.ascontiguousarray(inner)), eyes=eyes)


def suit_from(cutout: RGBAImage) -> Suit:
    """An uploaded suit: shoulders and chest without a head, everything else transparent.

    The neck opening is the transparent notch between the two collar points, or a transparent hole under the collar.
    raises: UnsuitableSuit where there is no transparency, no opening, or too few pixels
    """
    solid = (cutout[..., 3] > 127).astype(np.uint8)
    columns = np.flatnonzero(solid.any(axis=0))
    if solid.all() or len(columns) == 0:
        raise UnsuitableSuit(
            "expected a suit on a transparent ground, got a picture that is opaque or empty throughout"
        )
    across = int(columns[-1] - columns[0] + 1)
    if across < LEAST_WIDTH:
        raise UnsuitableSuit(f"expected a suit at least {LEAST_WIDTH} pixels wide, got {across}")
    opening = _hole(solid, across)
    if opening is None:
        opening = _notch(solid, columns, across)
    if opening is None:
        raise UnsuitableSuit(
            "expected a transparent neck opening at the top of the suit, got none wider than a tenth of it"
        )
    rows, spots = np.nonzero(opening)
    middle = (float(spots.min()) + float(spots.max())) / 2
    corners = float(rows.min())
    apart = EYES_APART * across
    eyes = np.array([[middle - apart / 2, corners], [middle + apart / 2, corners]], np.float32)
    eyes[:, 1] -= EYES_ABOVE * apart
    return Suit(picture=cutout, opening=Mask(opening * np.uint8(255)), eyes=eyes)


def _hole(solid: np.ndarray, across: int) -> np.ndarray | None:
    """A transparent patch enclosed by the collar, in the upper half."""
    count, patches, stats, _ = cv2.connectedComponentsWithStats(np.pad(1 - solid, 1, constant_values=1), connectivity=4)
    outside = patches[0, 0]
    for patch in sorted(range(1, count), key=lambda i: -int(stats[i, cv2.CC_STAT_AREA])):
        _, top, width, _, _ = stats[patch]
        if patch != outside and width > 0.1 * across and top < solid.shape[0] / 2:
            return np.asarray((patches == patch)[1:-1, 1:-1], np.uint8)
    return None


def _notch(solid: np.ndarray, columns: np.ndarray, across: int) -> np.ndarray | None:
    """Transparent columns between the highest points left and right of the middle, down to the cloth."""
    height = len(solid)
    top = np.where(solid.any(axis=0), solid.argmax(axis=0), height)
    middle, reach = int((columns[0] + columns[-1]) / 2), int(0.25 * across)
    left = middle - reach + int(top[middle - reach : middle].argmin())
    right = middle + int(top[middle : middle + reach].argmin())
    level = int(max(top[left], top[right]))
    between = np.arange(left, right + 1)
    deep = top[between] - level
    if right - left < 0.1 * across or deep.max() < 0.04 * across:
        return None
    opening = np.zeros_like(solid)
    for x in between:
        opening[level : max(level, int(top[x])), x] = 1
    return opening
