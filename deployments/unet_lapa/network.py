"""U-Net face parser on LaPa: which part of a face each pixel belongs to, 11 classes.

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, arXiv:1505.04597;
classes of Liu et al., "A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing", AAAI 2020.
State-dict keys: the official checkpoint is a Keras file whose layers are numbered by a running count, so the keys here
are ours, in that file's order of layers; `KERAS` says how each kind of layer is turned.
Differences: inference only; padding as Keras's "same".
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network

EPSILON = 1e-3
"""Keras's batch norm."""
OFFICIAL = {"width": 64, "depth": 4, "classes": 11, "channels": 3}

KERAS: Mapping[str, Mapping[str, tuple[str, tuple[int, ...] | None]]] = {
    "conv": {"weight": ("kernel", (3, 2, 0, 1)), "bias": ("bias", None)},
    "up": {"weight": ("kernel", (3, 2, 0, 1)), "bias": ("bias", None)},
    "norm": {
        "weight": ("gamma", None),
        "bias": ("beta", None),
        "running_mean": ("moving_mean", None),
        "running_var": ("moving_variance", None),
    },
}
"""Kind of layer -> our name of each tensor -> Keras's name, and the order of axes that makes ours of Keras's."""


class Block(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, 1, 1)
        self.norm1 = nn.BatchNorm2d(outside, eps=EPSILON)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(outside, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(x)), inplace=True)


class UNet(nn.Module):
    """width: channels of the first block, doubled at each of `depth` halvings."""

    def __init__(self, width: int, depth: int, classes: int, channels: int) -> None:
        super().__init__()
        widths = [width << level for level in range(depth)]
        self.downs = nn.ModuleList(Block(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.bridge = Block(widths[-1], 2 * widths[-1])
        self.ups = nn.ModuleList(
            nn.ModuleDict({"up": nn.ConvTranspose2d(2 * w, w, 2, 2), "block": Block(2 * w, w)}) for w in widths[::-1]
        )
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, 512, 512] BGR, 0-1 (sides: multiples of 16); returns logits [N, 11, 512, 512]."""
        seen = []
        for block in self.downs:
            x = block(x)
            seen.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bridge(x)
        for step in self.ups:
            x = step["block"](torch.cat((step["up"](x), seen.pop()), 1))
        logits: Tensor = self.head(x)
        return logits


def _knows(shapes: Shapes) -> bool:
    return "bridge.conv1.weight" in shapes and "ups.0.up.weight" in shapes and "head.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> UNet:
    width, channels = shapes["downs.0.conv1.weight"][:2]
    depth = len({key.split(".")[1] for key in shapes if key.startswith("downs.")})
    net = UNet(width, depth, shapes["head.weight"][0], channels)
    net.eval()
    return net


def _outputs(net: UNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Probabilities, as the Keras model gives them, channels first."""
    logits = net(feeds["img"])
    return {"logits": logits, "out": logits.softmax(1)}


UNET = Network(
    paper=(
        "U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015, arXiv:1505.04597; "
        "A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing, AAAI 2020"
    ),
    licence="none stated",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
