"""From prepared tiles to training examples. Plain numpy: example number i is the same on every machine."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from weights.recipes.sketch_to_garment.edges import drawn_edges, edges
from weights.recipes.sketch_to_garment.hints import Hints, no_hints, points, random_hints
from weights.recipes.sketch_to_garment.prepare import CATEGORIES, GARMENT, TILE

SIZE = 128
LONG_SIDE = 112
"""Length of the garment's longer side in the network's picture."""
HELD_OUT = 10
"""One picture in this many is never trained on."""
MEASURED_POINTS = 20

Pixels = NDArray[np.integer[Any] | np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Garment:
    """tile: uint8 [160, 160, 4] RGBA, colour already on white."""

    id: str
    category: str
    tile: NDArray[np.uint8]


def is_held_out(id: str) -> bool:
    """A matter of the id alone, so that it stays so when pictures are added."""
    return int.from_bytes(hashlib.sha256(f"held out {id}".encode()).digest()[:8], "big") % HELD_OUT == 0


def load(tiles: Path, *, held_out: bool) -> dict[str, list[Garment]]:
    """The tiles of one side of the split, by category, in the order of their ids."""
    garments: dict[str, list[Garment]] = {}
    for category in CATEGORIES:
        garments[category] = []
        for file in sorted((tiles / category).glob("*.png")):
            if is_held_out(file.stem) == held_out:
                pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
                if pixels is None or pixels.shape != (TILE, TILE, 4):
                    raise ValueError(f"{file}: expected a {TILE} x {TILE} RGBA picture")
                rgba = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA), np.uint8)
                garments[category].append(Garment(id=file.stem, category=category, tile=rgba))
        if not garments[category]:
            raise ValueError(f"{tiles / category}: expected at least one tile, found none")
    return garments


def planes(lines: NDArray[np.float32], hints: Hints, category: str) -> NDArray[np.float32]:
    """The network's input, float32 [10, 128, 128]: edges, hint RGB, hint mask, a plane for each category."""
    kinds = np.zeros((len(CATEGORIES), SIZE, SIZE), np.float32)
    kinds[CATEGORIES.index(category)] = 1.0
    return np.concatenate([lines[None], hints.rgb.transpose(2, 0, 1), hints.mask[None], kinds])


def to_target(photograph: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [H, W, 3] RGB -> float32 [3, H, W] in [-1, 1]."""
    return np.ascontiguousarray(photograph.transpose(2, 0, 1), np.float32) / 127.5 - 1.0


def measured(garment: Garment, number: int = MEASURED_POINTS) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Input [10, 128, 128] and photograph uint8 [128, 128, 3] as measured on: without any jitter."""
    side = round(TILE * LONG_SIDE / GARMENT)
    small = cv2.resize(garment.tile, (side, side), interpolation=cv2.INTER_AREA)
    spare = SIZE - side
    near, far = spare // 2, spare - spare // 2
    framed = cv2.copyMakeBorder(small, near, far, near, far, cv2.BORDER_CONSTANT, value=(255, 255, 255, 0))
    photograph, matte = _parted(framed)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(garment.id.encode()).digest()[:8], "big"))
    hints = points(photograph, matte, number, rng) if number else no_hints(SIZE)
    return planes(edges(photograph, matte, "bold"), hints, garment.category), photograph


def example(
    garments: dict[str, list[Garment]], index: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Training example number `index`: input [10, 128, 128] and target [3, 128, 128]."""
    rng = np.random.default_rng((seed, index))
    # Between as they come and all alike: rare categories are seen more often, but not worn out.
    shares = np.sqrt([len(garments[category]) for category in CATEGORIES])
    category = CATEGORIES[int(rng.choice(len(CATEGORIES), p=shares / shares.sum()))]
    garment = garments[category][int(rng.integers(len(garments[category])))]
    photograph, matte = _placed(garment.tile, rng)
    hinted = rng.random() < 0.85
    photograph = _recoloured(photograph, matte, rng) if hinted else photograph
    hints = random_hints(photograph, matte, rng) if hinted else no_hints(SIZE)
    return planes(drawn_edges(photograph, matte, rng), hints, category), to_target(photograph)


def _placed(tile: NDArray[np.uint8], rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mirrored, scaled, turned and shifted a little: photograph [128, 128, 3] and matte [128, 128]."""
    scale = LONG_SIDE / GARMENT * rng.uniform(0.88, 1.07) * rng.uniform(0.94, 1.06, 2)
    angle = np.deg2rad(rng.normal(0.0, 3.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    if rng.random() < 0.5:
        turn[:, 0] *= -1
    shift = (SIZE - 1) / 2 + rng.uniform(-4, 4, 2) - turn @ np.full(2, (TILE - 1) / 2)
    matrix = np.column_stack([turn, shift])
    blank = (255, 255, 255, 0)
    placed = cv2.warpAffine(tile, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderValue=blank)
    return _parted(placed)


def _parted(rgba: Pixels) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGBA as RGB and alpha, each contiguous."""
    return np.ascontiguousarray(rgba[..., :3], np.uint8), np.ascontiguousarray(rgba[..., 3], np.uint8)


def _recoloured(photograph: NDArray[np.uint8], matte: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """The garment in another colour, half of the time: so the network learns to believe the hints."""
    choice = rng.random()
    if choice < 0.5:
        return photograph
    if choice < 0.75:
        hsv = cv2.cvtColor(photograph, cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(0, 180)) % 180
        hsv[..., 1:] *= (rng.uniform(0.7, 1.5), rng.uniform(0.8, 1.2))
        changed = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    else:
        # One dye on cloth of the same shading.
        lightness = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY).astype(np.float32)
        inside = matte > 200
        middle = max(float(np.median(lightness[inside])), 25.0) if inside.any() else 128.0
        hsv_dye = rng.uniform((0, 20, 40), (180, 255, 245)).astype(np.uint8)
        dye = cv2.cvtColor(hsv_dye[None, None], cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
        changed = dye * np.clip(lightness / middle, 0.0, 1.6)[..., None] ** 0.8
    opacity = matte[..., None].astype(np.float32) / 255
    return np.asarray(np.clip(changed * opacity + 255 * (1 - opacity), 0, 255).round(), np.uint8)
