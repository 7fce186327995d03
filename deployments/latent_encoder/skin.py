"""Skin colour put back into a code.

The network was trained to see through light, and takes a darker face for a darker light. What colour the skin of a
generated face has follows about linearly from its coordinates, though (fitted by `weights/recipes/latent_encoder/
skin.py` into `skin.npy`), so the code is moved by the shortest step after which that reading gives the portrait's.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modiste.image import RGBImage

Floats = NDArray[np.float32]

READING: Floats = np.load(Path(__file__).with_name("skin.npy"))
"""float32 [65, 3]: RGB per deviation of each coordinate, and of the mean face."""
_PLACES = ((138, 165, 84, 106), (138, 165, 150, 172), (122, 148, 120, 136))
"""Cheeks and the bridge of the nose in FFHQ's crops of 256 px: top, bottom, left, right."""
_NOISE = 37.0
"""Error of a reading, 20 levels, over that of a coordinate as the network finds it, 0.54 deviations."""
_LONGEST = 1.5
"""Longest step, deviations: photographs darker than any face are in the shade."""


def colour(portrait: RGBImage) -> Floats:
    """Median skin colour, float32 [3] RGB in levels. portrait: uint8 [256, 256, 3], aligned as FFHQ"""
    seen = [portrait[top:bottom, left:right].reshape(-1, 3) for top, bottom, left, right in _PLACES]
    return np.asarray(np.median(np.concatenate(seen), axis=0), np.float32)


def with_colour(deviations: Floats, wanted: Floats) -> Floats:
    """float32 [64], coordinates in deviations -> those of the nearest face whose skin is read as `wanted`."""
    slope, mean = READING[:-1], READING[-1]
    missing = wanted - (deviations @ slope + mean)
    step = slope @ np.linalg.solve(slope.T @ slope + _NOISE**2 * np.eye(3, dtype=np.float32), missing)
    return np.asarray(deviations + step * min(1.0, _LONGEST / max(float(np.linalg.norm(step)), 1e-6)), np.float32)
