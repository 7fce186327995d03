"""StyleGAN2 generator: pictures from latent codes, in the layout of the adaptive-augmentation checkpoints.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, arXiv:2006.06676, on
"Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, arXiv:1912.04958.
State-dict keys are those of the official checkpoint (`G_ema`). Differences: inference only, float32 throughout, skip
architecture without classes; styles scale activations instead of weights, so that one constant weight serves a whole
batch; FIR filters are depth-wise convolutions.
"""

from collections.abc import Mapping, Sequence
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
CLAMP = 256.0
"""Activations are cut at this size in the released generators."""


def resample_filter() -> Tensor:
    """[4, 4], sums to 1: binomial, symmetric, so that convolution and correlation are one."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(row, row)


def blur(x: Tensor, kernel: Tensor, channels: int) -> Tensor:
    """[N, C, 2s+1, 2s+1] -> [N, C, 2s, 2s]; the kernel's sum is the gain.

    channels: C, a number that an exported graph has fixed
    """
    return F.conv2d(x, kernel.expand(channels, 1, 4, 4), padding=1, groups=channels)


def upsample(x: Tensor, kernel: Tensor, channels: int) -> Tensor:
    """[N, C, s, s] -> [N, C, 2s, 2s]; the kernel sums to 4. channels: C"""
    return F.conv_transpose2d(x, kernel.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


class FullyConnected(nn.Module):
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


class SynthesisLayer(nn.Module):
    def __init__(self, inside: int, outside: int, side: int, latent: int, *, up: bool, clamp: float | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outside, inside, 3, 3))
        self.noise_strength = nn.Parameter(torch.empty([]))
        self.bias = nn.Parameter(torch.empty(outside))
        self.register_buffer("resample_filter", resample_filter())
        self.register_buffer("noise_const", torch.empty(side, side))
        self.affine = FullyConnected(latent, inside)
        self.outside, self.up, self.clamp = outside, up, clamp

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        style = self.affine(w)
        x = x * style[:, :, None, None]
        if self.up:
            x = blur(
                F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2), self.resample_filter * 4, self.outside
            )
        else:
            x = F.conv2d(x, self.weight, padding=1)
        energy = self.weight.square().sum((2, 3))
        # The leaky ReLU is positively homogeneous: its gain goes into the factors, where it costs nothing.
        factors = torch.rsqrt(F.linear(style.square(), energy) + EPSILON) * GAIN
        x = x.mul_(factors[:, :, None, None]).add_((self.bias * GAIN)[:, None, None])
        if noise is not None:
            x = x.add_(noise * (self.noise_strength * GAIN))
        if self.clamp is not None:  # before the activation, whose slope widens the lower limit
            x = x.clamp_(-self.clamp / SLOPE, self.clamp)
        return F.leaky_relu_(x, SLOPE)


class ToRGB(nn.Module):
    def __init__(self, inside: int, outside: int, latent: int, *, clamp: float | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outside, inside, 1, 1))
        self.bias = nn.Parameter(torch.empty(outside))
        self.affine = FullyConnected(latent, inside)
        self.outside, self.scale, self.clamp = outside, 1 / sqrt(inside), clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) * self.scale
        x = F.conv2d(x * style[:, :, None, None], self.weight, self.bias)
        return x if self.clamp is None else x.clamp_(-self.clamp, self.clamp)


class Block(nn.Module):
    """One resolution. below: channels of the one before it; None for the first, which starts from a constant."""

    def __init__(
        self, below: int | None, here: int, side: int, latent: int, *, colours: int, clamp: float | None
    ) -> None:
        super().__init__()
        if below is None:
            self.const = nn.Parameter(torch.empty(here, side, side))
        self.register_buffer("resample_filter", resample_filter())
        self.conv0 = None if below is None else SynthesisLayer(below, here, side, latent, up=True, clamp=clamp)
        self.conv1 = SynthesisLayer(here, here, side, latent, up=False, clamp=clamp)
        self.torgb = ToRGB(here, colours, latent, clamp=clamp)

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """ws: [N, layers + 1, 512], the last for the colours; noise: one per layer."""
        if self.conv0 is None or x is None or image is None:
            x = self.conv1(self.const[None], ws[:, 0], noise[0])
            return x, self.torgb(x, ws[:, 1])
        x = self.conv1(self.conv0(x, ws[:, 0], noise[0]), ws[:, 1], noise[1])
        return x, self.torgb(x, ws[:, 2]).add_(upsample(image, self.resample_filter * 4, self.torgb.outside))


class Synthesis(nn.Module):
    def __init__(self, channels: Sequence[int], latent: int, *, colours: int, clamp: float | None) -> None:
        super().__init__()
        self.blocks = [f"b{4 * 2**level}" for level in range(len(channels))]
        for level, here in enumerate(channels):
            below = None if level == 0 else channels[level - 1]
            block = Block(below, here, 4 * 2**level, latent, colours=colours, clamp=clamp)
            self.add_module(self.blocks[level], block)

    def layers(self) -> list[SynthesisLayer]:
        """In the order of their noise."""
        blocks = [self.get_submodule(name) for name in self.blocks]
        return [layer for block in blocks for layer in (block.conv0, block.conv1) if layer is not None]

    def forward(self, ws: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
        """ws: [N, L, 512]; noise: [s, s] or [N, 1, s, s] per layer, None for none -> [N, 3, side, side]."""
        noises = [None] * (2 * len(self.blocks) - 1) if noise is None else noise
        x = image = None
        for level, name in enumerate(self.blocks):
            first = max(0, 2 * level - 1)
            last = 2 * level + 1
            x, image = self.get_submodule(name)(x, image, ws[:, first : last + 1], noises[first:last])
        return image


class MappingNetwork(nn.Module):
    def __init__(self, inside: int, latent: int, depth: int, rate: float) -> None:
        super().__init__()
        self.register_buffer("w_avg", torch.empty(latent))
        self.depth = depth
        for layer in range(depth):
            self.add_module(f"fc{layer}", FullyConnected(latent if layer else inside, latent, rate, activated=True))

    def forward(self, z: Tensor) -> Tensor:
        """z: [N, 512] normal -> w [N, 512]."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + EPSILON)
        for layer in range(self.depth):
            x = self.get_submodule(f"fc{layer}")(x)
        return x


class Generator(nn.Module):
    """channels: of each resolution, 4 x 4 first; inside, latent: sizes of z and w; depth: of the mapping network."""

    def __init__(
        self,
        channels: Sequence[int],
        *,
        inside: int = 512,
        latent: int = 512,
        depth: int = 8,
        colours: int = 3,
        clamp: float | None = CLAMP,
    ) -> None:
        super().__init__()
        self.synthesis = Synthesis(channels, latent, colours=colours, clamp=clamp)
        self.mapping = MappingNetwork(inside, latent, depth, MAPPING_RATE)
        self.styles = 2 * len(channels)

    def map(self, z: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """z: [N, 512] normal -> w+ [N, L, 512], the same for every layer but for the truncation.

        psi: 1 leaves the latents, 0 gives their mean; cutoff: number of first layers that are truncated, None for all
        """
        return self.truncate(self.spread(self.mapping(z)), psi, cutoff)

    def spread(self, w: Tensor) -> Tensor:
        """w: [N, 512] -> w+ [N, L, 512]."""
        return w[:, None].expand(-1, self.styles, -1)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Draw w+ [N, L, 512] towards the checkpoint's mean, in the first `cutoff` layers or all."""
        if psi == 1:
            return ws
        count = self.styles if cutoff is None else min(cutoff, self.styles)
        drawn = torch.lerp(self.mapping.w_avg, ws[:, :count], psi)
        return torch.cat([drawn, ws[:, count:]], 1)

    def mix(self, coarse: Tensor, fine: Tensor, first: int) -> Tensor:
        """coarse, fine: w+ [N, L, 512]; returns w+ with `fine` from layer `first` on."""
        return torch.cat([coarse[:, :first], fine[:, first:]], 1)

    def fixed_noise(self) -> list[Tensor]:
        """The checkpoint's own noise: [s, s] per layer."""
        return [layer.noise_const for layer in self.synthesis.layers()]

    def random_noise(self, seed: int, count: int = 1) -> list[Tensor]:
        """[count, 1, s, s] per layer, the same for the same seed."""
        source = torch.Generator().manual_seed(seed)
        return [torch.randn(count, 1, *fixed.shape, generator=source).to(fixed.device) for fixed in self.fixed_noise()]

    def forward(self, ws: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
        """Generate pictures.

        ws:      [N, L, 512] float32, w+, L = 2 log2(side) - 2
        noise:   [s, s] or [N, 1, s, s] per layer; None adds none
        returns: [N, 3, side, side] RGB, about -1 to 1, not clamped to that
        """
        return self.synthesis(ws, noise)


class Offset(nn.Module):
    """The engine that maps: z [N, 512] -> w minus the mean face's [N, 512], which is what face codes count in."""

    def __init__(self, net: Generator) -> None:
        super().__init__()
        self.mapping = net.mapping

    def forward(self, z: Tensor) -> Tensor:
        return self.mapping(z) - self.mapping.w_avg


class Picture(nn.Module):
    """The engine that paints: w minus the mean face's [N, 512] -> [N, 3, side, side], with the checkpoint's noise."""

    def __init__(self, net: Generator) -> None:
        super().__init__()
        self.net = net

    def forward(self, offset: Tensor) -> Tensor:
        return self.net(self.net.spread(self.net.mapping.w_avg + offset), self.net.fixed_noise())


def _knows(shapes: Shapes) -> bool:
    # Generators with classes have mapping.embed, those of residual blocks a skip: networks of their own.
    needed = {"synthesis.b4.const", "synthesis.b4.torgb.weight", "mapping.w_avg", "mapping.fc0.weight"}
    return needed <= shapes.keys() and not any(".skip." in key or key.startswith("mapping.embed") for key in shapes)


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> Generator:
    levels = sum(key.endswith(".torgb.weight") for key in shapes)
    net = Generator(
        [shapes[f"synthesis.b{4 * 2**level}.conv1.bias"][0] for level in range(levels)],
        inside=shapes["mapping.fc0.weight"][1],
        latent=shapes["mapping.w_avg"][0],
        depth=sum(key.startswith("mapping.fc") and key.endswith(".weight") for key in shapes),
        colours=shapes["synthesis.b4.torgb.weight"][0],
        clamp=arch.get("conv_clamp", CLAMP),
    )
    net.eval()
    return net


def _outputs(net: Generator, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    noise = net.fixed_noise()
    ws = net.map(feeds["z"])
    return {
        "ws": ws,
        "ws_psi07_cut8": net.map(feeds["z"], 0.7, 8),
        "img_const": net(ws, noise),
        "img_none": net(ws, None),
        "img_psi07_const": net(net.map(feeds["z"], 0.7), noise),
        "img_wplus_const": net(feeds["wplus"], noise),
    }


def _once(net: Generator) -> Sequence[Tensor]:
    z = torch.zeros(1, net.mapping.get_submodule("fc0").weight.shape[1])
    net(net.map(z), net.fixed_noise())
    return (z,)


ADA = Network(
    paper=(
        "Training Generative Adversarial Networks with Limited Data, NeurIPS 2020, arXiv:2006.06676; "
        "Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020, arXiv:1912.04958"
    ),
    licence="NVIDIA Source Code License, non-commercial",
    once=_once,
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={"mapping": lambda net, beside: Offset(net), "synthesis": lambda net, beside: Picture(net)},
)
