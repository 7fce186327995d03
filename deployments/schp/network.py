"""SCHP: self-corrected human parsing, ResNet-101 with context, edge and fusion branches.

Li et al., "Self-Correction for Human Parsing", TPAMI 2020, arXiv:1910.09777; the network is CE2P (Ruan et al., "Devil
in the Details: Towards Accurate Single and Multiple Human Parsing", AAAI 2019, arXiv:1809.05996).
State-dict keys are those of the official checkpoint. Differences: inference only; in-place batch normalisation in
plain PyTorch.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network


class Norm(nn.Module):
    """In-place batch normalisation (Rota Bulò et al., CVPR 2018, arXiv:1712.02616): the scale is |weight| + 1e-5.

    leaky: with the activation that belongs to it
    """

    EPSILON = 1e-5

    def __init__(self, channels: int, leaky: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.leaky = leaky

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs() + self.EPSILON
        x = F.batch_norm(x, self.running_mean, self.running_var, scale, self.bias, eps=self.EPSILON)
        return F.leaky_relu(x, 0.01, inplace=True) if self.leaky else x


class Bottleneck(nn.Module):
    def __init__(self, inside: int, between: int, outside: int, stride: int, rate: int, first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, between, 1, bias=False)
        self.bn1 = Norm(between)
        self.conv2 = nn.Conv2d(between, between, 3, stride, rate, rate, bias=False)
        self.bn2 = Norm(between)
        self.conv3 = nn.Conv2d(between, outside, 1, bias=False)
        self.bn3 = Norm(outside)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), Norm(outside)) if first else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


def _mixed(inside: int, outside: int, kernel: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False), Norm(outside, leaky=True)]


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


class Means(nn.Module):
    """Means over parts x parts pieces of a map, which share a row or column where the sides do not divide.

    As two products, because exporters know adaptive pooling only where they do.
    """

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        return self._shares(x.shape[-2], x) @ (x @ self._shares(x.shape[-1], x).T)

    def _shares(self, size: int, x: Tensor) -> Tensor:
        """[parts, size]: each row or column's share in each piece."""
        piece = torch.arange(self.parts, device=x.device).unsqueeze(1)
        place = torch.arange(size, device=x.device)
        inside = (place >= piece * size // self.parts) & (place * self.parts < (piece + 1) * size)
        return inside / inside.sum(1, keepdim=True, dtype=x.dtype)


class Pyramid(nn.Module):
    """Means over 1, 2 x 2, 3 x 3 and 6 x 6 parts of the map, beside the map itself."""

    SIZES = (1, 2, 3, 6)

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(Means(size), *_mixed(inside, outside)) for size in self.SIZES)
        self.bottleneck = nn.Sequential(*_mixed(inside + len(self.SIZES) * outside, outside, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.bottleneck(torch.cat([*(_enlarged(stage(x), x) for stage in self.stages), x], 1))


class Edge(nn.Module):
    """Outlines between the classes, from features of three depths."""

    def __init__(self, inside: list[int], between: int, classes: int) -> None:
        super().__init__()
        for number, channels in enumerate(inside, 1):
            self.add_module(f"conv{number}", nn.Sequential(*_mixed(channels, between)))
        self.conv4 = nn.Conv2d(between, classes, 3, padding=1)
        self.conv5 = nn.Conv2d(len(inside) * classes, classes, 1)

    def forward(self, x: Tensor, deeper: Tensor, deepest: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the outline, and the features that they come from; both of the first map's size."""
        features = [self.conv1(x), self.conv2(deeper), self.conv3(deepest)]
        edges = [_enlarged(self.conv4(each), x) for each in features]
        return self.conv5(torch.cat(edges, 1)), torch.cat([_enlarged(each, x) for each in features], 1)


class Decoder(nn.Module):
    def __init__(self, deep: int, early: int, kept: int, between: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_mixed(deep, between))
        self.conv2 = nn.Sequential(*_mixed(early, kept))
        self.conv3 = nn.Sequential(*_mixed(between + kept, between), *_mixed(between, between))
        self.conv4 = nn.Conv2d(between, classes, 1)

    def forward(self, deep: Tensor, early: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the classes, and the features that they come from."""
        x = self.conv3(torch.cat((_enlarged(self.conv1(deep), early), self.conv2(early)), 1))
        return self.conv4(x), x


class SCHP(nn.Module):
    """Sizes are read from the checkpoint's shapes."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        inside = 3
        for number, stride in ((1, 2), (2, 1), (3, 1)):
            outside = shapes[f"conv{number}.weight"][0]
            self.add_module(f"conv{number}", nn.Conv2d(inside, outside, 3, stride, 1, bias=False))
            self.add_module(f"bn{number}", Norm(outside))
            inside = outside
        ends = []
        for number, stride, rate in ((1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 1, 2)):
            blocks: list[Bottleneck] = []
            while (third := f"layer{number}.{len(blocks)}.conv3.weight") in shapes:
                outside, between, *_ = shapes[third]
                first = not blocks
                blocks.append(Bottleneck(inside, between, outside, stride if first else 1, rate, first))
                inside = outside
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            ends.append(inside)
        context, classes = shapes["context_encoding.bottleneck.0.weight"][0], shapes["decoder.conv4.weight"][0]
        edged = shapes["edge.conv1.0.weight"][0]
        between, kept = shapes["decoder.conv1.0.weight"][0], shapes["decoder.conv2.0.weight"][0]
        fused = shapes["fushion.0.weight"][0]
        self.context_encoding = Pyramid(inside, context)
        self.edge = Edge(ends[:3], edged, shapes["edge.conv4.weight"][0])
        self.decoder = Decoder(context, ends[0], kept, between, classes)
        self.fushion = nn.Sequential(*_mixed(between + 3 * edged, fused), nn.Identity(), nn.Conv2d(fused, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Classes of every fourth pixel.

        image:   [N, 3, H, W] BGR, less (0.406, 0.456, 0.485), over (0.225, 0.224, 0.229) of 0-1
        returns: [N, classes, ceil(H / 4), ceil(W / 4)] logits
        """
        return self.branches(image)[1]

    def branches(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the parsing branch, of its fusion with the edges (the better ones), and of the edges."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        early = self.layer1(F.max_pool2d(x, 3, 2, 1))
        deeper = self.layer2(early)
        deepest = self.layer3(deeper)
        parsing, parsed = self.decoder(self.context_encoding(self.layer4(deepest)), early)
        edge, edges = self.edge(early, deeper, deepest)
        return parsing, self.fushion(torch.cat((parsed, edges), 1)), edge


def _knows(shapes: Shapes) -> bool:
    return "fushion.0.weight" in shapes and "context_encoding.bottleneck.0.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> SCHP:
    net = SCHP(shapes)
    net.eval()
    return net


def _outputs(net: SCHP, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return dict(zip(("parsing", "fusion", "edge"), net.branches(feeds["image"]), strict=True))


PARSER = Network(
    paper="Self-Correction for Human Parsing, TPAMI 2020, arXiv:1910.09777",
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
