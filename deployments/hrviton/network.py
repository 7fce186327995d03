"""HR-VITON: a condition generator that bends a garment and parses the person in it, and an image generator.

Lee et al., "High-Resolution Virtual Try-On with Misalignment and Occlusion-Handled Conditions", ECCV 2022,
arXiv:2206.14180. State-dict keys are those of the official checkpoints (the generator's older names "ace" and ".Spade"
replaced as its loader does). Differences: inference only; the pyramid of the pose, which no output depends on, is not
made; the generator's noise is an input.
"""

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compile.kit import Shapes
from deployments.networks import Network

LEVELS = 5
"""Halvings in the condition generator's encoders."""
SLOPE = 0.2


def double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


# --- condition generator -------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """scale: "down" halves the picture, "up" doubles it; batch: batch norm, otherwise instance norm without weights."""

    def __init__(self, inside: int, outside: int, scale: str, *, batch: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if batch else nn.InstanceNorm2d
        if scale == "up":
            # The convolution could come first, but the warps after it would multiply what rounding then changes.
            self.scale = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inside, outside, 1))
        elif scale == "down":
            self.scale = nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=not batch)
        else:
            self.scale = nn.Conv2d(inside, outside, 1)
        self.block = nn.Sequential(
            nn.Conv2d(outside, outside, 3, padding=1, bias=not batch),
            norm(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, padding=1, bias=not batch),
            norm(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.scale(x)
        return F.relu(x + self.block(x), inplace=True)


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample x where the flow points, edge pixels repeated outside.

    x:    [N, C, H, W]; flow: [N, 2, H, W], x and y, in pixels of the map of half the size, as the checkpoint has it
    """
    height, width = x.shape[2:]
    across = torch.linspace(-1.0, 1.0, width, dtype=x.dtype, device=x.device)
    down = torch.linspace(-1.0, 1.0, height, dtype=x.dtype, device=x.device)
    grid = torch.stack(
        (
            flow[:, 0] / ((width / 2 - 1.0) / 2.0) + across,
            flow[:, 1] / ((height / 2 - 1.0) / 2.0) + down[:, None],
        ),
        -1,
    )
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


class ConditionGenerator(nn.Module):
    """garment, person: channels of the two inputs; classes: of the label map; width: of the first layer

    bends:     what the label decoder sees of the garment: "T1", the warped pyramid, or "encoder", the warped features
    convolved: whether a 1 x 1 convolution without ReLU makes the label map, not the last residual block itself
    batch:     batch norm, otherwise instance norm without weights
    """

    def __init__(
        self, garment: int, person: int, classes: int, width: int, *, bends: str, convolved: bool, batch: bool
    ) -> None:
        super().__init__()
        self.bends = bends
        widths = (width, 2 * width, 4 * width, 4 * width, 4 * width)

        def encoder(inside: int) -> nn.Sequential:
            return nn.Sequential(*(Residual(a, b, "down", batch=batch) for a, b in pairwise((inside, *widths))))

        self.ClothEncoder = encoder(garment)
        self.PoseEncoder = encoder(person)
        self.conv = Residual(4 * width, 8 * width, "same", batch=batch)
        decoder = []
        before = 8 * width
        for level in range(LEVELS):
            at = widths[LEVELS - 1 - level]
            seen = 0 if level == 0 else at + (4 * width if bends == "T1" else at)
            after = widths[max(LEVELS - 2 - level, 0)]
            decoder.append(Residual(before + seen, after, "up", batch=batch))
            before = after
        self.SegDecoder = nn.Sequential(*decoder)
        last = Residual(width + person + garment, width if convolved else classes, "same", batch=batch)
        self.out_layer = nn.Sequential(last, nn.Conv2d(width, classes, 1)) if convolved else last

        def laterals() -> nn.Sequential:
            return nn.Sequential(*(nn.Conv2d(one, 4 * width, 1) for one in widths[:-1]))

        self.conv1 = laterals()
        self.conv2 = laterals()
        self.flow_conv = nn.ModuleList([nn.Conv2d(8 * width, 2, 3, padding=1) for _ in range(LEVELS)])
        self.bottleneck = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(block.block[0].out_channels, 4 * width, 3, padding=1), nn.ReLU(inplace=True))
                for block in decoder[:-1]
            )
        )

    def forward(self, cloth_and_mask: Tensor, parse_and_densepose: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bend the garment and say where it and everything else will be.

        cloth_and_mask:      [N, 4, H, W] RGB, -1 to 1, and the garment's mask, 0 or 1; H and W multiples of 32
        parse_and_densepose: [N, 16, H, W] one-hot agnostic labels and the dense pose picture, -1 to 1
        returns: flow [N, 2, H / 2, W / 2] in its own pixels, x and y; label map [N, 13, H, W], 0 and more, no
                 probabilities; the warped garment [N, 3, H, W] and its mask [N, 1, H, W], soft
        """
        flows, labels, garment = self.steps(cloth_and_mask, parse_and_densepose)
        return flows[-1], labels, garment[:, :-1], garment[:, -1:]

    def steps(self, garment: Tensor, person: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The flow of each level, coarse to fine, the label map, and the warped first input."""
        shown, posed = _pyramid(self.ClothEncoder, garment), _pyramid(self.PoseEncoder, person)
        shown_all, posed_all = shown[-1], posed[-1]
        flows = [self.flow_conv[0](torch.cat((shown_all, posed_all), 1))]
        x = self.SegDecoder[0](self.conv(posed_all))
        for level in range(1, LEVELS):
            at = LEVELS - 1 - level
            shown_all = double(shown_all) + self.conv1[at](shown[at])
            flow = double(flows[-1])
            bent = warp(shown_all, flow)
            flows.append(flow + self.flow_conv[level](torch.cat((bent, self.bottleneck[level - 1](x)), 1)))
            if self.bends != "T1":
                bent = warp(shown[at], flow)
            x = self.SegDecoder[level](torch.cat((x, posed[at], bent), 1))
        bent = warp(garment, double(flows[-1]))
        labels = self.out_layer(torch.cat((x, person, bent), 1))
        return flows, labels, bent


def _pyramid(encoder: nn.Sequential, x: Tensor) -> list[Tensor]:
    found = []
    for block in encoder:
        x = block(x)
        found.append(x)
    return found


def _knows_conditions(shapes: Shapes) -> bool:
    return "ClothEncoder.0.scale.weight" in shapes and "flow_conv.0.weight" in shapes


def _build_conditions(shapes: Shapes, arch: Mapping[str, Any]) -> ConditionGenerator:
    width, garment = shapes["ClothEncoder.0.scale.weight"][:2]
    convolved = "out_layer.1.weight" in shapes
    net = ConditionGenerator(
        garment,
        shapes["PoseEncoder.0.scale.weight"][1],
        shapes["out_layer.1.weight" if convolved else "out_layer.scale.weight"][0],
        width,
        # The deepest decoder level whose features and pyramid differ in width tells which of them it sees.
        bends="T1" if shapes["SegDecoder.4.scale.1.weight"][1] == 6 * width else "encoder",
        convolved=convolved,
        batch="ClothEncoder.0.block.1.running_mean" in shapes,
    )
    net.eval()
    return net


def _condition_outputs(
    net: ConditionGenerator, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    flows, labels, garment = net.steps(feeds["cloth_and_mask"], feeds["parse_and_densepose"])
    found = {f"flow{level}": flow.permute(0, 2, 3, 1) for level, flow in enumerate(flows)}
    return found | {"segmap": labels, "warped_cloth": garment[:, :-1], "warped_mask": garment[:, -1:]}


class Conditions(nn.Module):
    """Without the garment at the size of the labels, which is bent again at the picture's."""

    def __init__(self, net: ConditionGenerator) -> None:
        super().__init__()
        self.net = net

    def forward(self, garment: Tensor, person: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flow, labels, _, mask = self.net(garment, person)
        return flow, labels, mask


CONDITIONS = Network(
    paper=(
        "High-Resolution Virtual Try-On with Misalignment and Occlusion-Handled Conditions, ECCV 2022, arXiv:2206.14180"
    ),
    licence="CC BY-NC 4.0",
    knows=_knows_conditions,
    build=_build_conditions,
    outputs=_condition_outputs,
    parts={"": lambda net, _: Conditions(net)},
)


# --- image generator -----------------------------------------------------------------------------------------------


class SpectralConvolution(nn.Module):
    """A convolution whose weight is divided by its largest singular value, of which the checkpoint has the vectors."""

    def __init__(self, inside: int, outside: int, side: int, *, bias: bool) -> None:
        super().__init__()
        self.padding = side // 2
        self.bias = nn.Parameter(torch.zeros(outside)) if bias else None
        self.weight_orig = nn.Parameter(torch.zeros(outside, inside, side, side))
        self.register_buffer("weight_u", torch.zeros(outside))
        self.register_buffer("weight_v", torch.zeros(inside * side * side))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight(), self.bias, padding=self.padding)

    def weight(self) -> Tensor:
        largest = torch.dot(self.weight_u, torch.mv(self.weight_orig.flatten(1), self.weight_v))
        return self.weight_orig / largest

    def plain(self) -> nn.Conv2d:
        outside, inside, side, _ = self.weight_orig.shape
        layer = nn.Conv2d(inside, outside, side, padding=self.padding, bias=self.bias is not None)
        with torch.no_grad():
            layer.weight.copy_(self.weight())
            if self.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


class ConditionalNorm(nn.Module):
    """SPADE: normalise without weights, then scale and shift as the label map says, pixel by pixel.

    parts: classes of the label map; middle: channels of what is made of it; batch: batch norm instead of instance norm
    """

    def __init__(self, channels: int, parts: int, middle: int, side: int, *, batch: bool) -> None:
        super().__init__()
        self.noise_scale = nn.Parameter(torch.zeros(channels))
        norm = nn.BatchNorm2d if batch else nn.InstanceNorm2d
        self.param_free_norm = norm(channels, affine=False)
        self.conv_shared = nn.Sequential(nn.Conv2d(parts, middle, side, padding=side // 2), nn.ReLU(inplace=True))
        self.conv_gamma = nn.Conv2d(middle, channels, side, padding=side // 2)
        self.conv_beta = nn.Conv2d(middle, channels, side, padding=side // 2)

    def forward(self, x: Tensor, parts: Tensor, noise: Tensor | None) -> Tensor:
        if noise is not None:
            x = x + noise * self.noise_scale[:, None, None]
        x = self.param_free_norm(x)
        y = self.conv_shared(parts)
        return x.mul_(self.conv_gamma(y).add_(1.0)).add_(self.conv_beta(y))


class ConditionalBlock(nn.Module):
    """channels: in, middle, out; norms: arguments of the norms after the channels."""

    def __init__(
        self, channels: tuple[int, int, int], norms: tuple[int, int, int], *, spectral: bool, batch: bool
    ) -> None:
        super().__init__()
        inside, middle, outside = channels

        def convolution(a: int, b: int, side: int, bias: bool) -> nn.Module:
            if spectral:
                return SpectralConvolution(a, b, side, bias=bias)
            return nn.Conv2d(a, b, side, padding=side // 2, bias=bias)

        self.learned = inside != outside
        self.conv_0 = convolution(inside, middle, 3, True)
        self.conv_1 = convolution(middle, outside, 3, True)
        if self.learned:
            self.conv_s = convolution(inside, outside, 1, False)
        self.norm_0 = ConditionalNorm(inside, *norms, batch=batch)
        self.norm_1 = ConditionalNorm(middle, *norms, batch=batch)
        if self.learned:
            self.norm_s = ConditionalNorm(inside, *norms, batch=batch)

    @property
    def norms(self) -> int:
        """Planes of noise it takes."""
        return 3 if self.learned else 2

    def forward(self, x: Tensor, parts: Tensor, noise: Tensor | None) -> Tensor:
        """parts: [N, P, H, W] at any size that x's divides; noise: [N, norms, h, w] of the shortcut, first and second
        norm."""
        parts = F.interpolate(parts, size=x.shape[2:], mode="nearest")
        planes: list[Tensor | None] = [None] * 3
        if noise is not None:
            planes[-self.norms :] = noise.split(1, 1)
        shortcut = self.conv_s(self.norm_s(x, parts, planes[0])) if self.learned else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, parts, planes[1]), SLOPE, inplace=True))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, parts, planes[2]), SLOPE, inplace=True))
        return shortcut + y


class ImageGenerator(nn.Module):
    """shapes: of the checkpoint, which hold all sizes."""

    BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        spectral = "head_0.conv_0.weight_orig" in shapes
        weight = "weight_orig" if spectral else "weight"
        self.blocks = [name for name in self.BLOCKS if f"{name}.conv_0.bias" in shapes]
        number = 0
        while f"conv_{number}.weight" in shapes:
            outside, inside, side, _ = shapes[f"conv_{number}.weight"]
            self.add_module(f"conv_{number}", nn.Conv2d(inside, outside, side, padding=side // 2))
            number += 1
        for name in self.blocks:
            middle, inside = shapes[f"{name}.conv_0.{weight}"][:2]
            shared = shapes[f"{name}.norm_0.conv_shared.0.weight"]
            block = ConditionalBlock(
                (inside, middle, shapes[f"{name}.conv_1.{weight}"][0]),
                (shared[1], shared[0], shared[2]),
                spectral=spectral,
                batch=f"{name}.norm_0.param_free_norm.running_mean" in shapes,
            )
            self.add_module(name, block)
        outside, inside, side, _ = shapes["conv_img.weight"]
        self.conv_img = nn.Conv2d(inside, outside, side, padding=side // 2)

    def forward(self, x: Tensor, seg: Tensor, noise: Tensor | None = None) -> Tensor:
        """Paint the person in the garment.

        x:     [N, 9, H, W] agnostic picture, dense pose picture and warped garment, each RGB, -1 to 1; H and W
               multiples of 128 (2 to the number of blocks but one)
        seg:   [N, 7, H, W] one-hot label map
        noise: [N, `noise_size(H, W)`] normal, or None for none at all: the official checkpoint was trained with it
        returns: [N, 3, H, W] RGB, -1 to 1
        """
        height, width = (size >> (len(self.blocks) - 1) for size in x.shape[2:])
        used = 0
        y = None
        for level, name in enumerate(self.blocks):
            block = self.get_submodule(name)
            size = (height << level, width << level)
            seen = self.get_submodule(f"conv_{level}")(F.interpolate(x, size=size, mode="nearest"))
            y = seen if y is None else torch.cat((F.interpolate(y, scale_factor=2.0, mode="nearest"), seen), 1)
            planes = None
            if noise is not None:
                count = block.norms * size[0] * size[1]
                planes = noise[:, used : used + count].unflatten(1, (block.norms, *size))
                used += count
            y = block(y, seg, planes)
        return torch.tanh(self.conv_img(F.leaky_relu(y, SLOPE, inplace=True)))

    def noise_size(self, height: int, width: int) -> int:
        """Numbers of noise that a picture of this size takes: a plane for each norm, block by block."""
        last = len(self.blocks) - 1
        return sum(
            self.get_submodule(name).norms * (height >> (last - level)) * (width >> (last - level))
            for level, name in enumerate(self.blocks)
        )


def _knows_generator(shapes: Shapes) -> bool:
    return "head_0.norm_0.noise_scale" in shapes and "conv_img.weight" in shapes


def _build_generator(shapes: Shapes, arch: Mapping[str, Any]) -> ImageGenerator:
    net = ImageGenerator(shapes)
    net.eval()
    return net


def _generator_outputs(
    net: ImageGenerator, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    return {"image": net(feeds["x"], feeds["seg"])}


def with_plain_weights(net: ImageGenerator, _: Mapping[str, Any]) -> ImageGenerator:
    """A copy whose convolutions have their weights divided already."""
    plain = copy.deepcopy(net)
    for block in plain.children():
        for name, layer in block.named_children():
            if isinstance(layer, SpectralConvolution):
                setattr(block, name, layer.plain())
    return plain


GENERATOR = Network(
    paper=(
        "High-Resolution Virtual Try-On with Misalignment and Occlusion-Handled Conditions, ECCV 2022, arXiv:2206.14180"
    ),
    licence="CC BY-NC 4.0",
    knows=_knows_generator,
    build=_build_generator,
    outputs=_generator_outputs,
    parts={"": with_plain_weights},
    tolerance=1e-4,
)
"""Weights that differ in their last bit alone already move the reference's own picture by 6e-6."""
