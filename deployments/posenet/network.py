"""PoseNet: MobileNet with heads for keypoints, where exactly they lie, and the way from each to its neighbours.

Papandreou et al., "PersonLab: Person Pose Estimation and Instance Segmentation with a Bottom-Up, Part-Based, Geometric
Embedding Model", ECCV 2018, arXiv:1803.08225; MobileNet: Howard et al., arXiv:1704.04861.
State-dict keys are those of the official checkpoint. Differences: inference only.
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network

HEADS = ("heatmap", "offset", "displacement_fwd", "displacement_bwd")


class First(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.conv(x), inplace=True)


class Separable(nn.Module):
    """A 3 x 3 filter per channel, then a mix of the channels; normalisation is folded into the biases."""

    def __init__(self, inside: int, outside: int, stride: int, rate: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inside, inside, 3, stride, rate, rate, groups=inside)
        self.pointwise = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.pointwise(F.relu6(self.depthwise(x), inplace=True)), inplace=True)


class PoseNet(nn.Module):
    """widths: channels behind each layer; heads: channels of each head; stride: pixels per cell of the outputs."""

    def __init__(self, widths: list[int], heads: Mapping[str, int], stride: int) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", First(3, widths[0]))
        reached, rate = 2, 1
        for number in range(1, len(widths)):
            inside, outside = widths[number - 1], widths[number]
            # Where the network grows it also halves the map, but for the first time.
            step = 2 if outside != inside and number > 1 else 1
            if reached < stride:
                layer = Separable(inside, outside, step, 1)
                reached *= step
            else:
                layer = Separable(inside, outside, 1, rate)
                rate *= step
            self.features.add_module(f"conv{number}", layer)
        for name, channels in heads.items():
            self.add_module(name, nn.Conv2d(widths[-1], channels, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Keypoints in cells of `stride` pixels.

        image:   [N, 3, H, W] RGB, -1 to 1; H and W are a multiple of the stride and 1 more
        returns: probabilities [N, 17, h, w]; offsets [N, 34, h, w] and displacements to the next keypoint and to the
                 last along the body [N, 32, h, w] each, pixels; their first halves are y, their second ones x
        """
        x = self.features(image)
        return (
            self.heatmap(x).sigmoid(), self.offset(x), self.displacement_fwd(x), self.displacement_bwd(x)
        )  # fmt: skip


def _knows(shapes: Shapes) -> bool:
    return all(f"{name}.weight" in shapes for name in HEADS) and "features.conv0.conv.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> PoseNet:
    """arch: output_stride, 8, 16 or 32"""
    widths = [shapes["features.conv0.conv.weight"][0]]
    while (key := f"features.conv{len(widths)}.pointwise.weight") in shapes:
        widths.append(shapes[key][0])
    heads = {name: shapes[f"{name}.weight"][0] for name in HEADS}
    net = PoseNet(widths, heads, int(arch.get("output_stride", 16)))
    net.eval()
    return net


def _outputs(net: PoseNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return dict(zip(HEADS, net(feeds["image"]), strict=True))


MOBILENET = Network(
    paper=(
        "PersonLab: Person Pose Estimation and Instance Segmentation with a Bottom-Up, Part-Based, "
        "Geometric Embedding Model, ECCV 2018, arXiv:1803.08225"
    ),
    licence="Apache-2.0",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
