"""GPEN: a U-shaped encoder whose decoder is StyleGAN2, and ParseNet, which says where its result may be pasted.

Yang et al., "GAN Prior Embedded Network for Blind Face Restoration in the Wild", CVPR 2021, arXiv:2105.06070.
ParseNet: Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", CVPR 2021,
arXiv:2009.08709.
State-dict keys are those of the official checkpoints. Differences: inference only; styles scale activations instead of
weights, so that one constant weight serves a whole batch; FIR filters are depth-wise convolutions.
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


def binomial_filter(gain: float) -> Tensor:
    """[4, 4], sums to `gain`; symmetric, so that convolution and correlation are one."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) / (64 / gain)


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
    """A FIR filter on each channel, that the checkpoint stores as `kernel`."""

    def __init__(self, channels: int, gain: float = 4) -> None:
        super().__init__()
        self.register_buffer("kernel", binomial_filter(gain))
        self.register_buffer("ones", torch.ones(channels, 1, 1, 1), persistent=False)
        self.channels = channels

    def kernels(self) -> Tensor:
        """One for each channel [C, 1, 4, 4]; a product becomes a constant at export, which an expansion does not."""
        return self.ones * self.kernel

    def blur(self, x: Tensor, padding: int) -> Tensor:
        """[N, C, s, s] -> [N, C, s + 2 padding - 3, s + 2 padding - 3]."""
        return F.conv2d(x, self.kernels(), padding=padding, groups=self.channels)

    def upsample(self, x: Tensor) -> Tensor:
        """[N, C, s, s] -> [N, C, 2s, 2s]."""
        return F.conv_transpose2d(x, self.kernels(), stride=2, padding=1, groups=self.channels)


class ModulatedConv(nn.Module):
    """Convolution whose input channels a style scales.

    forward gives the convolution and, where demodulated, the factors [N, O, 1, 1] that bring it back to unit variance
    """

    def __init__(self, inside: int, outside: int, side: int, latent: int, *, demodulate: bool, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, outside, inside, side, side))
        self.blur = Filter(outside) if up else None
        self.modulation = EqualLinear(latent, inside)
        self.scale, self.padding, self.demodulate = 1 / sqrt(inside * side**2), side // 2, demodulate

    def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
        weight = self.weight[0]
        style = self.modulation(w) if self.demodulate else self.modulation(w) * self.scale
        x = x * style[:, :, None, None]
        if self.blur is None:
            x = F.conv2d(x, weight, padding=self.padding)
        else:
            x = self.blur.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), padding=1)
        if not self.demodulate:
            return x, None
        # Demodulation takes the weight's scale out again, so it is left to the epsilon alone.
        energy = torch.linalg.vector_norm(weight, dim=(2, 3)).square()  # also a constant at export
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
    """Modulated convolution of the decoder that lays the encoder's feature beside its result, or adds it.

    beside: the result has twice `outside` channels
    """

    def __init__(self, inside: int, outside: int, latent: int, *, up: bool, beside: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(inside, outside, 3, latent, demodulate=True, up=up)
        self.noise = NoiseStrength()
        self.activate = ActivationBias(2 * outside if beside else outside)
        self.channels, self.beside = outside, beside

    def forward(self, x: Tensor, w: Tensor, feature: Tensor) -> Tensor:
        x, factors = self.conv(x, w)
        # The leaky ReLU is positively homogeneous: its gain goes into the factors, where it costs nothing.
        bias, strength = (self.activate.bias * GAIN)[:, None, None], self.noise.weight * GAIN
        x = x.mul_(factors * GAIN)
        if self.beside:
            own, others = bias.split(self.channels)
            x = torch.cat([x.add_(own), torch.addcmul(others, feature, strength)], 1)
        else:
            x = x.add_(bias).add_(feature * strength)
        return F.leaky_relu_(x, SLOPE)


class ToRGB(nn.Module):
    def __init__(self, inside: int, outside: int, latent: int, *, up: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(1, outside, 1, 1))
        self.upsample = Filter(outside) if up else None
        self.conv = ModulatedConv(inside, outside, 1, latent, demodulate=False, up=False)

    def forward(self, x: Tensor, w: Tensor, below: Tensor | None) -> Tensor:
        image = self.conv(x, w)[0] + self.bias
        return image if self.upsample is None or below is None else image + self.upsample.upsample(below)


class Constant(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, channels, 4, 4))


class Decoder(nn.Module):
    """channels: of each resolution's encoder feature, 4 x 4 first."""

    def __init__(
        self, channels: Sequence[int], *, latent: int, depth: int, rate: float, colours: int, beside: bool
    ) -> None:
        super().__init__()
        layers = [EqualLinear(latent, latent, rate, activated=True) for _ in range(depth)]
        self.style = nn.Sequential(PixelNorm(), *layers)
        self.input = Constant(channels[0])
        wide = 2 if beside else 1
        self.conv1 = StyledConv(channels[0], channels[0], latent, up=False, beside=beside)
        self.to_rgb1 = ToRGB(wide * channels[0], colours, latent, up=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for below, here in pairwise(channels):
            self.convs.append(StyledConv(wide * below, here, latent, up=True, beside=beside))
            self.convs.append(StyledConv(wide * here, here, latent, up=False, beside=beside))
            self.to_rgbs.append(ToRGB(wide * here, colours, latent, up=True))

    def forward(self, latent: Tensor, features: Sequence[Tensor]) -> Tensor:
        """latent: [N, 512]; features: [N, C, s, s] per resolution, 4 x 4 first."""
        w = self.style(latent)
        x = self.conv1(self.input.input, w, features[0])
        image = self.to_rgb1(x, w, None)
        for level, to_rgb in enumerate(self.to_rgbs):
            feature = features[level + 1]
            x = self.convs[2 * level](x, w, feature)
            x = self.convs[2 * level + 1](x, w, feature)
            image = to_rgb(x, w, image)
        return image


class EqualConv(nn.Module):
    """Convolution without bias whose stored weights are N(0, 1)."""

    def __init__(self, inside: int, outside: int, side: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outside, inside, side, side))
        self.scale, self.stride = 1 / sqrt(inside * side**2), stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride)


class FilterBefore(Filter):
    """The filter ahead of a 3 x 3 convolution with stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        return self.blur(x, padding=2)


class Activation(ActivationBias):
    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(x.add_(self.bias[:, None, None]).mul_(GAIN), SLOPE)


class Restorer(nn.Module):
    """channels: of each resolution, 4 x 4 first; latent: size of z and w; depth: layers of the mapping network."""

    def __init__(
        self,
        channels: Sequence[int],
        *,
        latent: int = 512,
        depth: int = 8,
        rate: float = MAPPING_RATE,
        colours: int = 3,
        beside: bool = True,
    ) -> None:
        super().__init__()
        self.generator = Decoder(channels, latent=latent, depth=depth, rate=rate, colours=colours, beside=beside)
        down = channels[::-1]
        self.ecd0 = nn.Sequential(nn.Sequential(EqualConv(colours, down[0], 1, 1), Activation(down[0])))
        for level, (above, here) in enumerate(pairwise(down), 1):
            layers = FilterBefore(above, 1), EqualConv(above, here, 3, 2), Activation(here)
            self.add_module(f"ecd{level}", nn.Sequential(nn.Sequential(*layers)))
        self.final_linear = nn.Sequential(EqualLinear(channels[0] * 16, latent, activated=True))
        self.levels = len(channels)

    def encode(self, face: Tensor) -> tuple[Tensor, list[Tensor]]:
        """face: [N, 3, s, s] -> its latent [N, 512] and features [N, C, s, s] per resolution, 4 x 4 first."""
        x, features = face, []
        for level in range(self.levels):
            x = self.get_submodule(f"ecd{level}")(x)
            features.append(x)
        return self.final_linear(x.flatten(1)), features[::-1]

    def forward(self, face: Tensor) -> Tensor:
        """Restore aligned faces.

        face:    [N, 3, side, side] float32, RGB, -1 to 1, aligned to GPEN's template
        returns: [N, 3, side, side] RGB, about -1 to 1, not clamped
        """
        return self.generator(*self.encode(face))


class Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class ParsingConv(nn.Module):
    """3 x 3 convolution over mirrored borders. resize: 2 doubles the input first, 0.5 strides by 2."""

    def __init__(
        self, inside: int, outside: int, *, resize: float = 1, norm: bool = False, active: bool = False
    ) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inside, outside, 3, 2 if resize == 0.5 else 1, bias=not norm)
        self.norm = Norm(outside) if norm else None
        self.doubles, self.active = resize == 2, active

    def forward(self, x: Tensor) -> Tensor:
        if self.doubles:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        x = x if self.norm is None else self.norm(x)
        return F.leaky_relu_(x, SLOPE) if self.active else x


class Residual(nn.Module):
    def __init__(self, inside: int, outside: int, *, resize: float = 1) -> None:
        super().__init__()
        same = resize == 1 and inside == outside
        self.shortcut_func = None if same else ParsingConv(inside, outside, resize=resize)
        first, second = (1.0, resize) if resize < 1 else (resize, 1.0)
        self.conv1 = ParsingConv(inside, outside, resize=first, norm=True, active=True)
        self.conv2 = ParsingConv(outside, outside, resize=second, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut_func is None else self.shortcut_func(x)
        return self.conv2(self.conv1(x)).add_(shortcut)


class ParseNet(nn.Module):
    """down: channels from the first convolution on; depth: blocks at the bottom; up: channels on the way back."""

    def __init__(
        self, down: Sequence[int], depth: int, up: Sequence[int], *, colours: int = 3, classes: int = 19
    ) -> None:
        super().__init__()
        shrink = [Residual(before, after, resize=0.5) for before, after in pairwise(down)]
        self.encoder = nn.Sequential(ParsingConv(colours, down[0]), *shrink)
        self.body = nn.Sequential(*(Residual(down[-1], down[-1]) for _ in range(depth)))
        self.decoder = nn.Sequential(*(Residual(a, b, resize=2) for a, b in pairwise((down[-1], *up))))
        self.out_img_conv = ParsingConv(([down[-1], *up])[-1], colours)
        self.out_mask_conv = ParsingConv(([down[-1], *up])[-1], classes)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """Parse faces.

        face:    [N, 3, H, W] float32, RGB, -1 to 1, sides divisible by the shrinking; official 512
        returns: logits [N, 19, H, W], and a smoothed RGB picture [N, 3, H, W]
        """
        feature = self.encoder(face)
        x = self.decoder(feature + self.body(feature))
        return self.out_mask_conv(x), self.out_img_conv(x)


class Classes(nn.Module):
    """What the mask is made of, without the picture that ParseNet smooths besides."""

    def __init__(self, net: ParseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, face: Tensor) -> Tensor:
        """face: as in `ParseNet`; returns logits [N, 19, H, W]."""
        logits: Tensor = self.net(face)[0]
        return logits


def _knows_gpen(shapes: Shapes) -> bool:
    return {"generator.input.input", "ecd0.0.0.weight", "final_linear.0.weight"} <= shapes.keys()


def _build_gpen(shapes: Shapes, arch: Mapping[str, Any]) -> Restorer:
    levels = sum(key.startswith("ecd") and key.endswith(".weight") for key in shapes)
    channels = [shapes[f"ecd{level}.0.{0 if level == 0 else 1}.weight"][0] for level in reversed(range(levels))]
    net = Restorer(
        channels,
        latent=shapes["final_linear.0.weight"][0],
        depth=sum(key.startswith("generator.style.") and key.endswith(".weight") for key in shapes),
        rate=arch.get("lr_mlp", MAPPING_RATE),
        colours=shapes["ecd0.0.0.weight"][1],
        beside=shapes["generator.conv1.activate.bias"][0] == 2 * channels[0],
    )
    net.eval()
    return net


def _outputs_gpen(net: Restorer, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    latent, features = net.encode(feeds["img"])
    return {"img": net.generator(latent, features), "latent_in": latent}


def _knows_parsenet(shapes: Shapes) -> bool:
    return {"encoder.0.conv2d.weight", "out_mask_conv.conv2d.weight", "out_img_conv.conv2d.weight"} <= shapes.keys()


def _build_parsenet(shapes: Shapes, arch: Mapping[str, Any]) -> ParseNet:
    def blocks(part: str) -> list[int]:
        """Channels that each block of a part gives."""
        count = len({key.split(".")[1] for key in shapes if key.startswith(f"{part}.") and "conv1" in key})
        offset = 1 if part == "encoder" else 0
        return [shapes[f"{part}.{offset + i}.conv1.conv2d.weight"][0] for i in range(count)]

    net = ParseNet(
        [shapes["encoder.0.conv2d.weight"][0], *blocks("encoder")],
        len(blocks("body")),
        blocks("decoder"),
        colours=shapes["encoder.0.conv2d.weight"][1],
        classes=shapes["out_mask_conv.conv2d.weight"][0],
    )
    net.eval()
    return net


def _outputs_parsenet(net: ParseNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return dict(zip(("mask_logits", "img"), net(feeds["img"]), strict=True))


GPEN = Network(
    paper="GAN Prior Embedded Network for Blind Face Restoration in the Wild, CVPR 2021, arXiv:2105.06070",
    licence="none stated; its README asked for non-commercial use until March 2026",
    knows=_knows_gpen,
    build=_build_gpen,
    outputs=_outputs_gpen,
)
PARSENET = Network(
    paper=("Progressive Semantic-Aware Style Transformation for Blind Face Restoration, CVPR 2021, arXiv:2009.08709"),
    licence="none stated; its README asked for non-commercial use until March 2026",
    knows=_knows_parsenet,
    build=_build_parsenet,
    outputs=_outputs_parsenet,
    parts={"": lambda net, beside: Classes(net)},
)
