"""BeautyGAN: a portrait with another's make-up, and the other without it.

Li et al., "BeautyGAN: Instance-level Facial Makeup Transfer with Deep Generative Adversarial Network", ACM MM 2018; no
arXiv id. State-dict keys are those of the public PyTorch form, both generators (`branch` and `makeup`).
Differences: inference only; widths and the number of residual blocks come from a checkpoint's shapes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network

HALVES = 4
"""Kernels of this size go to half or twice the size, all others keep it."""


def within(shapes: Shapes, name: str) -> Shapes:
    """The shapes below one name."""
    return {key.removeprefix(f"{name}."): shape for key, shape in shapes.items() if key.startswith(f"{name}.")}


def children(shapes: Shapes) -> list[str]:
    """Names on the first level, in the checkpoint's order."""
    return list(dict.fromkeys(key.partition(".")[0] for key in shapes))


def conv(shape: tuple[int, ...], grows: bool) -> nn.Module:
    first, second, size, _ = shape
    stride, padding = (2, 1) if size == HALVES else (1, size // 2)
    if grows and size == HALVES:
        return nn.ConvTranspose2d(first, second, size, stride, padding, bias=False)
    return nn.Conv2d(second, first, size, stride, padding, bias=False)


class Residual(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.main = stack(within(shapes, "main"), last=nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


def stack(shapes: Shapes, last: nn.Module | None = None) -> nn.Sequential:
    """Convolutions, each with an instance norm and a ReLU where the checkpoint has a norm, and residual blocks, after
    which sizes grow. last: in the place of the last ReLU"""
    layers: list[nn.Module] = []
    grows = False
    for name in children(shapes):
        below = within(shapes, name)
        if "main.0.weight" in below:
            layers.append(Residual(below))
            grows = True
        elif len(below["weight"]) == 1:
            layers += [nn.InstanceNorm2d(below["weight"][0], affine=True), nn.ReLU(inplace=True)]
        else:
            layers.append(conv(below["weight"], grows))
    if last is not None:
        layers[-1:] = [last] if isinstance(layers[-1], nn.ReLU) else [layers[-1], last]
    return nn.Sequential(*layers)


class BeautyGan(nn.Module):
    """Either generator: `branch` looks at both pictures apart first."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.apart = "Branch_0" in children(shapes)
        for name in children(shapes):
            last = nn.Tanh() if name.startswith("branch") else None
            self.add_module(name, stack(within(shapes, name), last))

    def forward(self, source: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """source, reference: [N, 3, H, W] RGB, -1 to 1, sides multiples of 4 (of 8 for the network of `branch`).

        returns: the source with the reference's make-up, the reference without; as the inputs
        """
        if self.apart:
            source, reference = self.Branch_0(source), self.Branch_1(reference)
        x = self.main(torch.cat((source, reference), 1))
        return self.branch_1(x), self.branch_2(x)


class MadeUp(nn.Module):
    """The engine: the source with the reference's make-up alone."""

    def __init__(self, net: BeautyGan) -> None:
        super().__init__()
        self.net = net

    def forward(self, source: Tensor, reference: Tensor) -> Tensor:
        return self.net(source, reference)[0]


def _knows(shapes: Shapes) -> bool:
    return "branch_2.0.weight" in shapes and "main.0.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> BeautyGan:
    net = BeautyGan(shapes)
    net.eval()
    return net


def _outputs(net: BeautyGan, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return dict(zip(("out_A", "out_B"), net(feeds["src"], feeds["ref"]), strict=True))


BEAUTYGAN = Network(
    paper=("BeautyGAN: Instance-level Facial Makeup Transfer with Deep Generative Adversarial Network, ACM MM 2018"),
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={"made_up": lambda net, beside: MadeUp(net)},
)
