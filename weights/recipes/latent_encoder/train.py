"""Train the encoder: first on pictures of 128 px, then of 256 px. Can be stopped and resumed.

A round is so many pictures; after each the averaged weights are measured on the held-out pairs, and the best are kept.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from weights.convert.torch_pickle import read_state_dict
from weights.recipes.latent_encoder.dataset import Examples, numbers
from weights.recipes.latent_encoder.generator import GENERATOR, Floats, coordinates, mapping, styles
from weights.recipes.latent_encoder.network import SIDE, Encoder, from_published
from weights.store import path

BATCH = 16
ROUND = 1024
RATE, HEAD_RATE = 4e-4, 1.5e-3
WARM_UP = 200
"""Steps over which the learning rate rises; then it falls to zero as a cosine."""
DECAY = 1e-4
EMA = 0.998
FROZEN = 5
"""Blocks after the stem that stay as they are at 256 px: they take two fifths of the time and hardly change by then."""


def downsized(picture: Tensor, side: int) -> Tensor:
    return picture if side == picture.shape[-1] else functional.avg_pool2d(picture, picture.shape[-1] // side)


class Training:
    """Everything that a checkpoint holds."""

    def __init__(self, steps: int, small: int, weight: Floats, seed: int) -> None:
        """small: steps at 128 px; weight: [64], of each coordinate's squared error"""
        torch.manual_seed(seed)
        (published,) = path("efficientnet_lite0").values()
        state = {name: torch.from_numpy(value) for name, value in read_state_dict(published).items()}
        self.encoder = from_published(state).to(memory_format=torch.channels_last)
        self.average = Encoder().to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.encoder.state_dict())
        new = [*self.encoder.head.parameters(), *self.encoder.places.parameters()]
        old = [p for p in self.encoder.parameters() if all(p is not other for other in new)]
        self.optimiser = torch.optim.AdamW(
            [{"params": old, "peak": RATE}, {"params": new, "peak": HEAD_RATE}], lr=0.0, weight_decay=DECAY
        )
        self.weight = torch.from_numpy(weight)
        self.steps, self.small, self.step, self.best = steps, small, 0, float("inf")
        self.parts: dict[str, Any] = {"encoder": self.encoder, "average": self.average, "optimiser": self.optimiser}

    def save(self, file: Path) -> None:
        partial = file.with_suffix(".part")
        states = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({"step": self.step, "best": self.best, **states}, partial)
        partial.rename(file)

    def load(self, file: Path) -> None:
        saved = torch.load(file, weights_only=True)
        self.step, self.best = saved["step"], saved["best"]
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])

    @property
    def side(self) -> int:
        return SIDE // 2 if self.step < self.small else SIDE

    def advance(self, picture: Tensor, goal: Tensor) -> float:
        if self.step == self.small:  # what was averaged at 128 px is no use at 256 px
            self.average.load_state_dict(self.encoder.state_dict())
        if self.step >= self.small:
            for part in (self.encoder.stem, *list(self.encoder.blocks)[:FROZEN]):
                part.requires_grad_(False)
        done = self.step / self.steps
        factor = min(1.0, (self.step + 1) / WARM_UP) * 0.5 * (1 + float(np.cos(np.pi * min(done, 1.0))))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        x = downsized(picture, self.side).contiguous(memory_format=torch.channels_last)
        loss = (self.weight * (self.encoder(x) - goal).square()).mean()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        since = self.step - (self.small if self.step > self.small else 0)
        with torch.no_grad():
            decay = min(EMA, since / (since + 10))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.encoder.parameters()), 1 - decay)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self, held_out: Examples) -> tuple[float, float]:
        """Weighted squared error of the averaged weights at the present size, and what always zero would have."""
        wrong = zero = 0.0
        for picture, goal in DataLoader(held_out, BATCH):
            found = self.average(downsized(picture, self.side).contiguous(memory_format=torch.channels_last))
            wrong += float((self.weight * (found - goal).square()).mean(dim=1).sum())
            zero += float((self.weight * goal.square()).mean(dim=1).sum())
        return wrong / len(held_out), zero / len(held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="what `directions` and `prepare` wrote")
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="folder with mean_style.npy, directions.npy")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint.pt, best.pt and log.jsonl")
    parser.add_argument("--count", type=int, default=6000, help="pairs are numbered below this")
    parser.add_argument("--rounds", type=int, default=66)
    parser.add_argument("--small-rounds", type=int, default=44, help="of these, how many at 128 px")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    cv2.setNumThreads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    mean = np.load(asked.generator / "mean_style.npy")
    directions = np.load(asked.generator / "directions.npy").astype(np.float32)
    goals = coordinates(styles(range(asked.count), mean, mapping()), mean, directions)
    a_round = ROUND // BATCH
    training = Training(
        asked.rounds * a_round, asked.small_rounds * a_round, np.load(asked.pairs / "influence.npy"), asked.seed
    )
    checkpoint = asked.out / "checkpoint.pt"
    if checkpoint.is_file():
        training.load(checkpoint)
    while training.step < training.steps:
        began, losses, side, number = time.monotonic(), [], training.side, training.step // a_round
        chosen = numbers(asked.pairs, asked.count, held_out=False)
        drawn = np.random.default_rng((asked.seed, number)).choice(chosen, ROUND, replace=len(chosen) < ROUND)
        examples = Examples(asked.pairs, drawn.tolist(), goals, spoilt_by=number)
        for picture, goal in DataLoader(examples, BATCH):
            losses.append(training.advance(picture, goal))
        held_out = Examples(asked.pairs, numbers(asked.pairs, asked.count, held_out=True), goals, spoilt_by=None)
        error, floor = training.measure(held_out)
        line = {
            "step": training.step, "side": side, "pairs": len(chosen), "loss": round(float(np.mean(losses)), 4),
            "held_out": round(error, 4), "zero": round(floor, 4), "seconds": round(time.monotonic() - began),
        }  # fmt: skip
        with (asked.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        # What ships sees 256 px, so only that counts.
        if side == SIDE and error < training.best:
            training.best = error
            torch.save({"step": training.step, "average": training.average.state_dict()}, asked.out / "best.pt")
        training.save(checkpoint)


if __name__ == "__main__":
    main()
