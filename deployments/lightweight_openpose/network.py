"""Lightweight OpenPose: MobileNet, then stages that each refine keypoints' heat maps and limbs' affinity fields.

Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019, arXiv:1811.12004.
State-dict keys are those of the official checkpoint. Differences: inference only.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network


def _conv(
    inside: int, outside: int, kernel: int = 3, *, stride: int = 1, rate: int = 1, norm: bool = False, bias: bool = True
) -> nn.Sequential:
    padding = rate * (kernel // 2)
    layers: list[nn.Module] = [nn.Conv2d(inside, outside, kernel, stride, padding, rate, bias=bias)]
    if norm:
        layers.append(nn.BatchNorm2d(outside))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _separable(inside: int, outside: int, stride: int = 1, rate: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, inside, 3, stride, rate, rate, groups=inside, bias=False),
        nn.BatchNorm2d(inside),
        nn.ReLU(inplace=True),
        nn.Conv2d(inside, outside, 1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


def _plain_separable(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(inside, outside, 1, bias=False),
        nn.ELU(inplace=True),
    )


def _head(inside: int, between: int, outside: int) -> nn.Sequential:
    return nn.Sequential(_conv(inside, between, 1), nn.Sequential(nn.Conv2d(between, outside, 1)))


class Bridge(nn.Module):
    """From the backbone's features to what all stages look at."""

    def __init__(self, inside: int, outside: int, depth: int) -> None:
        super().__init__()
        self.align = _conv(inside, outside, 1)
        self.trunk = nn.Sequential(*(_plain_separable(outside, outside) for _ in range(depth)))
        self.conv = _conv(outside, outside)

    def forward(self, x: Tensor) -> Tensor:
        x = self.align(x)
        return self.conv(x + self.trunk(x))


class Stage(nn.Module):
    def __init__(self, trunk: nn.Sequential, inside: int, between: int, heatmaps: int, fields: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.heatmaps = _head(inside, between, heatmaps)
        self.pafs = _head(inside, between, fields)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.heatmaps(x), self.pafs(x)


class Refinement(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.initial = _conv(inside, outside, 1)
        self.trunk = nn.Sequential(
            _conv(outside, outside, norm=True), _conv(outside, outside, rate=2, norm=True)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        return x + self.trunk(x)


class LightweightOpenPose(nn.Module):
    """Sizes are read from the checkpoint's shapes."""

    HALVED = (2, 4)
    """Layers of the backbone that halve the map, beside the first."""
    SPREAD = 7
    """The layer that looks twice as far instead."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        width = shapes["model.0.0.weight"][0]
        layers = [_conv(3, width, stride=2, norm=True, bias=False)]
        while (key := f"model.{len(layers)}.3.weight") in shapes:
            number, outside = len(layers), shapes[key][0]
            layers.append(
                _separable(width, outside, 2 if number in self.HALVED else 1, 2 if number == self.SPREAD else 1)
            )
            width = outside
        self.model = nn.Sequential(*layers)
        channels = shapes["cpm.align.0.weight"][0]
        self.cpm = Bridge(width, channels, _count(shapes, "cpm.trunk"))
        between, heatmaps, fields = (
            shapes[f"initial_stage.{key}.0.weight"][0] for key in ("heatmaps.0", "heatmaps.1", "pafs.1")
        )
        trunk = nn.Sequential(*(_conv(channels, channels) for _ in range(_count(shapes, "initial_stage.trunk"))))
        self.initial_stage = Stage(trunk, channels, between, heatmaps, fields)
        stages = []
        for stage in range(_count(shapes, "refinement_stages")):
            prefix = f"refinement_stages.{stage}"
            blocks = []
            for block in range(_count(shapes, f"{prefix}.trunk")):
                out, inside = shapes[f"{prefix}.trunk.{block}.initial.0.weight"][:2]
                blocks.append(Refinement(inside, out))
            between = shapes[f"{prefix}.heatmaps.0.0.weight"][0]
            stages.append(Stage(nn.Sequential(*blocks), out, between, heatmaps, fields))
        self.refinement_stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints and limbs in cells of 8 pixels, as the last stage sees them.

        image:   [N, 3, H, W] BGR, (byte - 128) / 256; H and W multiples of 8
        returns: heat maps [N, 19, H / 8, W / 8] of 18 keypoints and of the background; fields [N, 38, H / 8, W / 8],
                 the direction along each of 19 limbs, x and y
        """
        return self.stages(image)[-1]

    def stages(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Every stage's heat maps and fields."""
        features = self.cpm(self.model(image))
        found = [self.initial_stage(features)]
        for stage in self.refinement_stages:
            found.append(stage(torch.cat((features, *found[-1]), 1)))
        return found


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered parts a prefix has."""
    dots = prefix.count(".") + 1
    return len({key.split(".")[dots] for key in shapes if key.startswith(f"{prefix}.")})


def _knows(shapes: Shapes) -> bool:
    return "cpm.align.0.weight" in shapes and "initial_stage.pafs.1.0.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> LightweightOpenPose:
    net = LightweightOpenPose(shapes)
    net.eval()
    return net


def _outputs(net: LightweightOpenPose, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for number, (heatmaps, fields) in enumerate(net.stages(feeds["image"])):
        outputs |= {f"stage{number}_heatmaps": heatmaps, f"stage{number}_pafs": fields}
    return outputs


OPENPOSE = Network(
    paper=("Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose, ICPRAM 2019, arXiv:1811.12004"),
    licence="Apache-2.0",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
