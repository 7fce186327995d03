"""Train the sketch network: L1 + SSIM first, then with a conditional PatchGAN. Can be stopped and resumed.

The generator is named on the command line (`module:function`): what serves it is not part of a recipe.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from weights.recipes.sketch_to_garment.dataset import Garment, example, load, measured
from weights.recipes.sketch_to_garment.prepare import CATEGORIES
from weights.recipes.sketch_to_garment.sheet import contact_sheet

L1_WEIGHT = 100.0
SSIM_WEIGHT = 10.0
FOOL_WEIGHT = 2.0
WARM_UP = 0.12
"""Share of the training before the discriminator joins."""
DECAY = 0.4
"""Share of the training at the end over which the learning rate falls to zero."""
RATE = 2e-4
EMA = 0.999


def network_builder(name: str) -> Callable[..., nn.Module]:
    """`package.module:function` as the function."""
    module, _, function = name.partition(":")
    return cast(Callable[..., nn.Module], getattr(import_module(module), function))


class PatchDiscriminator(nn.Module):
    """Is each 70 px patch a photograph, given the sketch? As in the pix2pix paper, half as wide."""

    def __init__(self, inputs: int, features: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(inputs, features, 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers += [
                nn.Conv2d(features * before, features * after, 4, stride, 1, bias=False),
                nn.GroupNorm(features * after // 16, features * after),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(features * 8, 1, 4, 1, 1))

    def forward(self, sketch: Tensor, picture: Tensor) -> Tensor:
        """[N, 10, 128, 128], [N, 3, 128, 128] -> [N, 1, 14, 14], near 1 for a photograph, else 0."""
        return cast(Tensor, self.layers(torch.cat([sketch, picture], dim=1)))


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Numbered examples; see `dataset.example`."""

    def __init__(self, garments: dict[str, list[Garment]], total: int, seed: int) -> None:
        self.garments, self.total, self.seed = garments, total, seed

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sketch, target = example(self.garments, index, self.seed)
        return torch.from_numpy(sketch), torch.from_numpy(target)


def ssim_loss(painted: Tensor, photograph: Tensor) -> Tensor:
    """1 - SSIM over 7 x 7 windows; pictures in [-1, 1]."""
    mean_a, mean_b = functional.avg_pool2d(painted, 7, 1), functional.avg_pool2d(photograph, 7, 1)
    var_a = functional.avg_pool2d(painted * painted, 7, 1) - mean_a * mean_a
    var_b = functional.avg_pool2d(photograph * photograph, 7, 1) - mean_b * mean_b
    both = functional.avg_pool2d(painted * photograph, 7, 1) - mean_a * mean_b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    similar = ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return 1.0 - similar.mean()


class Training:
    """Everything that a checkpoint holds."""

    def __init__(self, build: Callable[..., nn.Module], seed: int) -> None:
        torch.manual_seed(seed)
        self.generator = build().train().to(memory_format=torch.channels_last)
        self.average = build()
        self.average.load_state_dict(self.generator.state_dict())
        self.discriminator = PatchDiscriminator(13).to(memory_format=torch.channels_last)
        self.paint = torch.optim.Adam(self.generator.parameters(), lr=RATE, betas=(0.5, 0.999))
        self.judge = torch.optim.Adam(self.discriminator.parameters(), lr=RATE, betas=(0.5, 0.999))
        self.step = 0
        self.parts: dict[str, Any] = {
            "generator": self.generator, "average": self.average, "discriminator": self.discriminator,
            "paint": self.paint, "judge": self.judge,
        }  # fmt: skip

    def save(self, file: Path) -> None:
        partial = file.with_suffix(".part")
        torch.save({"step": self.step, **{name: part.state_dict() for name, part in self.parts.items()}}, partial)
        partial.rename(file)

    def load(self, file: Path) -> None:
        saved = torch.load(file, weights_only=True)
        self.step = saved["step"]
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])

    def advance(self, sketch: Tensor, photograph: Tensor, steps: int) -> dict[str, float]:
        """One step of both networks; returns the losses."""
        done = self.step / steps
        rate = RATE * min(1.0, max(0.0, 1.0 - done) / DECAY)
        for optimiser in (self.paint, self.judge):
            optimiser.param_groups[0]["lr"] = rate
        painted = self.generator(sketch)
        losses = {"l1": functional.l1_loss(painted, photograph), "ssim": ssim_loss(painted, photograph)}
        loss = L1_WEIGHT * losses["l1"] + SSIM_WEIGHT * losses["ssim"]
        if done >= WARM_UP:
            real = self.discriminator(sketch, photograph)
            fake = self.discriminator(sketch, painted.detach())
            losses["judge"] = 0.5 * ((real - 1).square().mean() + fake.square().mean())
            self.judge.zero_grad()
            losses["judge"].backward()
            self.judge.step()
            self.discriminator.requires_grad_(False)
            losses["fooled"] = (self.discriminator(sketch, painted) - 1).square().mean()
            loss = loss + FOOL_WEIGHT * losses["fooled"]
        self.paint.zero_grad()
        loss.backward()
        self.discriminator.requires_grad_(True)
        self.paint.step()
        self.step += 1
        with torch.no_grad():
            decay = min(EMA, self.step / (self.step + 10))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - decay)
        return {name: float(value.detach()) for name, value in losses.items()}


def show(network: nn.Module, garments: dict[str, list[Garment]], file: Path) -> None:
    """A contact sheet of a few held-out garments."""
    rows = []
    for category in CATEGORIES:
        for garment in garments[category][:3]:
            sketch, photograph = measured(garment)
            with torch.no_grad():
                painted = network(torch.from_numpy(sketch)[None])[0].numpy()
            rows.append((sketch, painted, photograph))
    sheet: NDArray[np.uint8] = contact_sheet(rows, columns=3)
    cv2.imwrite(str(file), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=Path, required=True, help="what `prepare` wrote")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, log and contact sheets")
    parser.add_argument("--network", default="deployments.pix2pix_garment.network:build", help="module:function")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-minutes", type=float, default=3.0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    cv2.setNumThreads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    training = Training(network_builder(asked.network), asked.seed)
    checkpoint = asked.out / "checkpoint.pt"
    if checkpoint.is_file():
        training.load(checkpoint)
    shown = load(asked.tiles, held_out=True)
    examples = Examples(load(asked.tiles, held_out=False), asked.steps * asked.batch, asked.seed)
    start = training.step
    batches = DataLoader(
        examples,
        asked.batch,
        sampler=range(start * asked.batch, len(examples)),
        num_workers=1,
        prefetch_factor=4,
    )
    began = saved = time.monotonic()
    sums: dict[str, float] = {}
    for sketch, photograph in batches:
        losses = training.advance(
            sketch.to(memory_format=torch.channels_last),
            photograph.to(memory_format=torch.channels_last),
            asked.steps,
        )
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value / 50
        now = time.monotonic()
        if training.step % 50 == 0:
            per_step = round((now - began) / (training.step - start), 3)
            line = {"step": training.step, "seconds_per_step": per_step} | {n: round(v, 4) for n, v in sums.items()}
            with (asked.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums = {}
        if now - saved > 60 * asked.save_minutes or training.step == asked.steps:
            training.save(checkpoint)
            show(training.average, shown, asked.out / "sheet.png")
            saved = now


if __name__ == "__main__":
    main()
