"""pix2pix generator for sketches, 128 px: a U-Net from lines, colour hints and category to a garment.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, arXiv:1611.07004.
Differences: the kind of garment is part of the input; the hints are also given spread over the whole
picture, so that the first layer already knows the colour everywhere; group normalisation, which makes a
picture the same in any batch; nearest-neighbour resizing and 3 x 3 convolutions on the way up, against
checkerboards; the input joins again before the last layer, so that lines and hints stay where they were
drawn; no noise.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUTS = 10
"""Planes of the input: edges, hint R, G, B, hint mask, top, trousers, skirt, hat, dress."""
SEEN = INPUTS + 3
"""With the spread hints, R, G, B."""
DOWN = (32, 64, 128, 256, 256, 256, 224)
"""Features after each halving: 64, 32, 16, 8, 4, 2 and 1 pixels wide."""
UP = (256, 256, 256, 128, 64, 32, 24)
"""Features after each doubling."""
GROUP = 16
"""Features normalised together."""


def spread(hints: Tensor, mask: Tensor, levels: int) -> Tensor:
    """Each hint's colour carried outwards until it meets those of others: pull-push over a pyramid.

    Gortler et al., "The Lumigraph", SIGGRAPH 1996.

    hints: [N, 3, S, S], 0 where there is none; mask: [N, 1, S, S], 1 where there is one; S = 2 ** levels
    returns: [N, 3, S, S], 0 everywhere where there is no hint at all
    """
    sums = [torch.cat([hints * mask, mask], dim=1)]
    for _ in range(levels):
        sums.append(functional.avg_pool2d(sums[-1], 2) * 4.0)
    colour = sums[-1][:, :3] / (sums[-1][:, 3:] + 1e-3)
    for level in reversed(range(levels)):
        coarse = functional.interpolate(colour, scale_factor=2.0, mode="bilinear", align_corners=False)
        # What comes from further away counts as one more pixel.
        colour = (sums[level][:, :3] + coarse) / (sums[level][:, 3:] + 1.0)
    return colour


class Down(nn.Module):
    """Halve width and height. [N, before, 2 S, 2 S] -> [N, after, S, S]"""

    def __init__(self, before: int, after: int, *, first: bool, normalise: bool) -> None:
        super().__init__()
        self.first = first
        self.conv = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not normalise)
        self.norm = nn.GroupNorm(after // GROUP, after) if normalise else None

    def forward(self, features: Tensor) -> Tensor:
        x = features if self.first else functional.leaky_relu(features, 0.2)
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class Up(nn.Module):
    """Double width and height. [N, before, S, S] -> [N, after, 2 S, 2 S]"""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(max(after // GROUP, 1), after)

    def forward(self, features: Tensor) -> Tensor:
        wide = functional.interpolate(functional.relu(features), scale_factor=2.0, mode="nearest")
        return self.norm(self.conv(wide))


class SketchUNet(nn.Module):
    """See the module. 7.4 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        before = (SEEN, *DOWN[:-1])
        innermost = len(DOWN) - 1
        self.down = nn.ModuleList(
            # One pixel is left at the innermost step: nothing to normalise over.
            Down(b, a, first=level == 0, normalise=0 < level < innermost)
            for level, (b, a) in enumerate(zip(before, DOWN, strict=True))
        )
        skips = (0, *reversed(DOWN[:-1]))
        self.up = nn.ModuleList(Up(b + skip, a) for b, skip, a in zip((DOWN[-1], *UP[:-1]), skips, UP, strict=True))
        self.last = nn.Conv2d(UP[-1] + SEEN, 3, 3, padding=1)

    def forward(self, sketch: Tensor) -> Tensor:
        """Paint garments.

        sketch:  [N, 10, 128, 128] float: edges (1 = line), hint RGB in [-1, 1] (0 where there is none),
                 hint mask, then one plane of ones among top, trousers, skirt, hat, dress
        returns: [N, 3, 128, 128] float, RGB, [-1, 1], the garment on white
        """
        seen = torch.cat([sketch, spread(sketch[:, 1:4], sketch[:, 4:5], len(DOWN))], dim=1)
        skips: list[Tensor] = []
        x = seen
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.up[0](skips.pop())
        for up in list(self.up)[1:]:
            x = up(torch.cat([x, skips.pop()], dim=1))
        return torch.tanh(self.last(torch.cat([functional.relu(x), seen], dim=1)))


def build(weights: dict[str, Any] | None = None) -> SketchUNet:
    """The network with the given state dict (names as in the shipped safetensors), or freshly initialised."""
    network = SketchUNet()
    if weights is not None:
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    network.eval()
    return network
