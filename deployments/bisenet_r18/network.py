"""BiSeNet on ResNet-18: which part of a head each pixel belongs to, 19 classes.

Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018, arXiv:1808.00897.
State-dict keys are those of the official face-parsing checkpoint. Differences: inference only; as in that checkpoint
the backbone's map of 1/8 stands for the spatial path.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network


def within(shapes: Shapes, name: str) -> Shapes:
    """The shapes below one name."""
    return {key.removeprefix(f"{name}."): shape for key, shape in shapes.items() if key.startswith(f"{name}.")}


def conv(shapes: Shapes, name: str, stride: int = 1) -> nn.Conv2d:
    outside, inside, size, _ = shapes[f"{name}.weight"]
    return nn.Conv2d(inside, outside, size, stride, size // 2, bias=f"{name}.bias" in shapes)


def batch_norm(shapes: Shapes, name: str) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(shapes[f"{name}.weight"][0])


class ConvBn(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv = conv(shapes, "conv")
        self.bn = batch_norm(shapes, "bn")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Block(nn.Module):
    def __init__(self, shapes: Shapes, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(shapes, "conv1", stride)
        self.bn1 = batch_norm(shapes, "bn1")
        self.conv2 = conv(shapes, "conv2")
        self.bn2 = batch_norm(shapes, "bn2")
        self.downsample = None
        if "downsample.0.weight" in shapes:
            layers = (conv(shapes, "downsample.0", stride), batch_norm(shapes, "downsample.1"))
            self.downsample = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu((x if self.downsample is None else self.downsample(x)) + y, inplace=True)


class ResNet(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv1 = conv(shapes, "conv1", 2)
        self.bn1 = batch_norm(shapes, "bn1")
        for name in ("layer1", "layer2", "layer3", "layer4"):
            layer = within(shapes, name)
            places = dict.fromkeys(key.partition(".")[0] for key in layer)
            blocks = [Block(within(layer, p), 2 if p == "0" and name != "layer1" else 1) for p in places]
            self.add_module(name, nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of 1/8, 1/16 and 1/32."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Refinement(nn.Module):
    """Channels weighted by what the whole map holds."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv = ConvBn(within(shapes, "conv"))
        self.conv_atten = conv(shapes, "conv_atten")
        self.bn_atten = batch_norm(shapes, "bn_atten")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        weight = self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(weight)


class ContextPath(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.resnet = ResNet(within(shapes, "resnet"))
        self.arm16 = Refinement(within(shapes, "arm16"))
        self.arm32 = Refinement(within(shapes, "arm32"))
        self.conv_head32 = ConvBn(within(shapes, "conv_head32"))
        self.conv_head16 = ConvBn(within(shapes, "conv_head16"))
        self.conv_avg = ConvBn(within(shapes, "conv_avg"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The backbone's maps of 1/8 and 1/32; refined ones at 1/8 and 1/16."""
        eighth, sixteenth, last = self.resnet(x)
        # The average is one pixel: adding it is what enlarging it to the map's size would do.
        coarse = self.arm32(last) + self.conv_avg(last.mean((2, 3), keepdim=True))
        coarse = self.conv_head32(F.interpolate(coarse, size=sixteenth.shape[2:], mode="nearest"))
        fine = F.interpolate(self.arm16(sixteenth) + coarse, size=eighth.shape[2:], mode="nearest")
        return eighth, last, self.conv_head16(fine), coarse


class Fusion(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.convblk = ConvBn(within(shapes, "convblk"))
        self.conv1 = conv(shapes, "conv1")
        self.conv2 = conv(shapes, "conv2")

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat((spatial, context), 1))
        weight = F.relu(self.conv1(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * torch.sigmoid(self.conv2(weight)) + x


class Classes(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv = ConvBn(within(shapes, "conv"))
        self.conv_out = conv(shapes, "conv_out")

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = self.conv_out(self.conv(x))
        return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


class BiSeNet(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.cp = ContextPath(within(shapes, "cp"))
        self.ffm = Fusion(within(shapes, "ffm"))
        self.conv_out = Classes(within(shapes, "conv_out"))
        self.conv_out16 = Classes(within(shapes, "conv_out16"))
        self.conv_out32 = Classes(within(shapes, "conv_out32"))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] RGB, 0-1 less (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225), sides multiples of 32;
        returns logits [N, 19, H, W]."""
        eighth, _, context, _ = self.cp(x)
        logits: Tensor = self.conv_out(self.ffm(eighth, context), x.shape[2], x.shape[3])
        return logits

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Also the heads that only training uses, and the backbone's maps."""
        height, width = x.shape[2:]
        eighth, last, context, coarse = self.cp(x)
        return {
            "out": self.conv_out(self.ffm(eighth, context), height, width),
            "out16": self.conv_out16(context, height, width),
            "out32": self.conv_out32(coarse, height, width),
            "feat8": eighth,
            "feat32": last,
        }


def _knows(shapes: Shapes) -> bool:
    return "cp.resnet.conv1.weight" in shapes and "ffm.convblk.conv.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> BiSeNet:
    net = BiSeNet(shapes)
    net.eval()
    return net


def _outputs(net: BiSeNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return net.outputs(feeds["img"])


BISENET = Network(
    paper=("BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, ECCV 2018, arXiv:1808.00897"),
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
