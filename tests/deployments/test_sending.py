"""How much a call carries, by which its way is chosen."""

from dataclasses import dataclass

import numpy as np

from deployments.base import array_bytes
from deployments.roles import Sketch
from modiste.image import RGBImage


@dataclass(frozen=True)
class View:
    image: RGBImage
    points: tuple[np.ndarray, ...]
    name: str = "bytes of text do not count"


def test_arrays_count_wherever_they_are() -> None:
    image = RGBImage(np.zeros((10, 10, 3), np.uint8))
    points = np.zeros((5, 2), np.float32)
    assert array_bytes(image) == 300
    assert array_bytes([View(image, (points, points)), image, None, "x", 3]) == 300 + 80 + 300
    assert array_bytes([Sketch(image=image, category=None)]) == 300
    assert array_bytes([]) == 0
