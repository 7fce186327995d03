"""Paint-by-Example: pictures in, tensors out, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compile.kit import Arrays
from deployments.networks import Procedure
from modiste.image import Mask, RGBImage

Floats = NDArray[np.float32]

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
SPREAD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""CLIP's mean and standard deviation of red, green and blue, 0 to 1."""


def kept(mask: Mask) -> Floats:
    """[1, 1, H, W]: 1 where the picture stays, 0 where it is painted, which is the inverse of a mask."""
    return np.asarray(mask < 128, np.float32)[None, None]


def masked(picture: RGBImage, keep: Floats) -> Floats:
    """[1, 3, H, W] RGB, -1 to 1; 0 (grey) where the picture is painted.

    keep: from `kept`
    """
    scaled = picture.astype(np.float32) / np.float32(127.5) - 1
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None] * keep)


def at_latents(keep: Floats, height: int, width: int) -> Floats:
    """[1, 1, height, width]: of each cell the value at its upper left corner."""
    rows = np.arange(height) * keep.shape[2] // height
    columns = np.arange(width) * keep.shape[3] // width
    return np.ascontiguousarray(keep[:, :, rows[:, None], columns])


def example_at(side: int, example: RGBImage) -> Floats:
    """[1, 3, side, side] as CLIP wants it: the shorter edge resized to `side`, the middle cut out, normalised."""
    height, width = example.shape[:2]
    scale = side / min(height, width)
    size = (max(side, int(width * scale)), max(side, int(height * scale)))
    resized = np.asarray(Image.fromarray(example).resize(size, Image.Resampling.BICUBIC))
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    middle = resized[top : top + side, left : left + side].astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((middle - MEAN) / SPREAD).transpose(2, 0, 1)[None])


def picture_of(decoded: Floats) -> RGBImage:
    """decoded: [1, 3, H, W] RGB, about -1 to 1"""
    return RGBImage(np.rint((decoded[0].transpose(1, 2, 0) * 0.5 + 0.5).clip(0, 1) * 255).astype(np.uint8))


def _reproduce(arrays: Arrays) -> Mapping[str, float]:
    keep = kept(Mask(arrays["mask_image"]))
    results = {"mask": keep, "masked_image": masked(RGBImage(arrays["image"]), keep)}
    return {name: _worst(arrays, name, result) for name, result in results.items()}


def _worst(arrays: Arrays, name: str, result: NDArray[Any]) -> float:
    *shape, stride = (int(n) for n in arrays[f"{name}@shape"])
    if list(result.shape) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {list(result.shape)}")
    return float(np.abs(result.reshape(-1)[::stride] - arrays[name]).max() / np.abs(arrays[name]).max())


PREPARATION = Procedure(
    knows=lambda names: {"image", "mask_image", "mask", "masked_image", "vae_moments"} <= names, reproduce=_reproduce
)
