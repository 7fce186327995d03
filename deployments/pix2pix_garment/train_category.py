"""Trains the network of `modiste/sketch_category.py` on the tiles that the recipe of the painter prepares.

`python -m deployments.pix2pix_garment.train_category TILES`: a few minutes on one CPU thread. Prints how often pictures
held out of the training are recognised.
"""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.random import Generator
from numpy.typing import NDArray

from modiste.sketch import LONG_SIDE, SIZE
from modiste.sketch_category import CATEGORIES, GRID, WEIGHTS, Bits, Floats, Network, coarse
from weights.recipes.sketch_to_garment.dataset import is_held_out

HIDDEN = 96
EACH = 2400
"""Silhouettes of each kind in an epoch, rare ones repeated; all of them are bent anew in each epoch."""
PLAIN = 120
"""Skirts and hats drawn by rule that are trained on as well."""
EPOCHS, BATCH, RATE, DECAY, DROPPED = 40, 128, 2e-3, 1e-3, 0.3


def placed(matte: NDArray[np.uint8]) -> Bits:
    """A garment's matte, any size, as the painter's picture would hold it: bool [128, 128]."""
    rows, columns = np.nonzero(matte > 127)
    zoom = LONG_SIDE / (max(np.ptp(rows), np.ptp(columns)) + 1)
    middle = np.array([(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2])
    matrix = np.column_stack([np.eye(2) * zoom, (SIZE - 1) / 2 - zoom * middle])
    return np.asarray(cv2.warpAffine(matte, matrix, (SIZE, SIZE)) > 127)


def plain_skirt(rng: Generator) -> Bits:
    """As it is drawn rather than photographed: straight sides, a curved hem."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    waist, length, curve = rng.uniform(14, 32), rng.uniform(60, 116), rng.uniform(0, 8)
    hem = waist * rng.uniform(1.1, 2.6)
    sides = [(64 - waist, 6), (64 + waist, 6), (64 + hem, 6 + length), (64 - hem, 6 + length)]
    cv2.fillPoly(canvas, [np.rint(sides).astype(np.int32)], 255)
    cv2.ellipse(canvas, (64, round(6 + length)), (round(hem), round(curve)), 0, 0, 180, 255, cv2.FILLED)
    return placed(canvas)


def plain_hat(rng: Generator) -> Bits:
    """A crown, on a brim or on a turned-up edge."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    half, height = rng.uniform(18, 30), rng.uniform(26, 54)
    top = half * rng.uniform(0.5, 0.95)
    dome = rng.uniform(0.1, 0.5) * height
    crown = [(64 - top, 100 - height + dome), (64 + top, 100 - height + dome), (64 + half, 100), (64 - half, 100)]
    cv2.fillPoly(canvas, [np.rint(crown).astype(np.int32)], 255)
    cv2.ellipse(canvas, (64, round(100 - height + dome)), (round(top), round(dome)), 0, 180, 360, 255, cv2.FILLED)
    if rng.random() < 0.6:
        cv2.ellipse(
            canvas, (64, 98), (round(half * rng.uniform(1.5, 2.1)), round(rng.uniform(5, 15))), 0, 0, 360, 255, -1
        )
    else:
        edge = half * rng.uniform(1.0, 1.1)
        cv2.rectangle(
            canvas, (round(64 - edge), 98), (round(64 + edge), round(98 + rng.uniform(4, 18))), 255, cv2.FILLED
        )
    return placed(canvas)


def bent(cells: Floats, rng: Generator) -> Floats:
    """A silhouette mirrored or not, a little longer or wider, a little slanted: [576] -> [576]."""
    plane = cells.reshape(GRID, GRID)
    plane = plane[:, ::-1] if rng.random() < 0.5 else plane
    width, height = rng.uniform(0.8, 1.0, 2)
    slant = rng.normal(0, 0.04, 2)
    linear = np.array([[width, 0], [0, height]]) / max(width, height) + np.array([[0, slant[0]], [slant[1], 0]])
    middle = np.full(2, (GRID - 1) / 2)
    matrix = np.column_stack([linear, middle - linear @ middle])
    moved = cv2.warpAffine(np.ascontiguousarray(plane), matrix, (GRID, GRID), borderValue=-1)
    return np.asarray(moved.ravel(), np.float32)


def fit(cells: Floats, kinds: NDArray[np.int64], rng: Generator) -> Network:
    """Adam (Kingma and Ba, ICLR 2015) on the cross entropy, with dropout and weight decay."""
    shapes = ((cells.shape[1], HIDDEN), (HIDDEN, len(CATEGORIES)))
    layers = [
        np.vstack([rng.normal(0, np.sqrt(1 / fan_in), (fan_in, fan_out)), np.zeros((1, fan_out))]).astype(np.float32)
        for fan_in, fan_out in shapes
    ]
    first, second = [np.zeros_like(w) for w in layers], [np.zeros_like(w) for w in layers]
    step = 0
    for epoch in range(EPOCHS):
        each = [rng.choice(np.flatnonzero(kinds == kind), EACH) for kind in range(len(CATEGORIES))]
        chosen = rng.permutation(np.concatenate(each))
        rate = RATE * (1 - epoch / EPOCHS)
        for start in range(0, len(chosen), BATCH):
            batch = chosen[start : start + BATCH]
            x = _with_ones(np.stack([bent(cells[i], rng) for i in batch]))
            kept = (rng.random((len(batch), HIDDEN)) >= DROPPED).astype(np.float32) / (1 - DROPPED)
            between = np.maximum(x @ layers[0], 0) * kept
            logits = _with_ones(between) @ layers[1]
            share = np.exp(logits - logits.max(axis=1, keepdims=True))
            error = share / share.sum(axis=1, keepdims=True)
            error[np.arange(len(batch)), kinds[batch]] -= 1
            error /= len(batch)
            back = (error @ layers[1][:-1].T) * kept * (between > 0)
            step += 1
            for n, gradient in enumerate((x.T @ back, _with_ones(between).T @ error)):
                gradient[:-1] += DECAY * layers[n][:-1]
                first[n] = 0.9 * first[n] + 0.1 * gradient
                second[n] = 0.999 * second[n] + 0.001 * gradient**2
                towards = first[n] / (1 - 0.9**step) / (np.sqrt(second[n] / (1 - 0.999**step)) + 1e-8)
                layers[n] -= (rate * towards).astype(np.float32)
    return Network(*layers)


def _with_ones(rows: Floats) -> Floats:
    return np.hstack([rows, np.ones((len(rows), 1), np.float32)])


def main(tiles: Annotated[Path, typer.Argument(help="as the recipe's prepare leaves them")]) -> None:
    cells: dict[bool, list[Floats]] = {True: [], False: []}
    kinds: dict[bool, list[int]] = {True: [], False: []}
    for kind, category in enumerate(CATEGORIES):
        for path in sorted((tiles / category).glob("*.png")):
            tile = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if tile is None:
                raise ValueError(f"expected a PNG at {path}")
            held_out = is_held_out(path.stem)
            cells[held_out].append(coarse(placed(np.asarray(tile[..., 3], np.uint8))))
            kinds[held_out].append(kind)
    rng = np.random.default_rng(0)
    # Photographs show few skirts and hats, and those lie crumpled or are worn.
    for category, draw in (("skirt", plain_skirt), ("hat", plain_hat)):
        cells[False] += [coarse(draw(rng)) for _ in range(PLAIN)]
        kinds[False] += [CATEGORIES.index(category)] * PLAIN
    network = fit(np.stack(cells[False]), np.array(kinds[False]), rng)
    np.savez_compressed(WEIGHTS, **{name: w.astype(np.float16) for name, w in network._asdict().items()})
    found, truth = network(np.stack(cells[True])).argmax(axis=1), np.array(kinds[True])
    for kind, category in enumerate(CATEGORIES):
        typer.echo(f"{category}: {(found[truth == kind] == kind).sum()} of {(truth == kind).sum()}")
    typer.echo(f"all: {(found == truth).mean():.1%}")


if __name__ == "__main__":
    typer.run(main)
