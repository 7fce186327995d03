"""PSGAN: a portrait with another's make-up, whatever the pose and expression of either.

Jiang et al., "PSGAN: Pose and Expression Robust Spatial-Aware GAN for Customizable Makeup Transfer", CVPR 2020,
arXiv:1909.06956. State-dict keys are those of the official checkpoint. Differences: inference only; attention is dense
and masked instead of sparse, part by part, for any batch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network
from deployments.psgan import parts

LOOKS = 0.01
"""Weight of how a place looks, against where it lies."""
SHARPNESS = 200.0
ATTENDS = 3
"""Residual blocks before make-up is brought over."""


def within(shapes: Shapes, name: str) -> Shapes:
    """The shapes below one name."""
    return {key.removeprefix(f"{name}."): shape for key, shape in shapes.items() if key.startswith(f"{name}.")}


def children(shapes: Shapes) -> list[str]:
    """Names on the first level, in the checkpoint's order."""
    return list(dict.fromkeys(key.partition(".")[0] for key in shapes))


def conv(shapes: Shapes, name: str) -> nn.Conv2d:
    """Kernels of 4 halve the size."""
    outside, inside, size, _ = shapes[f"{name}.weight"]
    stride, padding = (2, 1) if size == 4 else (1, size // 2)
    return nn.Conv2d(inside, outside, size, stride, padding, bias=f"{name}.bias" in shapes)


def norm(channels: int, affine: bool) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=affine)


def normed(shapes: Shapes) -> nn.Sequential:
    """Convolution and norm of the reference's path."""
    return nn.Sequential(conv(shapes, "0"), norm(shapes["0.weight"][0], True), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        affine, channels = "main.1.weight" in shapes, shapes["main.0.weight"][0]
        self.main = nn.Sequential(
            conv(shapes, "main.0"), norm(channels, affine), nn.ReLU(inplace=True),
            conv(shapes, "main.3"), norm(channels, affine),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Gate(nn.Module):
    """In the checkpoint, never used."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.g = conv(shapes, "g")


class MakeUp(nn.Module):
    """A reference's features as a scale and a shift for each place."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.get_gamma = conv(shapes, "get_gamma")
        self.get_beta = conv(shapes, "get_beta")

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, 2, H, W]"""
        return torch.cat((self.get_gamma(x), self.get_beta(x)), 1)


class PsGan(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.source: list[str] = []
        self.reference: list[str] = []
        self.ups: list[str] = []
        for name in children(shapes):
            below = within(shapes, name)
            if name.startswith("atten"):
                self.add_module(name, Gate(below))
            elif name == "simple_spade":
                self.add_module(name, MakeUp(below))
            elif "bottleneck" in name:
                self._on(name)
                self.add_module(name, Residual(below))
            elif name.startswith("pnet"):
                self._on(name)
                self.add_module(name, normed(below))
            elif name.startswith("tnet_up"):
                inside, outside, size, _ = shapes[f"{name}.weight"]
                self.ups.append(name)
                self.add_module(name, nn.ConvTranspose2d(inside, outside, size, 2, 1, bias=False))
            elif name == "tnet_out":
                self.add_module(name, nn.Sequential(conv(below, "0"), nn.Tanh()))
            else:
                self._on(name)
                self.add_module(name, conv(shapes, name))

    def _on(self, name: str) -> None:
        (self.reference if name.startswith("pnet") else self.source).append(name)

    def forward(
        self, source: Tensor, reference: Tensor, masks: tuple[Tensor, Tensor], offsets: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Put the reference's make-up on.

        source, reference: [N, 3, 256, 256] RGB, -1 to 1
        masks:             of source and reference, [N, P, 256, 256], 0 or 1: each part (lips, skin, eyes)
        offsets:           of source and reference, [N, P, 136, 64, 64]: where each place lies from 68 landmarks
        returns:           [N, 3, 256, 256] RGB, -1 to 1
        """
        return self.finish(source, *self.make_up(source, reference, masks, offsets))

    def make_up(
        self, source: Tensor, reference: Tensor, masks: tuple[Tensor, Tensor], offsets: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The reference's make-up where the source's face has the same place: scale and shift, each [N, 1, 64, 64]."""
        theirs = reference
        for name in self.reference:
            theirs = self.get_submodule(name)(theirs)
        ours = self._seen(source)
        values = self.simple_spade(theirs)
        size = ours.shape[2:]
        mask, their_mask = (F.interpolate(m, size=size, mode="nearest")[:, :, None] for m in masks)
        query = torch.cat((ours[:, None] * mask * LOOKS, offsets[0]), 2).flatten(3)
        key = torch.cat((theirs[:, None] * their_mask * LOOKS, offsets[1]), 2).flatten(3)
        value = (values[:, None] * their_mask).flatten(3)
        # Places outside a mask count in the denominator, but bring nothing and get nothing. One part after the other
        # holds a third of the weights at once; attention as one call would need values as wide as the queries.
        brought = torch.zeros_like(values)
        for part in range(query.shape[1]):
            weight = (query[:, part].transpose(1, 2) @ key[:, part] * SHARPNESS).softmax(-1)
            brought = brought + (value[:, part] @ weight.transpose(1, 2)).unflatten(2, size) * mask[:, part]
        return brought[:, :1], brought[:, 1:]

    def finish(self, source: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """The source with make-up that `make_up` found, or a mixture of several."""
        x = self._seen(source) * (1 + gamma) + beta
        for name in self.source[self.source.index("tnet_bottleneck_1") + ATTENDS :]:
            x = self.get_submodule(name)(x)
        for name in self.ups:
            x = F.relu(F.instance_norm(self.get_submodule(name)(x)), inplace=True)
        out: Tensor = self.tnet_out(x)
        return out

    def _seen(self, source: Tensor) -> Tensor:
        """The source's features where make-up is brought over."""
        x = source
        for name in self.source[: self.source.index("tnet_bottleneck_1") + ATTENDS]:
            x = self.get_submodule(name)(x)
            if "bottleneck" not in name:
                x = F.relu(F.instance_norm(x), inplace=True)
        return x


class Transfer(nn.Module):
    """The engine: of either face the picture, its parts and their places, as `PsGan` has them."""

    def __init__(self, net: PsGan) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, source: Tensor, mask: Tensor, offset: Tensor, reference: Tensor, theirs: Tensor, their_offset: Tensor
    ) -> Tensor:
        return self.net(source, reference, (mask, theirs), (offset, their_offset))


def _knows(shapes: Shapes) -> bool:
    return "simple_spade.get_gamma.weight" in shapes and "tnet_in_conv.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> PsGan:
    net = PsGan(shapes)
    net.eval()
    return net


def _outputs(net: PsGan, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Kits describe masks and landmarks in words: rectangles, and points by seed."""
    source, reference = feeds["c"], feeds["s"]
    side = source.shape[-1]
    told = [_part_masks(side, shift) for shift in (0, 8)]
    points = [np.round(np.random.default_rng(seed).random((68, 2)) * 160 + 48).astype(np.float32) for seed in (5, 6)]
    offsets = [parts.offsets(p, mask) for p, mask in zip(points, told, strict=True)]
    masks = tuple(torch.from_numpy(mask)[None].to(source.device) for mask in told)
    where = tuple(torch.from_numpy(offset)[None].to(source.device) for offset in offsets)
    gamma, beta = net.make_up(source, reference, (masks[0], masks[1]), (where[0], where[1]))
    return {"gamma": gamma, "beta": beta, "out": net.finish(source, gamma, beta), "diff_c": offsets[0]}


def _part_masks(side: int, shift: int) -> parts.Floats:
    masks = np.zeros((3, side, side), np.float32)
    masks[0, 168 + shift : 192 + shift, 96:160] = 1
    masks[1, 60:100, 70 + shift : 190 + shift] = 1
    masks[2, 100:124, 70 + shift : 118 + shift] = 1
    return masks


PSGAN = Network(
    paper=(
        "PSGAN: Pose and Expression Robust Spatial-Aware GAN for Customizable Makeup Transfer, CVPR "
        "2020, arXiv:1909.06956"
    ),
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={"": lambda net, beside: Transfer(net)},
)
