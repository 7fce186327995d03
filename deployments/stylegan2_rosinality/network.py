"""StyleGAN2 generator: pictures from latent codes, in the layout of the PyTorch checkpoints that encoders embed, too.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, arXiv:1912.04958.
State-dict keys are those of the official checkpoint (`g_ema`). Differences: inference only; styles scale activations
instead of weights, so that one constant weight serves a whole batch; FIR filters are depth-wise convolutions.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compile.kit import Shapes
from deployments.networks import Network

EPSILON = 1e-8
SLOPE, GAIN = 0.2, sqrt(2)
"""Leaky ReLU, and the factor that keeps its output's variance."""
MAPPING_RATE = 0.01
"""Learning-rate multiplier of the mapping network, by which its stored weights are too large."""


def upsampling_filter() -> Tensor:
    """[4, 4], sums to 4: binomial, symmetric, so that convolution and correlation are one."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) / 16


class PixelNorm(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z * torch.rsqrt(z.square().mean(1, keepdim=True) + EPSILON)


class EqualLinear(nn.Module):
    """Linear layer whose stored weights are N(0, 1); activated ones end in the scaled leaky ReLU."""

    def __init__(self, inside: int, outside: int, rate: float = 1.0, activated: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outside, inside))
        self.bias = nn.Parameter(torch.empty(outside))
        self.scale, self.rate, self.activated = rate / sqrt(inside), rate, activated

    def forward(self, x: Tensor) -> Tensor:
        # Scaling the few activations costs less than scaling the weight.
        x = F.linear(x * self.scale, self.weight, self.bias * self.rate)
        return F.leaky_relu(x, SLOPE) * GAIN if self.activated else x


class Filter(nn.Module):
    """A FIR filter that the checkpoint stores as `kernel`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", upsampling_filter())

    def blur(self, x: Tensor, channels: int) -> Tensor:
        """[N, C, 2s+1, 2s+1] -> [N, C, 2s, 2s]. channels: C, a number that an exported graph has fixed"""
        return F.conv2d(x, self.kernel.expand(channels, 1, 4, 4), padding=1, groups=channels)

    def upsample(self, x: Tensor, channels: int) -> Tensor:
        """[N, C, s, s] -> [N, C, 2s, 2s]. channels: C"""
        return F.conv_transpose2d(x, self.kernel.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


class ModulatedConv(nn.Module):
    """Convolution whose input channels a style scales.

    forward gives the convolution and, where demodulated, the factors [N, O, 1, 1] that bring it back to unit variance
    """

    def __init__(self, inside: int, outside: int, side: int, latent: int, *, demodulate: bool, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, outside, inside, side, side))
        self.blur = Filter() if up else None
        self.modulation = EqualLinear(latent, inside)
        self.scale, self.padding, self.demodulate = 1 / sqrt(inside * side**2), side // 2, demodulate
        self.outside = outside

    def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
        weight = self.weight[0]
        style = self.modulation(w) if self.demodulate else self.modulation(w) * self.scale
        x = x * style[:, :, None, None]
        if self.blur is None:
            x = F.conv2d(x, weight, padding=self.padding)
        else:
            x = self.blur.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), self.outside)
        if not self.demodulate:
            return x, None
        # Demodulation takes the weight's scale out again, so it is left to the epsilon alone.
        energy = weight.square().sum((2, 3))
        factors = torch.rsqrt(F.linear(style.square(), energy) + EPSILON / self.scale**2)
        return x, factors[:, :, None, None]


class NoiseStrength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))


class ActivationBias(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))


class StyledConv(nn.Module):
    def __init__(self, inside: int, outside: int, latent: int, *, up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(inside, outside, 3, latent, demodulate=True, up=up)
        self.noise = NoiseStrength()
        self.activate = ActivationBias(outside)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        x, factors = self.conv(x, w)
        # The leaky ReLU is positively homogeneous: its gain goes into the factors, where it costs nothing.
        x = x.mul_(factors * GAIN).add_((self.activate.bias * GAIN)[:, None, None])
        if noise is not None:
            x = x.add_(noise * (self.noise.weight * GAIN))
        return F.leaky_relu_(x, SLOPE)


class ToRGB(nn.Module):
    def __init__(self, inside: int, outside: int, latent: int, *, up: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(1, outside, 1, 1))
        self.upsample = Filter() if up else None
        self.conv = ModulatedConv(inside, outside, 1, latent, demodulate=False, up=False)

    def forward(self, x: Tensor, w: Tensor, below: Tensor | None) -> Tensor:
        image = self.conv(x, w)[0] + self.bias
        return (
            image
            if self.upsample is None or below is None
            else image + self.upsample.upsample(below, self.conv.outside)
        )


class Constant(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, channels, 4, 4))


class Generator(nn.Module):
    """channels: of each resolution, 4 x 4 first; latent: size of z and w; depth: layers of the mapping network."""

    def __init__(
        self,
        channels: Sequence[int],
        *,
        latent: int = 512,
        depth: int = 8,
        rate: float = MAPPING_RATE,
        colours: int = 3,
    ) -> None:
        super().__init__()
        layers = [EqualLinear(latent, latent, rate, activated=True) for _ in range(depth)]
        self.style = nn.Sequential(PixelNorm(), *layers)
        self.input = Constant(channels[0])
        self.conv1 = StyledConv(channels[0], channels[0], latent, up=False)
        self.to_rgb1 = ToRGB(channels[0], colours, latent, up=False)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        for below, here in pairwise(channels):
            self.convs.append(StyledConv(below, here, latent, up=True))
            self.convs.append(StyledConv(here, here, latent, up=False))
            self.to_rgbs.append(ToRGB(here, colours, latent, up=True))
        self.sides = [4 * 2 ** ((layer + 1) // 2) for layer in range(1 + len(self.convs))]
        for layer, side in enumerate(self.sides):
            self.noises.register_buffer(f"noise_{layer}", torch.empty(1, 1, side, side))
        self.styles = 2 * len(channels)

    def map(self, z: Tensor) -> Tensor:
        """z: [N, 512] normal -> w [N, 512]."""
        return self.style(z)

    def spread(self, w: Tensor) -> Tensor:
        """w: [N, 512] -> w+ [N, L, 512], the same for every layer."""
        return w[:, None].expand(-1, self.styles, -1)

    @staticmethod
    def truncate(w: Tensor, mean: Tensor, psi: float) -> Tensor:
        """Draw latents towards their mean.

        w, mean: [..., 512]; psi: 1 leaves them, 0 gives the mean
        """
        return mean + psi * (w - mean)

    def mix(self, coarse: Tensor, fine: Tensor, first: int) -> Tensor:
        """coarse, fine: w [N, 512] -> w+ [N, L, 512], `fine` from layer `first` on."""
        layers = torch.arange(self.styles, device=fine.device)[None, :, None]
        return torch.where(layers < first, coarse[:, None], fine[:, None])

    def fixed_noise(self) -> list[Tensor]:
        """The checkpoint's own noise: [1, 1, s, s] per layer."""
        return [self.noises.get_buffer(f"noise_{layer}") for layer in range(len(self.sides))]

    def random_noise(self, seed: int, count: int = 1) -> list[Tensor]:
        """[count, 1, s, s] per layer, the same for the same seed."""
        source = torch.Generator().manual_seed(seed)
        device = self.input.input.device
        return [torch.randn(count, 1, side, side, generator=source).to(device) for side in self.sides]

    def forward(self, ws: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
        """Generate pictures.

        ws:      [N, L, 512] float32, w+, L = 2 log2(side) - 2
        noise:   [1 or N, 1, s, s] per layer; None adds none
        returns: [N, 3, side, side] RGB, about -1 to 1, not clamped
        """
        noises = [None] * len(self.sides) if noise is None else noise
        x = self.conv1(self.input.input, ws[:, 0], noises[0])
        image = self.to_rgb1(x, ws[:, 1], None)
        for level, to_rgb in enumerate(self.to_rgbs):
            up, layer = 2 * level, 2 * level + 1
            x = self.convs[up](x, ws[:, layer], noises[layer])
            x = self.convs[up + 1](x, ws[:, layer + 1], noises[layer + 1])
            image = to_rgb(x, ws[:, layer + 2], image)
        return image


class Offset(nn.Module):
    """The engine that maps: z [N, 512] -> w minus the mean face's [N, 512], which is what face codes count in."""

    def __init__(self, net: Generator, mean: Tensor) -> None:
        super().__init__()
        self.style = net.style
        self.register_buffer("mean", mean.reshape(-1))

    def forward(self, z: Tensor) -> Tensor:
        return self.style(z) - self.mean


class Picture(nn.Module):
    """The engine that paints: w minus the mean face's [N, 512] -> [N, 3, side, side], with the checkpoint's noise."""

    def __init__(self, net: Generator, mean: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean.reshape(-1))

    def forward(self, offset: Tensor) -> Tensor:
        return self.net(self.net.spread(self.mean + offset), self.net.fixed_noise())


def _knows(shapes: Shapes) -> bool:
    # The mapping network alone would also fit other generators; the noise buffers lie at the top only here.
    return {"style.1.weight", "to_rgb1.conv.modulation.weight", "input.input", "noises.noise_0"} <= shapes.keys()


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> Generator:
    levels = sum(key.startswith("to_rgbs.") and key.endswith(".bias") and "conv" not in key for key in shapes)
    channels = [shapes["input.input"][1], *(shapes[f"convs.{2 * i}.activate.bias"][0] for i in range(levels))]
    net = Generator(
        channels,
        latent=shapes["style.1.weight"][1],
        depth=sum(key.startswith("style.") and key.endswith(".weight") for key in shapes),
        rate=arch.get("lr_mlp", MAPPING_RATE),
        colours=shapes["to_rgb1.bias"][1],
    )
    net.eval()
    return net


def _outputs(net: Generator, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    noise = net.fixed_noise()
    w, other = net.map(feeds["z"]), net.map(feeds["z2"])
    truncated = net.truncate(w, feeds["latent_avg"], 0.7)
    return {
        "w": w,
        "img": net(net.spread(w), noise),
        "img_trunc07": net(net.spread(truncated), noise),
        "img_mix_inject4": net(net.mix(w, other, 4), noise),
        "img_wplus": net(feeds["wplus"], noise),
    }


def _once(net: Generator) -> Sequence[Tensor]:
    z = torch.zeros(1, net.style.get_submodule("1").weight.shape[1])
    net(net.spread(net.map(z)), net.fixed_noise())
    return (z,)


ROSINALITY = Network(
    paper="Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020, arXiv:1912.04958",
    licence="MIT",
    once=_once,
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={
        "mapping": lambda net, beside: Offset(net, beside["latent_avg"]),
        "synthesis": lambda net, beside: Picture(net, beside["latent_avg"]),
    },
)
