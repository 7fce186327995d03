"""LDC: a light edge detector; edges at three or four depths, fused by attention over them.

Soria, Pomboza-Junez, Sappa, "LDC: Lightweight Dense CNN for Edge Detection", IEEE Access 2022,
10.1109/ACCESS.2022.3186344 (no arXiv number). State-dict keys are those of the official checkpoints.
Differences: inference only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network

GROUPS = 4
"""Groups of the fusion's normalisation, which no shape tells."""


class DoubleConv(nn.Module):
    def __init__(self, inside: int, middle: int, outside: int, *, stride: int, activated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, middle, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, outside, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(outside)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(y, inplace=True) if self.activated else y


class SingleConv(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 1, stride)
        self.bn = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class DenseLayer(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, 1, 2)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3)
        self.norm2 = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(F.relu(x))), inplace=True)))
        return 0.5 * (y + beside)


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
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(width, width, kernel, 2, kernel // 2 - 1),
            ]
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class Fusion(nn.Module):
    """Weighs the depths against each other at every pixel."""

    def __init__(self, depths: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(depths, width, 3, 1, 1)
        self.conv3 = nn.Conv2d(width, depths, 3, 1, 1)
        self.norm_layer1 = nn.GroupNorm(GROUPS, width)

    def forward(self, x: Tensor) -> Tensor:
        attention = F.softmax(self.conv3(F.relu(self.norm_layer1(self.conv1(x)), inplace=True)), 1)
        return (x * attention).sum(1, keepdim=True)


class LDC(nn.Module):
    """B3 has three depths, B4 four."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.four = "up_block_4.features.0.weight" in shapes
        self.block_1 = _double(shapes, "block_1", stride=2, activated=True)
        self.block_2 = _double(shapes, "block_2", stride=1, activated=False)
        self.dblock_3 = _dense(shapes, "dblock_3")
        if self.four:
            self.dblock_4 = _dense(shapes, "dblock_4")
        self.side_1 = _single(shapes, "side_1", stride=2)
        if self.four:
            self.side_2 = _single(shapes, "side_2", stride=2)
            self.pre_dense_2 = _single(shapes, "pre_dense_2", stride=2)
        self.pre_dense_3 = _single(shapes, "pre_dense_3", stride=1)
        if self.four:
            self.pre_dense_4 = _single(shapes, "pre_dense_4", stride=1)
        for n in range(1, 5 if self.four else 4):
            self.add_module(f"up_block_{n}", _upsampling(shapes, f"up_block_{n}"))
        width, depths = shapes["block_cat.conv1.weight"][:2]
        self.block_cat = Fusion(depths, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] BGR minus the means, H and W multiples of 8; returns [N, 1, H, W], logits of the fusion."""
        return self.maps(x)[-1]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The depths' logits, the coarsest last, and their fusion."""
        first = self.block_1(x)
        second = self.block_2(first)
        half = F.max_pool2d(second, 3, 2, 1)
        added = half + self.side_1(first)
        third = self.dblock_3(added, self.pre_dense_3(half))
        found = [self.up_block_1(first), self.up_block_2(second), self.up_block_3(third)]
        if self.four:
            down = F.max_pool2d(third, 3, 2, 1)
            beside = self.pre_dense_4(down + self.pre_dense_2(half))
            found.append(self.up_block_4(self.dblock_4(down + self.side_2(added), beside)))
        return [*found, self.block_cat(torch.cat(found, 1))]


def _double(shapes: Shapes, at: str, *, stride: int, activated: bool) -> DoubleConv:
    middle, inside = shapes[f"{at}.conv1.weight"][:2]
    return DoubleConv(inside, middle, shapes[f"{at}.conv2.weight"][0], stride=stride, activated=activated)


def _single(shapes: Shapes, at: str, stride: int) -> SingleConv:
    outside, inside = shapes[f"{at}.conv.weight"][:2]
    return SingleConv(inside, outside, stride)


def _dense(shapes: Shapes, at: str) -> DenseBlock:
    outside, inside = shapes[f"{at}.denselayer1.conv1.weight"][:2]
    return DenseBlock(sum(f"{at}.denselayer{i}.conv1.weight" in shapes for i in range(1, 100)), inside, outside)


def _upsampling(shapes: Shapes, at: str) -> Upsampling:
    doublings = [i for i in range(0, 100, 3) if f"{at}.features.{i}.weight" in shapes]
    widths = [shapes[f"{at}.features.{i}.weight"][0] for i in doublings]
    return Upsampling(shapes[f"{at}.features.0.weight"][1], widths, shapes[f"{at}.features.2.weight"][-1])


def _knows(shapes: Shapes) -> bool:
    return "dblock_3.denselayer1.norm1.weight" in shapes and "block_cat.norm_layer1.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> LDC:
    net = LDC(shapes)
    net.eval()
    return net


def _outputs(net: LDC, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    *depths, fused = net.maps(feeds["image"])
    return {**{f"out{n}": depth for n, depth in enumerate(depths, 1)}, "fused": fused}


LDC_B4 = Network(
    paper="LDC: Lightweight Dense CNN for Edge Detection, IEEE Access 2022, 10.1109/ACCESS.2022.3186344",
    licence="none stated",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
