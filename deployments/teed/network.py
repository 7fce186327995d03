"""TEED: a tiny edge detector of 58 thousand weights; edges at three depths and their fusion.

Soria et al., "Tiny and Efficient Model for the Edge Detection Generalization", ICCV workshops 2023,
arXiv:2308.06468. State-dict keys are those of the official checkpoint. Differences: inference only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network


def smish(x: Tensor) -> Tensor:
    """x tanh(ln(1 + s)), s = sigmoid(x), which is x (s^2 + 2s) / (s^2 + 2s + 2)."""
    t = torch.sigmoid(x)
    t.mul_(t + 2)
    return t.div_(t + 2).mul_(x)


class Smish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return smish(x)


class DoubleConv(nn.Module):
    def __init__(self, inside: int, middle: int, outside: int, *, stride: int, activated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, middle, 3, stride, 1)
        self.conv2 = nn.Conv2d(middle, outside, 3, 1, 1)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(smish(self.conv1(x)))
        return smish(y) if self.activated else y


class SingleConv(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DenseLayer(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, 1, 2)
        self.conv2 = nn.Conv2d(outside, outside, 3)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        return 0.5 * (self.conv2(smish(self.conv1(smish(x)))) + beside)


class DenseBlock(nn.Module):
    """Every layer's result is averaged with the same features from beside the block."""

    def __init__(self, depth: int, inside: int, outside: int) -> None:
        super().__init__()
        for i in range(depth):
            self.add_module(f"denselayer{i + 1}", DenseLayer(outside if i else inside, outside))

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x, beside)
        return x


class Upsampling(nn.Module):
    """widths: channels after each doubling; kernel: side of the transposed convolutions' kernels, an even number"""

    def __init__(self, inside: int, widths: Sequence[int], kernel: int) -> None:
        super().__init__()
        layers: list[Any] = []
        for before, width in zip((inside, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(before, width, 1),
                Smish(),
                nn.ConvTranspose2d(width, width, kernel, 2, kernel // 2 - 1),
            ]
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class Fusion(nn.Module):
    """Two depth-wise convolutions, summed over all their channels."""

    def __init__(self, depths: int, width: int) -> None:
        super().__init__()
        self.DWconv1 = nn.Conv2d(depths, width, 3, 1, 1, groups=depths)
        self.DWconv2 = nn.Conv2d(width, width, 3, 1, 1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        spread = self.DWconv1(smish(x))
        return smish((self.DWconv2(smish(spread)) + spread).sum(1, keepdim=True))


class TEED(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.block_1 = _double(shapes, "block_1", stride=2, activated=True)
        self.block_2 = _double(shapes, "block_2", stride=1, activated=False)
        outside, inside = shapes["dblock_3.denselayer1.conv1.weight"][:2]
        depth = sum(f"dblock_3.denselayer{i}.conv1.weight" in shapes for i in range(1, 100))
        self.dblock_3 = DenseBlock(depth, inside, outside)
        self.side_1 = _single(shapes, "side_1", stride=2)
        self.pre_dense_3 = _single(shapes, "pre_dense_3", stride=1)
        for n in range(1, 4):
            self.add_module(f"up_block_{n}", _upsampling(shapes, f"up_block_{n}"))
        width = shapes["block_cat.DWconv1.weight"][0]
        self.block_cat = Fusion(3, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] BGR minus the means, H and W multiples of 8; returns [N, 1, H, W], logits of the fusion."""
        return self.maps(x)[-1]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The three depths' logits, the coarsest last, and their fusion."""
        first = self.block_1(x)
        second = self.block_2(first)
        half = F.max_pool2d(second, 3, 2, 1)
        third = self.dblock_3(half + self.side_1(first), self.pre_dense_3(half))
        found = [self.up_block_1(first), self.up_block_2(second), self.up_block_3(third)]
        return [*found, self.block_cat(torch.cat(found, 1))]


def _double(shapes: Shapes, at: str, *, stride: int, activated: bool) -> DoubleConv:
    middle, inside = shapes[f"{at}.conv1.weight"][:2]
    return DoubleConv(inside, middle, shapes[f"{at}.conv2.weight"][0], stride=stride, activated=activated)


def _single(shapes: Shapes, at: str, stride: int) -> SingleConv:
    outside, inside = shapes[f"{at}.conv.weight"][:2]
    return SingleConv(inside, outside, stride)


def _upsampling(shapes: Shapes, at: str) -> Upsampling:
    doublings = [i for i in range(0, 100, 3) if f"{at}.features.{i}.weight" in shapes]
    widths = [shapes[f"{at}.features.{i}.weight"][0] for i in doublings]
    return Upsampling(shapes[f"{at}.features.0.weight"][1], widths, shapes[f"{at}.features.2.weight"][-1])


def _knows(shapes: Shapes) -> bool:
    return "block_cat.DWconv2.weight" in shapes and "dblock_3.denselayer1.conv1.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> TEED:
    net = TEED(shapes)
    net.eval()
    return net


def _outputs(net: TEED, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    *depths, fused = net.maps(feeds["image"])
    return {**{f"out{n}": depth for n, depth in enumerate(depths, 1)}, "fused": fused}


TEED_NETWORK = Network(
    paper=("Tiny and Efficient Model for the Edge Detection Generalization, ICCV workshops 2023, arXiv:2308.06468"),
    licence="MIT, as its project page says",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
