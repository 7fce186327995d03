"""The encoder in torch: EfficientNet-Lite0 with its normalisation folded in, and a head that keeps places apart.

Tan and Le, "EfficientNet", ICML 2019, arXiv:1905.11946. The mean over the last features says what a face is like but
hardly where things are, so 64 features of each of 4 x 4 places go into the head as well. The statistics of the
normalisation stay as published, so it is part of each convolution before training begins: a third less to compute.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from weights.convert.efficientnet_lite import EPSILON, STAGES

SIDE = 256
COORDINATES = 64
PLACES, GRID = 64, 4
WIDTHS = (16, 24, 40, 80, 112, 192, 320)
KERNELS = (3, 3, 5, 3, 5, 5, 3)
FEATURES = 1280


class Convolution(nn.Conv2d):
    """Padded as TensorFlow does, for even sides."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:  # what is missing goes to the right and the bottom
            missing = self.kernel_size[0] - 2
            x = functional.pad(x, (missing // 2, missing - missing // 2) * 2)
        return super().forward(x)


class Block(nn.Module):
    """Inverted residual."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        self.expand = Convolution(before, inside, 1) if expansion != 1 else None
        self.depthwise = Convolution(inside, inside, kernel, stride, inside)
        self.project = Convolution(inside, after, 1)
        self._adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else functional.relu6(self.expand(x), inplace=True)
        y = self.project(functional.relu6(self.depthwise(y), inplace=True))
        return y + x if self._adds else y


class Encoder(nn.Module):
    """[N, 3, 256, 256], (RGB - 127) / 128 -> [N, 64], the generator's coordinates in deviations.

    Any side that 128 divides will do, but it is trained for 256.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        blocks, before = [], 32
        for (repeats, stride, expansion), width, kernel in zip(STAGES, WIDTHS, KERNELS, strict=True):
            for repeat in range(repeats):
                blocks.append(Block(before, width, kernel, stride if repeat == 0 else 1, expansion))
                before = width
        self.blocks = nn.ModuleList(blocks)
        self.last = Convolution(before, FEATURES, 1)
        self.places = Convolution(before, PLACES, 1)
        self.head = nn.Linear(FEATURES + PLACES * GRID**2, COORDINATES)

    def maps(self, picture: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 320, S / 32, S / 32]"""
        x = functional.relu6(self.stem(picture), inplace=True)
        for block in self.blocks:
            x = block(x)
        return x

    def embedding(self, maps: Tensor) -> Tensor:
        """[N, 1280]: what the published network calls its embedding."""
        return functional.relu6(self.last(maps), inplace=True).mean(dim=(2, 3))

    def forward(self, picture: Tensor) -> Tensor:
        maps = self.maps(picture)
        places = functional.avg_pool2d(functional.relu6(self.places(maps)), maps.shape[-1] // GRID).flatten(1)
        return cast(Tensor, self.head(torch.cat([self.embedding(maps), places], dim=1)))


def from_published(state: Mapping[str, Tensor]) -> Encoder:
    """The backbone as published, normalisation folded in; the head is new and begins near the mean face."""
    encoder = Encoder()
    folded = {
        **_folded(state, "_conv_stem", "_bn0", "stem"),
        **_folded(state, "_conv_head", "_bn1", "last"),
    }
    for number, block in enumerate(cast(list[Block], encoder.blocks)):
        at, to = f"_blocks.{number}.", f"blocks.{number}."
        if block.expand is not None:
            folded |= _folded(state, f"{at}_expand_conv", f"{at}_bn0", f"{to}expand")
        folded |= _folded(state, f"{at}_depthwise_conv", f"{at}_bn1", f"{to}depthwise")
        folded |= _folded(state, f"{at}_project_conv", f"{at}_bn2", f"{to}project")
    new = {name: value for name, value in encoder.state_dict().items() if name.startswith(("head.", "places."))}
    encoder.load_state_dict({**folded, **new})
    nn.init.normal_(encoder.head.weight, std=0.002)
    nn.init.zeros_(cast(Tensor, encoder.head.bias))
    return encoder


def _folded(state: Mapping[str, Tensor], name: str, norm: str, to: str) -> dict[str, Tensor]:
    factor = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor
    return {f"{to}.weight": state[f"{name}.weight"] * factor[:, None, None, None], f"{to}.bias": bias}
