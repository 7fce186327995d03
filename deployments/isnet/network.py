"""ISNet: a nested U-structure for dichotomous segmentation of large pictures.

Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022, arXiv:2203.03041.
State-dict keys are those of the official checkpoint. Differences: inference only; the coarser five maps and the
features, which training supervises, are made only where they are asked for.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compile.kit import Shapes
from deployments.networks import Network

ENCODER = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
DECODER = ("stage5d", "stage4d", "stage3d", "stage2d", "stage1d")
DILATED = ("stage5", "stage6", "stage5d")
"""Stages whose pictures are too small to pool: they dilate instead."""


class Convolution(nn.Module):
    """3 x 3, batch norm, ReLU."""

    def __init__(self, inside: int, outside: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inside, outside, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)), inplace=True)


class Stage(nn.Module):
    """A residual U-block as in U2-Net.

    depth:   convolutions on the way down; dilated: they dilate by 1, 2, 4, 8 instead of pooling
    """

    def __init__(self, depth: int, inside: int, middle: int, outside: int, *, dilated: bool) -> None:
        super().__init__()
        self.depth, self.dilated = depth, dilated
        spread = [2**level if dilated else 1 for level in range(depth)]
        spread[-1] = max(spread[-1], 2)
        self.rebnconvin = Convolution(inside, outside)
        self.rebnconv1 = Convolution(outside, middle)
        for level in range(2, depth + 1):
            self.add_module(f"rebnconv{level}", Convolution(middle, middle, spread[level - 1]))
        for level in range(depth - 1, 0, -1):
            to = outside if level == 1 else middle
            self.add_module(f"rebnconv{level}d", Convolution(2 * middle, to, spread[level - 1]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.rebnconvin(x)
        levels = [self.rebnconv1(x)]
        for level in range(2, self.depth + 1):
            pooled = levels[-1] if self.dilated or level == self.depth else pool(levels[-1])
            levels.append(self.get_submodule(f"rebnconv{level}")(pooled))
        y = levels.pop()
        for level in range(self.depth - 1, 0, -1):
            # The two deepest are of one size, and so are all where nothing pools.
            same = self.dilated or level == self.depth - 1
            y = torch.cat((y if same else enlarge(y, levels[-1]), levels.pop()), 1)
            y = self.get_submodule(f"rebnconv{level}d")(y)
        return y + x


class ISNet(nn.Module):
    """stages: name -> (depth, channels in, in the middle, out); classes: maps that each side gives."""

    def __init__(self, inside: int, stages: Mapping[str, tuple[int, int, int, int]], classes: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inside, stages["stage1"][1], 3, stride=2, padding=1)
        for name in ENCODER + DECODER:
            self.add_module(name, Stage(*stages[name], dilated=name in DILATED))
        for number, name in enumerate((*DECODER[::-1], ENCODER[-1]), 1):
            self.add_module(f"side{number}", nn.Conv2d(stages[name][3], classes, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] RGB, -0.5 to 0.5; returns [N, 1, H, W], 0 to 1: the object, not yet stretched."""
        return torch.sigmoid(enlarge(self.side1(self.features(x)[0]), x))

    def maps(self, x: Tensor, features: list[Tensor]) -> list[Tensor]:
        """The six maps, finest first, all at the picture's size."""
        sides = [self.get_submodule(f"side{number}") for number in range(1, len(features) + 1)]
        return [torch.sigmoid(enlarge(side(one), x)) for side, one in zip(sides, features, strict=True)]

    def features(self, x: Tensor) -> list[Tensor]:
        """What the five stages of the decoder and the deepest of the encoder give, finest first."""
        encoded: list[Tensor] = []
        for name in ENCODER:
            encoded.append(self.get_submodule(name)(pool(encoded[-1]) if encoded else self.conv_in(x)))
        found = [encoded.pop()]
        for name in DECODER:
            joined = torch.cat((enlarge(found[0], encoded[-1]), encoded.pop()), 1)
            found.insert(0, self.get_submodule(name)(joined))
        return found


def pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """x at the height and width of `like`."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def _stages(shapes: Shapes) -> dict[str, tuple[int, int, int, int]]:
    found = {}
    for name in ENCODER + DECODER:
        depth = 1
        while f"{name}.rebnconv{depth + 1}.conv_s1.weight" in shapes:
            depth += 1
        outside, inside = shapes[f"{name}.rebnconvin.conv_s1.weight"][:2]
        found[name] = (depth, inside, shapes[f"{name}.rebnconv1.conv_s1.weight"][0], outside)
    return found


def _knows(shapes: Shapes) -> bool:
    return "stage1d.rebnconv1d.conv_s1.weight" in shapes and "conv_in.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> ISNet:
    net = ISNet(shapes["conv_in.weight"][1], _stages(shapes), shapes["side1.weight"][0])
    net.eval()
    return net


def _outputs(net: ISNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    features = net.features(feeds["image"])
    found = {f"d{number}": one for number, one in enumerate(net.maps(feeds["image"], features), 1)}
    names = [*(f"hx{number}d" for number in range(1, 6)), "hx6"]
    return found | dict(zip(names, features, strict=True))


ISNET = Network(
    paper="Highly Accurate Dichotomous Image Segmentation, ECCV 2022, arXiv:2203.03041",
    licence="Apache-2.0",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
