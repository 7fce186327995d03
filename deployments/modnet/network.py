"""MODNet: portrait matting without a trimap, in three branches: semantics, detail, fusion.

Ke et al., "MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition", AAAI 2022, arXiv:2011.11961.
State-dict keys are those of the official checkpoint, which holds the backbone twice. Differences: inference only; the
semantic and detail maps, which training supervises, are made only where they are asked for.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compile.kit import Shapes
from deployments.networks import Network

HALVING = frozenset({0, 2, 4, 7, 14})
"""MobileNetV2's blocks that halve the picture."""
SCALES = (1, 3, 6, 13)
"""The last block at each of 1/2, 1/4, 1/8 and 1/16."""


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; channels: in, wide, out. Without widening in == wide."""

    def __init__(self, inside: int, wide: int, outside: int, stride: int, *, widens: bool) -> None:
        super().__init__()
        self.adds = stride == 1 and inside == outside
        first = [nn.Conv2d(inside, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True)] if widens else []
        self.conv = nn.Sequential(
            *first,
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """blocks: (in, wide, out, widens) of each; the first and the last layer are plain convolutions."""

    def __init__(self, inside: int, blocks: list[tuple[int, int, int, bool]], outside: int) -> None:
        super().__init__()
        first, last = blocks[0][0], blocks[-1][2]
        layers = [
            nn.Sequential(nn.Conv2d(inside, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU6(inplace=True))
        ]
        for number, (enters, wide, leaves, widens) in enumerate(blocks, 1):
            stride = 2 if number in HALVING else 1
            layers.append(InvertedResidual(enters, wide, leaves, stride, widens=widens))
        layers.append(
            nn.Sequential(nn.Conv2d(last, outside, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU6(inplace=True))
        )
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8, 1/16 and 1/32."""
        found = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in SCALES:
                found.append(x)
        return [*found, x]


class Backbone(nn.Module):
    def __init__(self, model: MobileNetV2) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.model(x)
        return found


class HalfInstanceNorm(nn.Module):
    """Batch norm on the first half of the channels, instance norm on the rest."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.halves = (channels // 2, channels - channels // 2)
        self.bnorm = nn.BatchNorm2d(self.halves[0])

    def forward(self, x: Tensor) -> Tensor:
        batch, instance = x.split(self.halves, 1)
        return torch.cat((self.bnorm(batch), F.instance_norm(instance)), 1)


class Convolution(nn.Module):
    """Convolution with bias; the norm and ReLU after it unless it is the last of its branch."""

    def __init__(self, inside: int, outside: int, side: int, stride: int = 1, *, last: bool = False) -> None:
        super().__init__()
        after = [] if last else [HalfInstanceNorm(outside), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(nn.Conv2d(inside, outside, side, stride, side // 2), *after)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, middle, bias=False), nn.ReLU(), nn.Linear(middle, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc(x.mean((2, 3)))
        return x * weights[:, :, None, None]


class LowResolution(nn.Module):
    """Semantics, from the deepest features; scales: the backbone's channels at 1/2 to 1/32."""

    def __init__(self, backbone: Backbone, scales: tuple[int, ...], squeezed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.se_block = SqueezeExcitation(scales[4], squeezed)
        self.conv_lr16x = Convolution(scales[4], scales[3], 5)
        self.conv_lr8x = Convolution(scales[3], scales[2], 5)
        self.conv_lr = Convolution(scales[2], 1, 3, 2, last=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the features at 1/2, at 1/4 and, with the semantics in them, at 1/8."""
        half, quarter, _, _, deepest = self.backbone(x)
        y = self.conv_lr16x(double(self.se_block(deepest)))
        return half, quarter, self.conv_lr8x(double(y))


class HighResolution(nn.Module):
    """Detail along the outline; width: of its convolutions."""

    def __init__(self, scales: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.tohr_enc2x = Convolution(scales[0], width, 1)
        self.conv_enc2x = Convolution(width + 3, width, 3, 2)
        self.tohr_enc4x = Convolution(scales[1], width, 1)
        self.conv_enc4x = Convolution(2 * width, 2 * width, 3)
        self.conv_hr4x = nn.Sequential(
            Convolution(2 * width + scales[2] + 3, 2 * width, 3),
            Convolution(2 * width, 2 * width, 3),
            Convolution(2 * width, width, 3),
        )
        self.conv_hr2x = nn.Sequential(
            Convolution(2 * width, 2 * width, 3),
            Convolution(2 * width, width, 3),
            Convolution(width, width, 3),
            Convolution(width, width, 3),
        )
        self.conv_hr = nn.Sequential(Convolution(width + 3, width, 3), Convolution(width, 1, 1, last=True))

    def forward(self, x: Tensor, half: Tensor, quarter: Tensor, eighth: Tensor) -> Tensor:
        """Returns features at 1/2."""
        half = self.tohr_enc2x(half)
        y = self.conv_enc2x(torch.cat((scaled(x, 0.5), half), 1))
        y = self.conv_enc4x(torch.cat((y, self.tohr_enc4x(quarter)), 1))
        y = self.conv_hr4x(torch.cat((y, double(eighth), scaled(x, 0.25)), 1))
        return self.conv_hr2x(torch.cat((double(y), half), 1))


class Fusion(nn.Module):
    def __init__(self, scales: tuple[int, ...], width: int, middle: int) -> None:
        super().__init__()
        self.conv_lr4x = Convolution(scales[2], width, 5)
        self.conv_f2x = Convolution(2 * width, width, 3)
        self.conv_f = nn.Sequential(Convolution(width + 3, middle, 3), Convolution(middle, 1, 1, last=True))

    def forward(self, x: Tensor, eighth: Tensor, detail: Tensor) -> Tensor:
        y = double(self.conv_lr4x(double(eighth)))
        y = double(self.conv_f2x(torch.cat((y, detail), 1)))
        return torch.sigmoid(self.conv_f(torch.cat((y, x), 1)))


class MODNet(nn.Module):
    def __init__(
        self, backbone: MobileNetV2, scales: tuple[int, ...], *, squeezed: int, width: int, fused: int
    ) -> None:
        super().__init__()
        self.backbone = Backbone(backbone)
        self.lr_branch = LowResolution(self.backbone, scales, squeezed)
        self.hr_branch = HighResolution(scales, width)
        self.f_branch = Fusion(scales, width, fused)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] RGB, -1 to 1, H and W multiples of 32; returns the matte [N, 1, H, W], 0 to 1."""
        half, quarter, eighth = self.lr_branch(x)
        return self.f_branch(x, eighth, self.hr_branch(x, half, quarter, eighth))

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Semantics at 1/16, detail, and the matte."""
        half, quarter, eighth = self.lr_branch(x)
        detail = self.hr_branch(x, half, quarter, eighth)
        return (
            torch.sigmoid(self.lr_branch.conv_lr(eighth)),
            torch.sigmoid(self.hr_branch.conv_hr(torch.cat((double(detail), x), 1))),
            self.f_branch(x, eighth, detail),
        )


def scaled(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def double(x: Tensor) -> Tensor:
    return scaled(x, 2.0)


def _knows(shapes: Shapes) -> bool:
    return "lr_branch.se_block.fc.0.weight" in shapes and "f_branch.conv_lr4x.layers.0.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> MODNet:
    def of(number: int, layer: int) -> tuple[int, ...]:
        return shapes[f"backbone.model.features.{number}.conv.{layer}.weight"]

    depth = len({key.split(".")[3] for key in shapes if key.startswith("backbone.model.features.")})
    blocks = []
    for number in range(1, depth - 1):
        widens = f"backbone.model.features.{number}.conv.6.weight" in shapes
        narrow = of(number, 6 if widens else 3)
        blocks.append((of(number, 0)[1 if widens else 0], narrow[1], narrow[0], widens))
    outside = shapes[f"backbone.model.features.{depth - 1}.0.weight"][0]
    net = MODNet(
        MobileNetV2(shapes["backbone.model.features.0.0.weight"][1], blocks, outside),
        (*(blocks[number - 1][2] for number in SCALES), outside),
        squeezed=shapes["lr_branch.se_block.fc.0.weight"][0],
        width=shapes["hr_branch.tohr_enc2x.layers.0.weight"][0],
        fused=shapes["f_branch.conv_f.0.layers.0.weight"][0],
    )
    net.eval()
    return net


def _outputs(net: MODNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return dict(zip(("semantic", "detail", "matte"), net.maps(feeds["image"]), strict=True))


MODNET = Network(
    paper=("MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition, AAAI 2022, arXiv:2011.11961"),
    licence="Apache-2.0",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
