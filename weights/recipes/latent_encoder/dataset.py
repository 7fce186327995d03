"""Numbered examples: a generated picture, spoilt as photographs are, and the coordinates it was made from."""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from weights.recipes.latent_encoder.generator import Floats

HELD_OUT = 16
"""One number in so many is never trained on."""
MEAN, SPREAD = 127.0, 128.0
SHIFT, TURN, SCALE = 0.02, 3.0, 0.05
"""Most that a picture is moved (share of its side), turned (degrees) and scaled: FFHQ's alignment by another mesh."""


def numbers(pairs: Path, count: int, *, held_out: bool) -> list[int]:
    """The pairs below `count` that exist, held out or not."""
    there = (int(file.stem) for file in pairs.glob("[0-9]*.jpg") if file.stem.isdigit())
    return sorted(n for n in there if n < count and (n % HELD_OUT == 0) == held_out)


def read(pairs: Path, number: int) -> NDArray[np.uint8]:
    """uint8 [256, 256, 3] RGB"""
    stored = cv2.imread(str(pairs / f"{number:06}.jpg"), cv2.IMREAD_COLOR)
    if stored is None:
        raise FileNotFoundError(f"expected the picture of pair {number} in {pairs}")
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.uint8)


def planes(picture: NDArray[np.uint8]) -> Floats:
    """uint8 [H, W, 3] -> float32 [3, H, W] as the network takes it."""
    return np.ascontiguousarray(((picture.astype(np.float32) - MEAN) / SPREAD).transpose(2, 0, 1))


def spoilt(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Moved a little, relit, tinted, and often blurred, noisy or compressed."""
    side = picture.shape[0]
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.normal(0, TURN / 2), 1 + rng.normal(0, SCALE / 2))
    matrix[:, 2] += rng.normal(0, SHIFT / 2, 2) * side
    x = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    light = x.astype(np.float32) / 255
    light = light ** np.float32(np.exp(rng.normal(0, 0.15)))
    light = (light - 0.5) * np.float32(np.exp(rng.normal(0, 0.12))) + 0.5 + np.float32(rng.normal(0, 0.03))
    light *= np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    light = grey + (light - grey) * np.float32(np.exp(rng.normal(0, 0.15)))
    if rng.random() < 0.3:
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.3:
        light = light + rng.standard_normal(light.shape, np.float32) * np.float32(rng.uniform(0.005, 0.04))
    x = np.clip(light * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, code = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        x = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return np.asarray(x, np.uint8)


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Pairs in the given order: planes [3, 256, 256] and coordinates [64]."""

    def __init__(self, pairs: Path, chosen: list[int], goals: Floats, *, spoilt_by: int | None) -> None:
        """goals: [N, 64], row i of number i; spoilt_by: seed, None for pictures as they are"""
        self.pairs, self.chosen, self.goals, self.spoilt_by = pairs, chosen, goals, spoilt_by

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number = self.chosen[index]
        picture = read(self.pairs, number)
        if self.spoilt_by is not None:
            picture = spoilt(picture, np.random.default_rng((self.spoilt_by, index)))
        return torch.from_numpy(planes(picture)), torch.from_numpy(self.goals[number])
