"""RetinaFace: faces of any size with five landmarks, on MobileNet V1 x 0.25 or ResNet-50.

Deng et al., "RetinaFace: Single-shot Multi-level Face Localisation in the Wild", CVPR 2020, arXiv:1905.00641.
State-dict keys are those of the official PyTorch checkpoints. Differences: inference only; depths and widths come from
a checkpoint's shapes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network
from deployments.retinaface import decode

LEVELS = (1, 2, 3)
NARROW = 64
"""Up to this width of the pyramid, negative values are kept at a tenth instead of cut off."""


def within(shapes: Shapes, name: str) -> Shapes:
    """The shapes below one name."""
    return {key.removeprefix(f"{name}."): shape for key, shape in shapes.items() if key.startswith(f"{name}.")}


def children(shapes: Shapes) -> list[str]:
    """Names on the first level, in the checkpoint's order."""
    return list(dict.fromkeys(key.partition(".")[0] for key in shapes))


def conv(shapes: Shapes, name: str, stride: int = 1) -> nn.Conv2d:
    """As wide as the checkpoint's; depthwise where the kernel sees one channel of several."""
    outside, inside, size, _ = shapes[f"{name}.weight"]
    depthwise = inside == 1 and outside > 1
    return nn.Conv2d(
        outside if depthwise else inside, outside, size, stride, size // 2,
        groups=outside if depthwise else 1, bias=f"{name}.bias" in shapes,
    )  # fmt: skip


def batch_norm(shapes: Shapes, name: str) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(shapes[f"{name}.weight"][0])


def conv_bn(shapes: Shapes, slope: float | None, stride: int = 1) -> nn.Sequential:
    """slope: of negative values; None where they stay."""
    after = [] if slope is None else [nn.LeakyReLU(slope, inplace=True)]
    return nn.Sequential(conv(shapes, "0", stride), batch_norm(shapes, "1"), *after)


def separable(shapes: Shapes, stride: int) -> nn.Sequential:
    """3 x 3 on each channel, then 1 x 1."""
    return nn.Sequential(
        conv(shapes, "0", stride), batch_norm(shapes, "1"), nn.LeakyReLU(0.1, inplace=True),
        conv(shapes, "3"), batch_norm(shapes, "4"), nn.LeakyReLU(0.1, inplace=True),
    )  # fmt: skip


class MobileNet(nn.Module):
    """Three stages of 1/8, 1/16 and 1/32."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for number in LEVELS:
            stage = within(shapes, f"stage{number}")
            layers = [self._layer(within(stage, name), number, int(name)) for name in children(stage)]
            self.add_module(f"stage{number}", nn.Sequential(*layers))

    @staticmethod
    def _layer(shapes: Shapes, stage: int, place: int) -> nn.Sequential:
        halves = place in (0, 2, 4) if stage == 1 else place == 0
        stride = 2 if halves else 1
        return separable(shapes, stride) if "3.weight" in shapes else conv_bn(shapes, 0.1, stride)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for stage in (self.stage1, self.stage2, self.stage3):
            x = stage(x)
            found.append(x)
        return found


class Bottleneck(nn.Module):
    def __init__(self, shapes: Shapes, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(shapes, "conv1")
        self.bn1 = batch_norm(shapes, "bn1")
        self.conv2 = conv(shapes, "conv2", stride)
        self.bn2 = batch_norm(shapes, "bn2")
        self.conv3 = conv(shapes, "conv3")
        self.bn3 = batch_norm(shapes, "bn3")
        self.downsample = None
        if "downsample.0.weight" in shapes:
            layers = (conv(shapes, "downsample.0", stride), batch_norm(shapes, "downsample.1"))
            self.downsample = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet(nn.Module):
    """The last three stages, of 1/8, 1/16 and 1/32."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv1 = conv(shapes, "conv1", 2)
        self.bn1 = batch_norm(shapes, "bn1")
        for name in ("layer1", "layer2", "layer3", "layer4"):
            layer = within(shapes, name)
            blocks = [
                Bottleneck(within(layer, place), 2 if place == "0" and name != "layer1" else 1)
                for place in children(layer)
            ]
            self.add_module(name, nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        x = self.layer1(x)
        found = []
        for layer in (self.layer2, self.layer3, self.layer4):
            x = layer(x)
            found.append(x)
        return found


class Pyramid(nn.Module):
    """Each level, with what the coarser one above it says."""

    def __init__(self, shapes: Shapes, slope: float) -> None:
        super().__init__()
        for name in children(shapes):
            self.add_module(name, conv_bn(within(shapes, name), slope))

    def forward(self, found: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = self.output1(found[0]), self.output2(found[1]), self.output3(found[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return [fine, middle, coarse]


class Context(nn.Module):
    """What surrounds each place, by one, two and three 3 x 3 convolutions."""

    def __init__(self, shapes: Shapes, slope: float) -> None:
        super().__init__()
        for name in ("conv3X3", "conv5X5_1", "conv5X5_2", "conv7X7_2", "conv7x7_3"):
            goes_on = name in ("conv5X5_1", "conv7X7_2")
            self.add_module(name, conv_bn(within(shapes, name), slope if goes_on else None))

    def forward(self, x: Tensor) -> Tensor:
        near, wider = self.conv3X3(x), self.conv5X5_1(x)
        wide, widest = self.conv5X5_2(wider), self.conv7x7_3(self.conv7X7_2(wider))
        return F.relu(torch.cat((near, wide, widest), 1), inplace=True)


class Head(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv1x1 = conv(shapes, "conv1x1")

    def forward(self, x: Tensor, values: int) -> Tensor:
        """[N, anchors x values, H, W] -> [N, H x W x anchors, values], row by row."""
        return self.conv1x1(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values))


class RetinaFace(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        body = within(shapes, "body")
        self.body = MobileNet(body) if "stage1.0.0.weight" in body else ResNet(body)
        slope = 0.1 if shapes["fpn.output1.0.weight"][0] <= NARROW else 0.0
        self.fpn = Pyramid(within(shapes, "fpn"), slope)
        for number in LEVELS:
            self.add_module(f"ssh{number}", Context(within(shapes, f"ssh{number}"), slope))
        for name in ("ClassHead", "BboxHead", "LandmarkHead"):
            heads = within(shapes, name)
            self.add_module(name, nn.ModuleList(Head(within(heads, place)) for place in children(heads)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: [N, 3, H, W] BGR, 0-255 less (104, 117, 123).

        returns: boxes [N, K, 4], logits of no face and face [N, K, 2], landmarks [N, K, 10], as `decode` reads them,
                 for each of the K priors
        """
        fine, middle, coarse = self.fpn(self.body(x))
        levels = (self.ssh1(fine), self.ssh2(middle), self.ssh3(coarse))
        boxes, classes, landmarks = (
            torch.cat([head(level, values) for head, level in zip(heads, levels, strict=True)], 1)
            for heads, values in ((self.BboxHead, 4), (self.ClassHead, 2), (self.LandmarkHead, 10))
        )
        return boxes, classes, landmarks


def _knows(shapes: Shapes) -> bool:
    return "ssh1.conv7x7_3.0.weight" in shapes and "LandmarkHead.0.conv1x1.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> RetinaFace:
    net = RetinaFace(shapes)
    net.eval()
    return net


def _outputs(net: RetinaFace, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Also what the first picture's boxes and landmarks, at a tenth, stand for."""
    x = feeds["img"]
    loc, logits, landmarks = net(x)
    told = decode.Priors(
        sizes=arch.get("min_sizes", decode.SIZES),
        steps=arch.get("steps", decode.STEPS),
        clip=arch.get("clip", False),
    )
    variances = arch.get("variance", decode.VARIANCES)
    priors = decode.priors(x.shape[2], x.shape[3], told)
    return {
        "loc": loc,
        "conf_logits": logits,
        "prob": logits.softmax(-1),
        "landms": landmarks,
        "priors": priors,
        "boxes0": decode.boxes(0.1 * loc[0].numpy(), priors, variances),
        "landms_dec0": decode.landmarks(0.1 * landmarks[0].numpy(), priors, variances),
    }


def _once(net: RetinaFace) -> Sequence[Tensor]:
    x = torch.zeros(1, 3, 640, 640)
    net(x)
    return (x,)


RETINAFACE = Network(
    paper="RetinaFace: Single-shot Multi-level Face Localisation in the Wild, CVPR 2020, arXiv:1905.00641",
    licence="MIT",
    once=_once,
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
