"""Encoders of faces into the latents w+ of StyleGAN2: pSp, and e4e, which stays nearer to where editing works.

Richardson et al., "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation", CVPR 2021, arXiv:2008.00951.
Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", SIGGRAPH 2021, arXiv:2102.02766.
State-dict keys are those of the official checkpoints (`encoder.`). Differences: inference only, all layers' offsets on.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compile.kit import Shapes
from deployments.networks import Network

TAPS = (6, 20, 23)
"""Bottlenecks after which features are taken: 1/4, 1/8 and 1/16 of the side."""


class SqueezeExcite(nn.Module):
    """Weighs channels by their means."""

    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, inside, 1, bias=False)
        self.fc2 = nn.Conv2d(inside, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu_(self.fc1(x.mean((2, 3), keepdim=True)))))


class Bottleneck(nn.Module):
    """excited: channels inside squeeze and excitation; 0 for none."""

    def __init__(self, inside: int, outside: int, stride: int, excited: int) -> None:
        super().__init__()
        self.stride = stride
        if inside != outside:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )
        else:
            self.shortcut_layer = None
        layers = [
            nn.BatchNorm2d(inside),
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            nn.PReLU(outside),
            nn.Conv2d(outside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
        ]
        self.res_layer = nn.Sequential(*layers, *([SqueezeExcite(outside, excited)] if excited else []))

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut_layer is not None:
            shortcut = self.shortcut_layer(x)
        else:
            shortcut = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x).add_(shortcut)


class EqualLinear(nn.Module):
    """Linear layer whose stored weights are N(0, 1)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outside, inside))
        self.bias = nn.Parameter(torch.empty(outside))
        self.scale = 1 / sqrt(inside)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.scale, self.weight, self.bias)


class Head(nn.Module):
    """Halves a map [N, 512, s, s] down to one latent [N, 512]; s is 2 to the number of halvings."""

    def __init__(self, inside: int, latent: int, halvings: int) -> None:
        super().__init__()
        widths = [inside] + [latent] * halvings
        layers = [(nn.Conv2d(a, b, 3, 2, 1), nn.LeakyReLU(inplace=True)) for a, b in pairwise(widths)]
        self.convs = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.linear = EqualLinear(latent, latent)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class Encoder(nn.Module):
    """blocks: (inside, outside, stride, excited) of each bottleneck; heads: halvings of each latent's head;
    offsets: e4e: all latents are the first one's plus their own head's; pSp: each is its head's alone."""

    def __init__(
        self, blocks: Sequence[tuple[int, int, int, int]], heads: Sequence[int], *, colours: int = 3, offsets: bool
    ) -> None:
        super().__init__()
        stem, coarse = blocks[0][0], blocks[TAPS[2]][1]
        self.input_layer = nn.Sequential(
            nn.Conv2d(colours, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        self.body = nn.Sequential(*(Bottleneck(*block) for block in blocks))
        self.styles = nn.ModuleList(Head(coarse, coarse, halvings) for halvings in heads)
        self.latlayer1 = nn.Conv2d(blocks[TAPS[1]][1], coarse, 1)
        self.latlayer2 = nn.Conv2d(blocks[TAPS[0]][1], coarse, 1)
        self.levels = [halvings - min(heads) for halvings in heads]
        self.offsets = offsets

    def features(self, face: Tensor) -> list[Tensor]:
        """[N, 128, 64, 64], [N, 256, 32, 32] and [N, 512, 16, 16] of a 256-pixel face."""
        x, found = self.input_layer(face), []
        for number, block in enumerate(self.body):
            x = block(x)
            if number in TAPS:
                found.append(x)
        return found

    def latents(self, features: Sequence[Tensor]) -> Tensor:
        """features: as `features` gives them -> [N, L, 512]."""
        fine, middle, coarse = features
        middle = self._doubled(coarse).add_(self.latlayer1(middle))
        fine = self._doubled(middle).add_(self.latlayer2(fine))
        maps = coarse, middle, fine
        codes = torch.stack([head(maps[level]) for head, level in zip(self.styles, self.levels, strict=True)], 1)
        if not self.offsets:
            return codes
        return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], 1)

    @staticmethod
    def _doubled(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, face: Tensor) -> Tensor:
        """Encode aligned faces.

        face:    [N, 3, 256, 256] float32, RGB, -1 to 1, aligned as FFHQ is
        returns: [N, L, 512], to which the checkpoint's `latent_avg` is added to give w+; L = 2 log2(side) - 2 of the
                 generator's side
        """
        return self.latents(self.features(face))


class MeanOffset(nn.Module):
    """The engine: face [N, 3, 256, 256] -> [N, 512], the mean of w+ over its layers, minus the mean face's w.

    The checkpoint's `latent_avg`, which codes are offsets from, is the mean face in every layer: w+ is codes plus it,
    and the mean over the layers minus the mean face is that of the codes alone, exactly.
    """

    def __init__(self, net: Encoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, face: Tensor) -> Tensor:
        return self.net(face).mean(1)


def _blocks(shapes: Shapes) -> list[tuple[int, int, int, int]]:
    """(inside, outside, stride, excited) of each bottleneck; a group starts, and halves, where channels change."""
    found: list[tuple[int, int, int, int]] = []
    while f"body.{len(found)}.res_layer.1.weight" in shapes:
        key = f"body.{len(found)}."
        outside, inside = shapes[f"{key}res_layer.1.weight"][:2]
        stride = 2 if not found or f"{key}shortcut_layer.0.weight" in shapes else 1
        found.append((inside, outside, stride, shapes.get(f"{key}res_layer.5.fc1.weight", (0,))[0]))
    return found


def _knows(shapes: Shapes) -> bool:
    return {"input_layer.0.weight", "styles.0.convs.0.weight", "latlayer1.weight", "latlayer2.weight"} <= shapes.keys()


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> Encoder:
    count = len({key.split(".")[1] for key in shapes if key.startswith("styles.")})
    net = Encoder(
        _blocks(shapes),
        [
            sum(key.startswith(f"styles.{head}.convs.") and key.endswith(".weight") for key in shapes)
            for head in range(count)
        ],
        colours=shapes["input_layer.0.weight"][1],
        # Both encoders have the same keys. Only pSp's is told the number of its latents.
        offsets="n_styles" not in arch,
    )
    net.eval()
    return net


def _outputs(net: Encoder, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    features = net.features(feeds["img"])
    return {**dict(zip((f"body{tap}" for tap in TAPS), features, strict=True)), "codes": net.latents(features)}


E4E = Network(
    paper=(
        "Designing an Encoder for StyleGAN Image Manipulation, SIGGRAPH 2021, arXiv:2102.02766; Encoding "
        "in Style: a StyleGAN Encoder for Image-to-Image Translation, CVPR 2021, arXiv:2008.00951"
    ),
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={"": lambda net, beside: MeanOffset(net)},
)
