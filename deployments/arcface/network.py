"""ArcFace backbones: improved ResNets on aligned faces, 112 x 112 pixels, 512 numbers each.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, arXiv:1801.07698.
State-dict keys are those of the official checkpoints. Differences: inference only.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compile.kit import Shapes
from deployments.networks import Network

SIDE = 112
"""Side of the aligned face, pixels."""
STAGES = (64, 128, 256, 512)


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.prelu = nn.PReLU(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        if stride > 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        else:
            self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.conv1(self.bn1(x))
        return shortcut + self.bn3(self.conv2(self.prelu(self.bn2(y))))


class IResNet(nn.Module):
    """depths: blocks of each of the four stages, 3, 4, 14, 3 for 50 layers and 3, 13, 30, 3 for 100."""

    def __init__(self, depths: tuple[int, ...], size: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STAGES[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGES[0])
        self.prelu = nn.PReLU(STAGES[0])
        inside = STAGES[0]
        for number, (outside, depth) in enumerate(zip(STAGES, depths, strict=True), 1):
            blocks = [Block(inside if i == 0 else outside, outside, 2 if i == 0 else 1) for i in range(depth)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            inside = outside
        self.bn2 = nn.BatchNorm2d(inside)
        self.fc = nn.Linear(inside * (SIDE // 16) ** 2, size)
        self.features = nn.BatchNorm1d(size)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, 112, 112] RGB, -1 to 1; returns [N, 512], of any length."""
        return self.stages(x)[-1]

    def stages(self, x: Tensor) -> list[Tensor]:
        """The four stages' features, and the embedding."""
        x = self.prelu(self.bn1(self.conv1(x)))
        found = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            found.append(x)
        return [*found, self.features(self.fc(self.bn2(x).flatten(1)))]


class SqueezeExcite(nn.Module):
    """Weighs channels by their means."""

    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, inside, 1, bias=False)
        self.fc2 = nn.Conv2d(inside, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu_(self.fc1(x.mean((2, 3), keepdim=True)))))


class Bottleneck(nn.Module):
    """excited: channels inside squeeze and excitation; 0 for none."""

    def __init__(self, inside: int, outside: int, stride: int, excited: int) -> None:
        super().__init__()
        self.stride = stride
        if inside != outside:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )
        else:
            self.shortcut_layer = None
        layers = [
            nn.BatchNorm2d(inside),
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            nn.PReLU(outside),
            nn.Conv2d(outside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
        ]
        self.res_layer = nn.Sequential(*layers, *([SqueezeExcite(outside, excited)] if excited else []))

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut_layer is not None:
            shortcut = self.shortcut_layer(x)
        else:
            shortcut = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x).add_(shortcut)


class IRSE(nn.Module):
    """The backbone with squeeze and excitation that latent encoders start from and judge identity by.

    blocks: (inside, outside, stride, excited) of each bottleneck; side: of the face; affine: whether the last
    normalisation has weights
    """

    def __init__(
        self, blocks: Sequence[tuple[int, int, int, int]], *, side: int = SIDE, size: int = 512, affine: bool = True
    ) -> None:
        super().__init__()
        stem, last = blocks[0][0], blocks[-1][1]
        self.input_layer = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(last * (side // 16) ** 2, size),
            nn.BatchNorm1d(size, affine=affine),
        )
        self.body = nn.Sequential(*(Bottleneck(*block) for block in blocks))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, 112, 112] RGB, -1 to 1; returns [N, 512] of length 1."""
        return self.normalise(self.output_layer(self.features(x)))

    def features(self, x: Tensor) -> Tensor:
        """x: [N, 3, 112, 112] -> [N, 512, 7, 7]."""
        return self.body(self.input_layer(x))

    @staticmethod
    def normalise(embedding: Tensor) -> Tensor:
        return embedding / torch.linalg.vector_norm(embedding, dim=1, keepdim=True)


def _knows(shapes: Shapes) -> bool:
    return "layer4.0.prelu.weight" in shapes and "features.running_mean" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> IResNet:
    blocks = {key.rpartition(".bn1.weight")[0] for key in shapes if key.endswith(".bn1.weight")}
    depths = tuple(sum(block.startswith(f"layer{n}.") for block in blocks) for n in range(1, 5))
    net = IResNet(depths, shapes["fc.weight"][0])
    net.eval()
    return net


def _outputs(net: IResNet, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return dict(zip(("layer1", "layer2", "layer3", "layer4", "emb"), net.stages(feeds["img"]), strict=True))


def _blocks(shapes: Shapes) -> list[tuple[int, int, int, int]]:
    """(inside, outside, stride, excited) of each bottleneck; a group starts, and halves, where channels change."""
    found: list[tuple[int, int, int, int]] = []
    while f"body.{len(found)}.res_layer.1.weight" in shapes:
        key = f"body.{len(found)}."
        outside, inside = shapes[f"{key}res_layer.1.weight"][:2]
        stride = 2 if not found or f"{key}shortcut_layer.0.weight" in shapes else 1
        found.append((inside, outside, stride, shapes.get(f"{key}res_layer.5.fc1.weight", (0,))[0]))
    return found


def _knows_irse(shapes: Shapes) -> bool:
    return {"input_layer.0.weight", "output_layer.3.weight", "body.0.res_layer.1.weight"} <= shapes.keys()


def _build_irse(shapes: Shapes, arch: Mapping[str, Any]) -> IRSE:
    blocks = _blocks(shapes)
    size, flat = shapes["output_layer.3.weight"]
    side = 16 * isqrt(flat // blocks[-1][1])
    net = IRSE(blocks, side=side, size=size, affine="output_layer.4.weight" in shapes)
    net.eval()
    return net


def _outputs_irse(net: IRSE, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    body = net.features(feeds["img"])
    embedding = net.output_layer(body)
    return {"emb": net.normalise(embedding), "body": body, "pre_l2": embedding}


IRESNET = Network(
    paper="ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019, arXiv:1801.07698",
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
)
IR_SE = Network(
    paper="ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019, arXiv:1801.07698",
    licence="MIT",
    knows=_knows_irse,
    build=_build_irse,
    outputs=_outputs_irse,
)
