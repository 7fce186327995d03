"""Who the source is, asked once for all frames that it is put into."""

import hashlib
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from compile.engine import Engine
from modiste.image import RGBImage

Floats = NDArray[np.float32]
REMEMBERED = 16
"""Faces whose embedding is kept, 2 KB each."""


def signed(image: RGBImage) -> Floats:
    """[H, W, 3], -1 to 1"""
    return np.asarray(image.astype(np.float32) / np.float32(127.5) - 1, np.float32)


def planes(image: Floats) -> Floats:
    """[H, W, 3] -> [1, 3, H, W]"""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def to_image(planes: Floats) -> RGBImage:
    """[3, H, W], -1 to 1 -> [H, W, 3]"""
    return RGBImage(np.clip(np.rint(planes.transpose(1, 2, 0) * 127.5 + 127.5), 0, 255).astype(np.uint8))


class Identities:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[bytes, Floats] = OrderedDict()

    def __call__(self, face: Floats) -> Floats:
        """face: [1, 3, S, S] -> embedding [1, C]"""
        key = hashlib.blake2b(face.tobytes(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._engine({"face": face})["embedding"]
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]
