"""Real-ESRGAN x4plus: sharp detail at four times the size.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021,
arXiv:2107.10833; network RRDBNet of ESRGAN, arXiv:1809.00219.
"""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import FaceRestoration, RestorationInput
from modiste.errors import InvalidOption
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

FACTOR = 4
TILE = 128
"""Longest side that goes through the network in one piece, pixels; memory grows with its square."""
OVERLAP = 12
"""What a tile sees beyond its own pixels on each side."""
USUAL = 110
"""Side of the middle one of the tiles of a face of 256 pixels, which is what graphs send."""

Plane = NDArray[np.float32]


class RealESRGAN(FaceRestoration):
    """Always computed at four times the size, then shrunk by area to the scale asked for."""

    spec = ModelSpec(
        id="real_esrgan",
        role="FaceRestoration",
        paper="Wang et al., Real-ESRGAN, ICCVW 2021, arXiv:2107.10833",
        licence="BSD-3-Clause",
        engines={
            "main": EngineSpec(
                weights="real_esrgan",
                precision="bfloat16",
                gpu_precision="float16",
                max_batch=4,
                inputs=(TensorSpec(name="image", shape=("N", 3, "H", "W"), range="[0, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="output", shape=("N", 3, "4H", "4W"), range="about [0, 1]", meaning="RGB", kind="picture"
                    ),
                ),
                sizes={"H": USUAL, "W": USUAL},
                buckets=({"H": (1, TILE), "W": (1, TILE)},),
            )
        },
        resources=Resources(gpu_memory_mb=900, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RestorationInput) -> Tensors:
        if x.scale not in (1, 2, 4):
            raise InvalidOption(f"expected a scale of 1, 2 or 4, got {x.scale}")
        return {"image": np.ascontiguousarray(x.image.transpose(2, 0, 1)[None], np.float32) / 255}

    def infer(self, feeds: Tensors) -> Tensors:
        """Tile by tile, each with a margin of its neighbours, so that no seam shows."""
        image = feeds["image"]
        height, width = image.shape[2:]
        output = np.empty((len(image), 3, height * FACTOR, width * FACTOR), np.float32)
        for top, bottom in spans(height):
            for left, right in spans(width):
                y0, x0 = max(0, top - OVERLAP), max(0, left - OVERLAP)
                tile = np.ascontiguousarray(image[:, :, y0 : bottom + OVERLAP, x0 : right + OVERLAP])
                larger = self.engines["main"]({"image": tile})["output"]
                inner = larger[
                    :, :, (top - y0) * FACTOR : (bottom - y0) * FACTOR, (left - x0) * FACTOR : (right - x0) * FACTOR
                ]
                output[:, :, top * FACTOR : bottom * FACTOR, left * FACTOR : right * FACTOR] = inner
        return {"output": output}

    def postprocess(self, outputs: Tensors, x: RestorationInput) -> RGBImage:
        large: Plane = outputs["output"][0].transpose(1, 2, 0)
        size = (x.image.shape[1] * x.scale, x.image.shape[0] * x.scale)
        if x.scale != FACTOR:
            large = np.asarray(cv2.resize(large, size, interpolation=cv2.INTER_AREA), np.float32)
        return RGBImage(np.ascontiguousarray(np.rint(np.clip(large, 0, 1) * 255).astype(np.uint8)))


def spans(length: int) -> list[tuple[int, int]]:
    """Cut a side into the fewest nearly equal stretches that fit a tile with its overlap."""
    if length <= TILE:
        return [(0, length)]
    count = -(-length // (TILE - 2 * OVERLAP))
    edges = [round(i * length / count) for i in range(count + 1)]
    return list(pairwise(edges))
