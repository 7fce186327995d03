"""Graphonomy: human parsing whose pixels also reason over a graph of body parts.

Gong et al., "Graphonomy: Universal Human Parsing via Graph Transfer Learning", CVPR 2019, arXiv:1904.04536; the
features are DeepLabv3+ on aligned Xception (Chen et al., ECCV 2018, arXiv:1802.02611).
State-dict keys are those of the official checkpoint. Differences: inference only; the three fixed matrices of the
graphs are part of the network (`knowledge`), not arguments.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.graphonomy.knowledge import ADJACENCY, NEARNESS
from deployments.networks import Network


class Separable(nn.Module):
    """A 3 x 3 filter per channel, then a mix of the channels.

    active: an activation after each of the two
    """

    def __init__(self, inside: int, outside: int, stride: int = 1, rate: int = 1, active: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inside, inside, 3, stride, rate, rate, groups=inside, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(inside)
        self.pointwise = nn.Conv2d(inside, outside, 1, bias=False)
        self.pointwise_bn = nn.BatchNorm2d(outside)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise_bn(self.depthwise(x))
        if self.active:
            x = F.relu(x, inplace=True)
        x = self.pointwise_bn(self.pointwise(x))
        return F.relu(x, inplace=True) if self.active else x


def _chain(first: int, steps: list[Separable]) -> nn.Sequential:
    """Separable filters with activations between them, numbered from `first` on as in the checkpoint."""
    layers: dict[str, nn.Module] = {}
    for i, step in enumerate(steps):
        if i:
            layers[str(first + 2 * i - 1)] = nn.ReLU(inplace=True)
        layers[str(first + 2 * i)] = step
    chain = nn.Sequential()
    for name, layer in layers.items():
        chain.add_module(name, layer)
    return chain


class Block(nn.Module):
    """Separable filters beside a shortcut.

    widths: channels before, between and behind the filters; stride: of the last one; begins: with an activation,
    which the shortcut shares; branches: the last filter stands apart, as what is in front of it is wanted, too
    """

    def __init__(self, widths: list[int], stride: int = 1, begins: bool = True, branches: bool = False) -> None:
        super().__init__()
        if widths[0] != widths[-1] or stride != 1:
            self.skip = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(widths[-1])
        else:
            self.skip = None
        strides = [1] * (len(widths) - 2) + [stride]
        steps = [Separable(a, b, s) for (a, b), s in zip(pairwise(widths), strides, strict=True)]
        if branches:
            self.block2_lastconv = _chain(1, [steps.pop()])
        self.rep = _chain(int(begins), steps)
        self.begins, self.branches = begins, branches

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)[0]

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's features, and what is in front of its last filter."""
        if self.begins:
            x = F.relu(x)
        middle = self.rep(x)
        y = self.block2_lastconv(F.relu(middle)) if self.branches else middle
        return y + (x if self.skip is None else self.skipbn(self.skip(x))), middle


class Xception(nn.Module):
    """widths: of the blocks' filters, by block; stem: of the two first filters; tail: of the three last ones."""

    def __init__(self, stem: list[int], widths: list[list[int]], tail: list[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem[0])
        self.conv2 = nn.Conv2d(stem[0], stem[1], 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem[1])
        for number, of_block in enumerate(widths, 1):
            block = Block(of_block, 2 if number <= 3 else 1, begins=number != 1, branches=number == 2)
            self.add_module(f"block{number}", block)
        self.blocks = [f"block{number}" for number in range(3, len(widths) + 1)]
        for number, (a, b) in enumerate(pairwise([widths[-1][-1], *tail]), 3):
            self.add_module(f"conv{number}", Separable(a, b, rate=2, active=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deep features, and those at a quarter of the picture's size."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x, early = self.block2.both(self.block1(x))
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return self.conv5(self.conv4(self.conv3(x))), early


class Context(nn.Module):
    """One branch of the spatial pyramid, or a step of the decoder.

    rate: None mixes the channels of each pixel alone
    """

    def __init__(self, inside: int, outside: int, rate: int | None) -> None:
        super().__init__()
        if rate is None:
            self.atrous_convolution = nn.Conv2d(inside, outside, 1, bias=False)
            self.bn = nn.BatchNorm2d(outside)
        else:
            self.atrous_convolution = Separable(inside, outside, rate=rate, active=True)
            self.bn = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.atrous_convolution(x)
        return x if self.bn is None else F.relu(self.bn(x), inplace=True)


class ToGraph(nn.Module):
    """Gathers the features of a map's pixels in nodes."""

    def __init__(self, inside: int, hidden: int, nodes: int) -> None:
        super().__init__()
        self.pre_fea = nn.Parameter(torch.empty(inside, nodes))
        self.weight = nn.Parameter(torch.empty(inside, hidden))

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [N, pixels, inside]; returns [N, nodes, hidden]."""
        share = F.softmax(pixels @ self.pre_fea, -1)
        return F.relu(share.transpose(1, 2) @ (pixels @ self.weight))


class GraphStep(nn.Module):
    """A graph convolution: each node's numbers are mixed, then summed over its neighbours."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inside, outside))

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        return F.relu(adjacency @ (nodes @ self.weight))


class Mix(nn.Module):
    """Mixes the numbers of each node."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inside, outside))

    def forward(self, nodes: Tensor) -> Tensor:
        return F.relu(nodes @ self.weight)


class Transfer(GraphStep):
    """Carries nodes of one label set to another. adj: learned at first, then replaced by given likeness."""

    def __init__(self, hidden: int, target: int, source: int) -> None:
        super().__init__(hidden, hidden)
        self.adj = nn.Parameter(torch.empty(target, source))


class FromGraph(nn.Module):
    """Gives every pixel the nodes' features, by how much the pixel is like each node."""

    def __init__(self, inside: int, hidden: int, outside: int) -> None:
        super().__init__()
        self.node_fea_for_res = nn.Parameter(torch.empty(inside, 1))
        self.node_fea_for_hidden = nn.Parameter(torch.empty(hidden, 1))
        self.weight = nn.Parameter(torch.empty(hidden, outside))

    def forward(self, nodes: Tensor, pixels: Tensor) -> Tensor:
        """nodes: [N, nodes, hidden]; pixels: [N, pixels, inside]; returns [N, pixels, outside]."""
        likeness = pixels @ self.node_fea_for_res + (nodes @ self.node_fea_for_hidden).transpose(1, 2)
        return F.relu(F.softmax(likeness, -1) @ (nodes @ self.weight))


def _alike(source: Tensor, target: Tensor) -> Tensor:
    """Source nodes, mixed for each target node by the cosine between them."""
    cosine = F.normalize(target, dim=-1) @ F.normalize(source, dim=-1).transpose(-1, -2)
    return F.softmax(cosine, -1) @ source


class Graphonomy(nn.Module):
    """Sizes are read from the checkpoint's shapes; the deepest features have one number per 16 x 16 pixels."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()

        def width(key: str) -> int:
            return shapes[f"{key}.weight"][0]

        deep, pyramid = width("xception_features.conv5.pointwise"), width("aspp1.atrous_convolution")
        early, joined = width("feature_projection_conv1"), width("concat_projection_conv1")
        decoded = width("decoder.1.atrous_convolution.pointwise")
        inside, hidden = shapes["target_featuremap_2_graph.weight"]
        target, source = shapes["transpose_graph.adj"]
        self.xception_features = Xception(
            [width("xception_features.conv1"), width("xception_features.conv2")],
            _block_widths(shapes),
            [width(f"xception_features.conv{n}.pointwise") for n in (3, 4, 5)],
        )
        for number, rate in enumerate((None, 6, 12, 18), 1):
            self.add_module(f"aspp{number}", Context(deep, pyramid, rate))
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, pyramid, 1, bias=False), nn.BatchNorm2d(pyramid), nn.ReLU()
        )
        self.concat_projection_conv1 = nn.Conv2d(5 * pyramid, joined, 1, bias=False)
        self.concat_projection_bn1 = nn.BatchNorm2d(joined)
        self.feature_projection_conv1 = nn.Conv2d(shapes["feature_projection_conv1.weight"][1], early, 1, bias=False)
        self.feature_projection_bn1 = nn.BatchNorm2d(early)
        between = width("decoder.0.atrous_convolution.pointwise")
        self.decoder = nn.Sequential(Context(joined + early, between, 1), Context(between, decoded, 1))
        self.semantic = nn.Conv2d(decoded, target, 1)
        self.target_featuremap_2_graph = ToGraph(inside, hidden, target)
        for number in (1, 2, 3):
            self.add_module(f"target_graph_conv{number}", GraphStep(hidden, hidden))
        self.target_graph_2_fea = FromGraph(decoded, hidden, decoded)
        self.target_skip_conv = nn.Sequential(nn.Conv2d(decoded, decoded, 1), nn.ReLU())
        self.source_featuremap_2_graph = ToGraph(inside, hidden, source)
        for number in (1, 2, 3):
            self.add_module(f"source_graph_conv{number}", GraphStep(hidden, hidden))
        self.transpose_graph = Transfer(hidden, target, source)
        self.fc_graph = Mix(3 * hidden, hidden)
        if target not in ADJACENCY or source not in ADJACENCY or (target, source) not in NEARNESS:
            known = ", ".join(f"{a} from {b}" for a, b in NEARNESS)
            raise ValueError(f"expected classes with a known graph ({known}), got {target} from {source}")
        self.register_buffer("target_adjacency", torch.from_numpy(ADJACENCY[target]), persistent=False)
        self.register_buffer("source_adjacency", torch.from_numpy(ADJACENCY[source]), persistent=False)
        nearness = F.softmax(F.relu(torch.from_numpy(NEARNESS[target, source])), -1)
        self.register_buffer("nearness", nearness, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Classes of every pixel.

        image:   [N, 3, H, W] BGR, -1 to 1, any size
        returns: [N, classes, H, W] logits
        """
        x = self.features(image)
        count, channels, height, width = x.shape
        pixels = x.flatten(2).transpose(1, 2)
        spread = self.target_graph_2_fea(self.reason(pixels), pixels)
        x = self.target_skip_conv(x) + spread.transpose(1, 2).reshape(count, channels, height, width)
        return F.interpolate(self.semantic(x), image.shape[-2:], mode="bilinear", align_corners=True)

    def features(self, image: Tensor) -> Tensor:
        """DeepLab's decoded features, [N, 256, H / 4, W / 4]."""
        x, early = self.xception_features(image)
        # One number per channel all over the map: the same as enlarging it.
        overall = self.global_avg_pool(x).expand(-1, -1, *x.shape[-2:])
        x = torch.cat((self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x), overall), 1)
        x = F.relu(self.concat_projection_bn1(self.concat_projection_conv1(x)))
        x = F.interpolate(x, early.shape[-2:], mode="bilinear", align_corners=True)
        early = F.relu(self.feature_projection_bn1(self.feature_projection_conv1(early)))
        return self.decoder(torch.cat((x, early), 1))

    def reason(self, pixels: Tensor) -> Tensor:
        """Three rounds over the target's graph, each with what the source's graph has to say.

        pixels: [N, pixels, 256]; returns [N, target nodes, hidden]
        """
        nodes, told = self.target_featuremap_2_graph(pixels), self.source_featuremap_2_graph(pixels)
        # The source's second step is taken twice: so the weights were trained, and the third step's lie idle.
        for told_by, step in (
            (self.source_graph_conv1, self.target_graph_conv1),
            (self.source_graph_conv2, self.target_graph_conv2),
            (self.source_graph_conv2, self.target_graph_conv3),
        ):
            told = told_by(told, self.source_adjacency)
            carried = self.transpose_graph(told, self.nearness)
            nodes = self.fc_graph(torch.cat((nodes, _alike(told, nodes), carried), -1))
            nodes = step(nodes, self.target_adjacency)
        return nodes


def _block_widths(shapes: Shapes) -> list[list[int]]:
    """Channels before, between and behind each Xception block's filters."""
    widths, number = [], 1
    while f"xception_features.block{number}.rep.1.pointwise.weight" in shapes or number == 1:
        prefix = f"xception_features.block{number}."
        steps = [key for key in shapes if key.startswith(prefix) and key.endswith(".pointwise.weight")]
        # The branch of the second block is listed first but comes last.
        steps.sort(key=lambda key: "lastconv" in key)
        widths.append([shapes[steps[0]][1], *(shapes[key][0] for key in steps)])
        number += 1
    return widths


def _knows(shapes: Shapes) -> bool:
    return "transpose_graph.adj" in shapes and "xception_features.conv5.pointwise.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> Graphonomy:
    net = Graphonomy(shapes)
    net.eval()
    return net


def _outputs(net: Graphonomy, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return {"logits": net(feeds["image"])}


GRAPHONOMY = Network(
    paper="Graphonomy: Universal Human Parsing via Graph Transfer Learning, CVPR 2019, arXiv:1904.04536",
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
