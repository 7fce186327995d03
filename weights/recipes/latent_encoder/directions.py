"""The directions in which the generator's w varies most, and how much each changes the picture.

Writes `directions.npy` beside the served generator: float16 [64, 512], orthogonal rows, each as long as one deviation
of w along it over 16 384 latents. It defines what a face code of this generator means, so a change of it ends all
tokens that carry a code. Beside the pairs, `influence.npy`: float32 [64], what training weights each coordinate by.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from weights.recipes.latent_encoder.generator import (
    COORDINATES,
    GENERATOR,
    LATENT,
    Floats,
    latent,
    mapping,
    synthesis,
)

MANY = 16_384
BASES = 3
"""Faces at which the influence of each direction is measured."""


def principal_directions(plain: Floats, mean: Floats) -> NDArray[np.float16]:
    """float16 [64, 512]; the largest number of each row is positive.

    plain: [N, 512], w; mean: [1, 512]
    """
    centred = plain.astype(np.float64) - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    order = np.argsort(variances)[::-1][:COORDINATES]
    rows = vectors[:, order].T
    rows *= np.sign(rows[np.arange(COORDINATES), np.abs(rows).argmax(axis=1)])[:, None]
    print(f"{COORDINATES} directions hold {variances[order].sum() / variances.sum():.1%} of the variance of w")
    return np.asarray(rows * np.sqrt(variances[order])[:, None], np.float16)


def influence(directions: Floats, mean: Floats) -> Floats:
    """float32 [64], mean 1: how far a step of one deviation moves the picture, seen at 64 px."""
    picture, of = synthesis(), mapping()
    moved = np.zeros(COORDINATES)
    for base in range(BASES):
        at = mean + 0.7 * (of(latent(base)) - mean)
        for k, row in enumerate(directions):
            there, back = (
                cv2.resize(picture(at + s * row), (64, 64), interpolation=cv2.INTER_AREA) for s in (0.5, -0.5)
            )
            moved[k] += float(np.abs(there.astype(np.float64) - back).mean()) / BASES
    print("mean change of a pixel by one deviation:", np.round(moved, 1).tolist())
    return np.asarray(moved / moved.mean(), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="folder with mean_style.npy")
    parser.add_argument("--pairs", type=Path, required=True, help="folder for influence.npy")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    asked.pairs.mkdir(parents=True, exist_ok=True)
    mean = np.load(asked.generator / "mean_style.npy")
    z = np.random.Generator(np.random.PCG64(1)).standard_normal((MANY, LATENT), np.float32)
    directions = principal_directions(mapping()(z), mean)
    np.save(asked.generator / "directions.npy", directions)
    np.save(asked.pairs / "influence.npy", influence(directions.astype(np.float32), mean))


if __name__ == "__main__":
    main()
