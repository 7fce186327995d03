"""pix2pix U-Net: a picture from a drawing of the same size.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, arXiv:1611.07004.
State-dict keys are those of the official checkpoint. Differences: inference only, with the stored statistics and
without dropout (the reference's test script keeps both as in training unless told otherwise).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network

Norm = Any
"""Builds a normalisation from its number of channels."""


class Level(nn.Module):
    """One level and everything below it: half size in `model[1]`, back to full size in `model[5]` (`model[3]` at the
    bottom). Returns its input beside what it made."""

    def __init__(self, shapes: Shapes, at: str, norm: Norm) -> None:
        super().__init__()
        below = f"{at}.3.model"
        bottom = f"{below}.1.weight" not in shapes
        up = f"{at}.{3 if bottom else 5}"
        inner, inside = shapes[f"{at}.1.weight"][:2]
        half = nn.Conv2d(inside, inner, 4, 2, 1, bias=f"{at}.1.bias" in shapes)
        from_width, outside = shapes[f"{up}.weight"][:2]
        double = nn.ConvTranspose2d(from_width, outside, 4, 2, 1, bias=f"{up}.bias" in shapes)
        # In place, so what stands beside the result has been through it, too: the ReLU after it makes both the same.
        layers = [nn.LeakyReLU(0.2, inplace=True), half]
        if not bottom:
            layers += [norm(inner), Level(shapes, below, norm)]
        self.model = nn.Sequential(*layers, nn.ReLU(inplace=True), double, norm(outside))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)


class UNet(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.model = Outermost(shapes)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -1 to 1, H and W multiples of 2 to the number of levels; returns the same size, -1 to 1."""
        return self.model(x)


class Outermost(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        at = "model.model"
        width, inside = shapes[f"{at}.0.weight"][:2]
        from_width, outside = shapes[f"{at}.3.weight"][:2]
        self.model = nn.Sequential(
            nn.Conv2d(inside, width, 4, 2, 1, bias=f"{at}.0.bias" in shapes),
            Level(shapes, f"{at}.1.model", _norm(shapes)),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(from_width, outside, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def _norm(shapes: Shapes) -> Norm:
    """Batch normalisation has keys; instance normalisation has none, but convolutions beside it have biases."""
    if any(key.endswith("running_mean") for key in shapes):
        return nn.BatchNorm2d
    return nn.InstanceNorm2d if "model.model.0.bias" in shapes else nn.Identity


def _knows(shapes: Shapes) -> bool:
    return "model.model.1.model.1.weight" in shapes and shapes.get("model.model.0.weight", ())[2:] == (4, 4)


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> UNet:
    net = UNet(shapes)
    net.eval()
    return net


def _outputs(net: UNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return {"image": net(feeds["image"])}


UNET = Network(
    paper="Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017, arXiv:1611.07004",
    licence="BSD",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
