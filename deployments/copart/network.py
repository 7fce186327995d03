"""Motion-supervised co-part segmentation: parts of a face that move together, and parts exchanged between two faces.

Siarohin et al., "Motion-supervised Co-Part Segmentation", ICPR 2020, arXiv:2004.03234.
State-dict keys are those of the official checkpoints, both modules side by side under their names there.
Differences: inference only; blurring and shrinking are one strided convolution, 2 x 2 matrices are inverted in closed
form, a sigmoid follows the last convolution at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network

TEMPERATURE = 0.1
"""Of the heat maps whose mean places are the parts' centres."""


def within(shapes: Shapes, name: str) -> Shapes:
    """The shapes below one name."""
    return {key.removeprefix(f"{name}."): shape for key, shape in shapes.items() if key.startswith(f"{name}.")}


def children(shapes: Shapes) -> list[str]:
    """Names on the first level, in the checkpoint's order."""
    return list(dict.fromkeys(key.partition(".")[0] for key in shapes))


def conv(shapes: Shapes, name: str) -> nn.Conv2d:
    outside, inside, size, _ = shapes[f"{name}.weight"]
    return nn.Conv2d(inside, outside, size, 1, size // 2)


def batch_norm(shapes: Shapes, name: str) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(shapes[f"{name}.weight"][0])


def resized(x: Tensor, height: int, width: int) -> Tensor:
    # Also where nothing changes: a branch on sizes could not be exported, and the maps are of few channels.
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


class ConvNorm(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv = conv(shapes, "conv")
        self.norm = batch_norm(shapes, "norm")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Down(ConvNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class Up(ConvNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Blocks(nn.Module):
    """`down_blocks` or `up_blocks` of one half of the hourglass."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for name, kind in (("down_blocks", Down), ("up_blocks", Up)):
            below = within(shapes, name)
            if below:
                self.add_module(name, nn.ModuleList(kind(within(below, place)) for place in children(below)))


class Hourglass(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.encoder = Blocks(within(shapes, "encoder"))
        self.decoder = Blocks(within(shapes, "decoder"))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for block in self.encoder.down_blocks:
            seen.append(block(seen[-1]))
        x = seen.pop()
        for block in self.decoder.up_blocks:
            x = torch.cat((block(x), seen.pop()), 1)
        return x


class Shrink(nn.Module):
    """Blur, then every n-th pixel; the kernel's size tells n."""

    weight: Tensor

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        channels, _, size, _ = shapes["weight"]
        self.stride = (size - 1) // 4 + 1
        sigma = (self.stride - 1) / 2
        away = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        bell = torch.exp(-(away**2) / (2 * sigma**2))
        kernel = bell[:, None] * bell
        self.register_buffer("weight", (kernel / kernel.sum()).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.weight.shape[-1] // 2, 1, self.weight.shape[0])


@dataclass(frozen=True, slots=True)
class Parts:
    """segments: [N, K + 1, h, w], shares of the background and of each part; shift: [N, K, 2] x, y of a part's centre,
    -1 to 1 between the outermost pixels' centres; affine: [N, K, 2, 2], how a part lies."""

    segments: Tensor
    shift: Tensor
    affine: Tensor


def grid(like: Tensor) -> Tensor:
    """[2, h x w] x and y of each pixel of a map, from -1 to 1."""
    height, width = like.shape[2:]
    y = 2 * (torch.arange(height, dtype=like.dtype, device=like.device) / (height - 1)) - 1
    x = 2 * (torch.arange(width, dtype=like.dtype, device=like.device) / (width - 1)) - 1
    return torch.stack((x.repeat(height), y.repeat_interleave(width)))


class SegmentationModule(nn.Module):
    def __init__(self, shapes: Shapes, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.predictor = Hourglass(within(shapes, "predictor"))
        self.shift = conv(shapes, "shift")
        self.affine = conv(shapes, "affine") if "affine.weight" in shapes else None
        if self.affine is not None and self.affine.bias is not None:
            # Untrained, every part lies as it is.
            with torch.no_grad():
                self.affine.bias.copy_(torch.eye(2).flatten().repeat(shapes["affine.bias"][0] // 4))
        self.segmentation = conv(shapes, "segmentation")
        self.down = Shrink(within(shapes, "down")) if "down.weight" in shapes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: [N, 3, H, W] RGB, 0-1, H and W multiples of 128; returns what `Parts` holds."""
        features = self.predictor(x if self.down is None else self.down(x))
        segments = self.segmentation(features).softmax(1)
        heat = (self.shift(features).flatten(2) / self.temperature).softmax(-1)
        shift = (heat[:, :, None] * grid(features)).sum(-1)
        if self.affine is None:
            affine = torch.eye(2, dtype=x.dtype, device=x.device).expand(*shift.shape, 2)
        else:
            maps = self.affine(features).unflatten(1, (-1, 4)).flatten(3)
            affine = (heat[:, :, None] * maps).sum(-1).unflatten(2, (2, 2))
        return segments, shift, affine


class Residual(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv1 = conv(shapes, "conv1")
        self.conv2 = conv(shapes, "conv2")
        self.norm1 = batch_norm(shapes, "norm1")
        self.norm2 = batch_norm(shapes, "norm2")

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x), inplace=True))
        return self.conv2(F.relu(self.norm2(y), inplace=True)) + x


def inverse(matrix: Tensor) -> Tensor:
    """Of [..., 2, 2]."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = torch.stack((torch.stack((d, -b), -1), torch.stack((-c, a), -1)), -2)
    return adjugate / (a * d - b * c)[..., None, None]


def deformation(source: Parts, target: Parts) -> Tensor:
    """Where in the source each place of the target comes from: [N, 2, h, w], x and y of -1 to 1."""
    height, width = target.segments.shape[2:]
    places = grid(target.segments)
    turn = source.affine @ inverse(target.affine)
    moved = turn @ (places - target.shift[..., None]) + source.shift[..., None]
    shares = target.segments.flatten(2)
    found = places * shares[:, :1] + (moved * shares[:, 1:, None]).sum(1)
    return found.unflatten(2, (height, width))


def visibility(source: Parts, target: Parts) -> Tensor:
    """[N, 1, h, w]: 0 where the source shows a part and the target does not."""
    ours, theirs = (parts.segments[:, 1:].sum(1, keepdim=True) for parts in (source, target))
    return 1 - ours * (1 - theirs)


class ReconstructionModule(nn.Module):
    """align_corners: what -1 and 1 stand for where a picture is looked up: its outermost pixels' centres (the
    convention under which the official checkpoints were trained), or its edges."""

    def __init__(self, shapes: Shapes, estimate_visibility: bool) -> None:
        super().__init__()
        self.estimate_visibility = estimate_visibility
        self.align_corners = True
        self.first = ConvNorm(within(shapes, "first"))
        for name, kind in (("down_blocks", Down), ("up_blocks", Up)):
            below = within(shapes, name)
            self.add_module(name, nn.ModuleList(kind(within(below, place)) for place in children(below)))
        below = within(shapes, "bottleneck")
        self.bottleneck = nn.Sequential()
        for name in children(below):
            self.bottleneck.add_module(name, Residual(within(below, name)))
        self.final = conv(shapes, "final")
        if "blend_downsample.weight" in shapes:
            self.blend_downsample = Shrink(within(shapes, "blend_downsample"))

    def warped(self, x: Tensor, places: Tensor) -> Tensor:
        """x: [N, C, H, W] looked up at places [N, 2, h, w], which are brought to H x W first."""
        places = resized(places, x.shape[2], x.shape[3]).permute(0, 2, 3, 1)
        return F.grid_sample(x, places, mode="bilinear", padding_mode="zeros", align_corners=self.align_corners)

    def encoded(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.down_blocks:
            x = block(x)
        return x

    def decoded(self, x: Tensor) -> Tensor:
        x = self.bottleneck(x)
        for block in self.up_blocks:
            x = block(x)
        return torch.sigmoid(self.final(x))

    def brought(self, features: Tensor, theirs: Parts, ours: Parts) -> Tensor:
        """The source's features, moved as the target has them."""
        features = self.warped(features, deformation(theirs, ours))
        if not self.estimate_visibility:
            return features
        return features * resized(visibility(theirs, ours), features.shape[2], features.shape[3])

    def forward(self, source: Tensor, theirs: Parts, ours: Parts) -> Tensor:
        """The source [N, 3, H, W], RGB, 0-1, with parts `theirs`, moving as the target with parts `ours`."""
        return self.decoded(self.brought(self.encoded(source), theirs, ours))

    def swapped(self, source: Tensor, target: Tensor, theirs: Parts, ours: Parts, mask: Tensor) -> Tensor:
        """The target with the source's parts.

        source, target: [N, 3, H, W] RGB, 0-1
        mask:           [N, 1, h, w] of 0 to 1, lying as the target does: where the source's parts belong
        returns:        [N, 3, H, W] RGB, 0-1
        """
        return self.exchanged(self.encoded(source), target, theirs, ours, mask)

    def exchanged(self, features: Tensor, target: Tensor, theirs: Parts, ours: Parts, mask: Tensor) -> Tensor:
        """As `swapped`, with what `encoded` gives of the source."""
        moved = self.brought(features, theirs, ours)
        mask = resized(mask, moved.shape[2], moved.shape[3])
        return self.decoded(self.encoded(target) * (1 - mask) + moved * mask)


class CoPart(nn.Module):
    def __init__(self, shapes: Shapes, *, temperature: float, estimate_visibility: bool) -> None:
        super().__init__()
        self.reconstruction_module = ReconstructionModule(
            within(shapes, "reconstruction_module"), estimate_visibility
        )  # fmt: skip
        self.segmentation_module = SegmentationModule(within(shapes, "segmentation_module"), temperature)

    def parts(self, x: Tensor) -> Parts:
        """x: [N, 3, H, W] RGB, 0-1"""
        return Parts(*self.segmentation_module(x))


class Features(nn.Module):
    """The engine that looks at a source once: [N, 3, H, W] RGB, 0-1 -> [N, C, H / 4, W / 4]."""

    def __init__(self, net: CoPart) -> None:
        super().__init__()
        self.maker = net.reconstruction_module

    def forward(self, picture: Tensor) -> Tensor:
        return self.maker.encoded(picture)


class Exchange(nn.Module):
    """The engine that exchanges: the source's features, the target, what `Parts` holds of either, and the mask."""

    def __init__(self, net: CoPart) -> None:
        super().__init__()
        self.maker = net.reconstruction_module

    def forward(
        self,
        features: Tensor,
        target: Tensor,
        their_segments: Tensor,
        their_shift: Tensor,
        their_affine: Tensor,
        segments: Tensor,
        shift: Tensor,
        affine: Tensor,
        mask: Tensor,
    ) -> Tensor:
        theirs, ours = Parts(their_segments, their_shift, their_affine), Parts(segments, shift, affine)
        return self.maker.exchanged(features, target, theirs, ours, mask)


def mask_of(parts: Parts, chosen: Sequence[int]) -> Tensor:
    """[N, 1, h, w]: share of the chosen parts."""
    return parts.segments[:, list(chosen)].sum(1, keepdim=True)


def _knows(shapes: Shapes) -> bool:
    return "reconstruction_module.first.conv.weight" in shapes and "segmentation_module.shift.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> CoPart:
    net = CoPart(
        shapes,
        temperature=arch.get("segmentation_module_params", {}).get("temperature", TEMPERATURE),
        estimate_visibility=arch.get("reconstruction_module_params", {}).get("estimate_visibility", True),
    )
    net.eval()
    return net


CHOSEN = (1, 2, 5)


def _outputs(net: CoPart, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Under both conventions of looking up; hard masks here split at their median."""
    source, target = feeds["source"], feeds["target"]
    theirs, ours = net.parts(source), net.parts(target)
    outputs = {"visibility": visibility(theirs, ours)}
    for name, parts in (("source", theirs), ("target", ours)):
        outputs |= {f"seg_{name}": parts.segments, f"shift_{name}": parts.shift, f"affine_{name}": parts.affine}
    places = deformation(theirs, ours)
    maker = net.reconstruction_module
    for convention in (True, False):
        maker.align_corners = convention
        suffix = f"align{convention}".lower()
        outputs[f"rec_{suffix}"] = maker(source, theirs, ours)
        outputs[f"deformed_{suffix}"] = maker.warped(source, places)
        for hard in (False, True):
            for side, parts in (("tgt", ours), ("src", theirs)):
                mask = mask_of(parts, CHOSEN)
                mask = (mask > mask.median()).to(mask.dtype) if hard else mask
                mask = maker.warped(mask, places) if side == "src" else mask
                swapped = maker.swapped(source, target, theirs, ours, mask)
                outputs[f"swap_{'hard' if hard else 'soft'}_{side}_{suffix}"] = swapped
    maker.align_corners = True
    return outputs


def _once(net: CoPart) -> Sequence[Tensor]:
    source, target = torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 256)
    theirs, ours = net.parts(source), net.parts(target)
    net.reconstruction_module.swapped(source, target, theirs, ours, mask_of(ours, CHOSEN))
    return source, target


COPART = Network(
    paper="Motion-supervised Co-Part Segmentation, ICPR 2020, arXiv:2004.03234",
    licence="CC BY-NC 4.0",
    once=_once,
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={
        "segments": lambda net, beside: net.segmentation_module,
        "features": lambda net, beside: Features(net),
        "exchange": lambda net, beside: Exchange(net),
    },
)
