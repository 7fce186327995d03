"""Garment U-Net: where there is clothing, laid flat, on a hanger or worn.

Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597, on EfficientNet-B3 (Tan and Le, ICML 2019,
arXiv:1905.11946), trained by github.com/ternaus/cloths_segmentation.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import GarmentMask
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 800
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
SOFT = (0.25, 0.75)
"""Probabilities between which the outline is soft; the published threshold, 0.5, is halfway."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the picture lies in the square input, pixels."""

    left: int
    top: int
    width: int
    height: int


class ClothUNet(GarmentMask):
    spec = ModelSpec(
        id="cloth_unet",
        role="GarmentMask",
        paper="Ronneberger et al., U-Net, MICCAI 2015, arXiv:1505.04597",
        licence="MIT",
        engines={
            "main": EngineSpec(
                weights="cloth_unet",
                max_batch=4,
                inputs=(
                    TensorSpec(
                        name="image",
                        shape=("N", 3, SIDE, SIDE),
                        range="mean 0, deviation 1",
                        meaning="RGB, 0 around it",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="garment", shape=("N", 1, SIDE, SIDE), range="[0, 1]", meaning="clothing", kind="picture"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=2100, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        where = placed(x.shape[0], x.shape[1], self._side)
        resized = cv2.resize(x, (where.width, where.height), interpolation=cv2.INTER_LINEAR)
        tensor = np.zeros((1, 3, self._side, self._side), np.float32)
        scaled = (np.asarray(resized, np.float32) * np.float32(1 / 255) - MEAN) / DEVIATION
        rows, columns = _within(where)
        tensor[0, :, rows, columns] = scaled.transpose(2, 0, 1)
        return {"image": tensor}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        rows, columns = _within(placed(x.shape[0], x.shape[1], self._side))
        return softened(outputs["garment"][0, 0, rows, columns], *x.shape[:2])

    @property
    def _side(self) -> int:
        side = self.engines["main"].spec.inputs[0].shape[2]
        assert isinstance(side, int)
        return side


def placed(height: int, width: int, side: int) -> Placement:
    """In the middle, the longer side as long as the input's; what is odd goes to the right and below."""
    scale = side / max(height, width)
    wide, tall = (max(1, round(edge * scale)) for edge in (width, height))
    return Placement(left=(side - wide) // 2, top=(side - tall) // 2, width=wide, height=tall)


def softened(probability: NDArray[np.float32], height: int, width: int) -> Mask:
    """[h, w], 0-1 -> mask of the picture's size: the published threshold as a ramp."""
    enlarged = cv2.resize(np.ascontiguousarray(probability), (width, height), interpolation=cv2.INTER_LINEAR)
    low, high = SOFT
    return Mask(np.rint(((enlarged - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8))


def _within(where: Placement) -> tuple[slice, slice]:
    return slice(where.top, where.top + where.height), slice(where.left, where.left + where.width)
