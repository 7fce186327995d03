"""Fit what colour a generated face's skin has to its coordinates: `skin.npy` beside the encoder, float32 [65, 3].

Least squares over the training pairs; prints the share of variance that it explains on the held-out ones. How skin is
seen is named on the command line (`module:function`): what serves it is not part of a recipe.
"""

import argparse
from importlib import import_module
from pathlib import Path

import numpy as np

from weights.recipes.latent_encoder.dataset import numbers, read
from weights.recipes.latent_encoder.generator import GENERATOR, Floats, coordinates, mapping, styles


def pairs_of(pairs: Path, count: int, colour: str, *, held_out: bool) -> tuple[Floats, Floats]:
    """[N, 65], coordinates and a one; [N, 3], levels."""
    module, _, function = colour.partition(":")
    see = getattr(import_module(module), function)
    mean, directions = np.load(GENERATOR / "mean_style.npy"), np.load(GENERATOR / "directions.npy").astype(np.float32)
    chosen, of = numbers(pairs, count, held_out=held_out), mapping()
    places = np.concatenate([coordinates(styles(range(n, n + 1), mean, of), mean, directions) for n in chosen])
    seen = np.stack([see(read(pairs, number)) for number in chosen])
    return np.hstack([places, np.ones((len(places), 1), np.float32)]), seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="what `prepare` wrote")
    parser.add_argument("--count", type=int, default=6000, help="pairs are numbered below this")
    parser.add_argument("--colour", default="deployments.latent_encoder.skin:colour", help="module:function")
    parser.add_argument("--out", type=Path, default=Path("deployments/latent_encoder/skin.npy"))
    asked = parser.parse_args()
    places, seen = pairs_of(asked.pairs, asked.count, asked.colour, held_out=False)
    reading, *_ = np.linalg.lstsq(places.astype(np.float64), seen, rcond=None)
    np.save(asked.out, reading.astype(np.float32))
    places, seen = pairs_of(asked.pairs, asked.count, asked.colour, held_out=True)
    left = np.square(places @ reading - seen).sum(axis=0) / np.square(seen - seen.mean(axis=0)).sum(axis=0)
    print(f"{asked.out}: explains {', '.join(f'{1 - share:.0%}' for share in left)} of red, green, blue held out")


if __name__ == "__main__":
    main()
