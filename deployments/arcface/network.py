"""ArcFace backbones: improved ResNets on aligned 112 x 112 faces, 512 numbers each.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, arXiv:1801.07698.
State-dict keys are those of the official checkpoints. Differences: inference only.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

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


IRESNET = Network(knows=_knows, build=_build, outputs=_outputs)
