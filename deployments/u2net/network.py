"""U2-Net: a U-structure of U-structures, for saliency and for garment classes.

Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern Recognition 2020,
arXiv:2005.09007. State-dict keys are those of the official checkpoint. Differences: inference only; the full and the
small network, and the garment parser of four classes, are one class whose sizes come from the checkpoint.
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
    """A residual U-block.

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


class U2Net(nn.Module):
    """stages: name -> (depth, channels in, in the middle, out); classes: 1 = saliency, more = logits of so many."""

    def __init__(self, stages: Mapping[str, tuple[int, int, int, int]], classes: int) -> None:
        super().__init__()
        self.classes = classes
        for name in ENCODER + DECODER:
            self.add_module(name, Stage(*stages[name], dilated=name in DILATED))
        for number, name in enumerate((*DECODER[::-1], ENCODER[-1]), 1):
            self.add_module(f"side{number}", nn.Conv2d(stages[name][3], classes, 3, padding=1))
        self.outconv = nn.Conv2d(6 * classes, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] RGB, normalised as the checkpoint wants; returns the fused map [N, classes, H, W]: 0 to 1
        where there is one class, logits where there are more."""
        return self.maps(x)[0]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The fused map, and the six it is made of, finest first."""
        sides = []
        for number, features in enumerate(self.features(x), 1):
            side = self.get_submodule(f"side{number}")(features)
            sides.append(side if number == 1 else enlarge(side, x))
        found = [self.outconv(torch.cat(sides, 1)), *sides]
        return found if self.classes > 1 else [torch.sigmoid(one) for one in found]

    def features(self, x: Tensor) -> list[Tensor]:
        """What the five stages of the decoder and the deepest of the encoder give, finest first."""
        encoded: list[Tensor] = []
        for name in ENCODER:
            encoded.append(self.get_submodule(name)(pool(encoded[-1]) if encoded else x))
        found = [encoded.pop()]
        for name in DECODER:
            joined = torch.cat((enlarge(found[0], encoded[-1]), encoded.pop()), 1)
            found.insert(0, self.get_submodule(name)(joined))
        return found


class AnyGarment(nn.Module):
    """Whatever is no background."""

    def __init__(self, net: U2Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """x: as the network's; returns [N, 1, H, W], the probabilities of all garment classes together."""
        return self.net(x).softmax(1)[:, 1:].sum(1, keepdim=True)


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


def _is_u2net(shapes: Shapes) -> bool:
    return "stage1d.rebnconv1d.conv_s1.weight" in shapes and "outconv.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> U2Net:
    net = U2Net(_stages(shapes), shapes["outconv.weight"][0])
    net.eval()
    return net


def _outputs(net: U2Net, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return {f"d{number}": one for number, one in enumerate(net.maps(feeds["image"]))}


SALIENCY = Network(
    paper=(
        "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection, Pattern Recognition "
        "2020, arXiv:2005.09007"
    ),
    licence="Apache-2.0",
    knows=lambda shapes: _is_u2net(shapes) and shapes["outconv.weight"][0] == 1,
    build=_build,
    outputs=_outputs,
)
GARMENTS = Network(
    paper=(
        "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection, Pattern Recognition "
        "2020, arXiv:2005.09007"
    ),
    licence="MIT",
    knows=lambda shapes: _is_u2net(shapes) and shapes["outconv.weight"][0] > 1,
    build=_build,
    outputs=_outputs,
    parts={"": lambda net, beside: AnyGarment(net)},
)
"""The garment parser: background, upper body, lower body, full body; its maps are logits."""
