"""FaceShifter: a face of another identity in a given face's pose, expression and light; then what covers it.

Li et al., "FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping", 2019, arXiv:1912.13457; `add_blocks`
stand in the form of Groshev et al., "GHOST - A New Face Swap Approach for Image and Video Domains", IEEE Access 2022.
State-dict keys are those of the official checkpoints (GHOST) and of the two public re-implementations that others
train with. Differences: inference only; sizes, number of blocks and backbone come from a checkpoint's shapes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.networks import Network

SLOPE = 0.1
BLOCKS = 8
"""Residual blocks of the generator, from 2 x 2 to 256 x 256 pixels."""


def within(shapes: Shapes, name: str) -> Shapes:
    """The shapes below one name."""
    return {key.removeprefix(f"{name}."): shape for key, shape in shapes.items() if key.startswith(f"{name}.")}


def children(shapes: Shapes) -> list[str]:
    """Names on the first level, in the checkpoint's order."""
    return list(dict.fromkeys(key.partition(".")[0] for key in shapes))


def conv(shapes: Shapes, name: str, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    outside, inside, size, _ = shapes[f"{name}.weight"]
    around = size // 2 if padding is None else padding
    return nn.Conv2d(inside, outside, size, stride, around, bias=f"{name}.bias" in shapes)


def deconv(shapes: Shapes, name: str, stride: int, padding: int) -> nn.ConvTranspose2d:
    inside, outside, size, _ = shapes[f"{name}.weight"]
    return nn.ConvTranspose2d(inside, outside, size, stride, padding, bias=f"{name}.bias" in shapes)


def linear(shapes: Shapes, name: str) -> nn.Linear:
    outside, inside = shapes[f"{name}.weight"]
    return nn.Linear(inside, outside)


def batch_norm(shapes: Shapes, name: str) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(shapes[f"{name}.weight"][0])


def down(shapes: Shapes) -> nn.Sequential:
    """Half the size."""
    return nn.Sequential(conv(shapes, "0", 2, 1), batch_norm(shapes, "1"), nn.LeakyReLU(SLOPE, inplace=True))


def up(shapes: Shapes) -> nn.Sequential:
    """Twice the size."""
    return nn.Sequential(deconv(shapes, "0", 2, 1), batch_norm(shapes, "1"), nn.LeakyReLU(SLOPE, inplace=True))


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def attributes(x: Tensor, downs: Iterable[nn.Module], ups: Iterable[nn.Module], adds: bool) -> list[Tensor]:
    """Eight maps of a U-shaped encoder, from the smallest to the size of x. adds: skips are summed, not appended"""
    seen = []
    for layer in downs:
        x = layer(x)
        seen.append(x)
    found = [seen.pop()]
    for layer in ups:
        x, skip = layer(found[-1]), seen.pop()
        found.append(x + skip if adds else torch.cat((x, skip), 1))
    return [*found, doubled(found[-1])]


class Up(nn.Module):
    """`up` under the names of tao's and GHOST's checkpoints."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.deconv = deconv(shapes, "deconv", 2, 1)
        self.bn = batch_norm(shapes, "bn")

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.bn(self.deconv(x)), SLOPE, inplace=True)


class UNetEncoder(nn.Module):
    """`unet` and `linknet` backbones: seven steps down, six up."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        names = children(shapes)
        self.downs = [name for name in names if name.startswith("conv")]
        self.ups = [name for name in names if name.startswith("deconv")]
        for name in self.downs:
            self.add_module(name, down(within(shapes, name)))
        for name in self.ups:
            self.add_module(name, Up(within(shapes, name)))
        first, second = (shapes[f"{name}.deconv.weight"] for name in self.ups[:2])
        self.adds = second[0] == first[1]

    def forward(self, x: Tensor) -> list[Tensor]:
        downs, ups = ([self.get_submodule(name) for name in names] for names in (self.downs, self.ups))
        return attributes(x, downs, ups, self.adds)


class Bottleneck(nn.Module):
    """The stride lies in the first, 1 x 1, convolution."""

    def __init__(self, shapes: Shapes, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(shapes, "conv1", stride)
        self.bn1 = batch_norm(shapes, "bn1")
        self.conv2 = conv(shapes, "conv2")
        self.bn2 = batch_norm(shapes, "bn2")
        self.conv3 = conv(shapes, "conv3")
        self.bn3 = batch_norm(shapes, "bn3")
        self.downsample = None
        if "downsample.0.weight" in shapes:
            self.downsample = nn.Sequential(
                conv(shapes, "downsample.0", stride), batch_norm(shapes, "downsample.1")
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNetEncoder(nn.Module):
    """`resnet` backbone: no way up, the eight maps are those on the way down."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv0 = conv(shapes, "conv0")
        self.bn0 = batch_norm(shapes, "bn0")
        self.conv1 = conv(shapes, "conv1", 2)
        self.bn1 = batch_norm(shapes, "bn1")
        self.layers = [name for name in children(shapes) if name.startswith("layer")]
        for name in self.layers:
            layer = within(shapes, name)
            blocks = [Bottleneck(within(layer, block), 2 if block == "0" else 1) for block in children(layer)]
            self.add_module(name, nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        whole = F.relu(self.bn0(self.conv0(x)), inplace=True)
        found = [F.relu(self.bn1(self.conv1(whole)), inplace=True), whole]
        for name in self.layers:
            found.insert(0, self.get_submodule(name)(found[0]))
        return found


class Layered(nn.Module):
    """Encoder or decoder of mindslab's checkpoints: `layer_0`, `layer_1`, ..."""

    def __init__(self, shapes: Shapes, layer: Any) -> None:
        super().__init__()
        for name in children(shapes):
            self.add_module(name, layer(within(shapes, name)))


class LayeredEncoder(nn.Module):
    """mindslab's attribute encoder."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.Encoder = Layered(within(shapes, "Encoder"), down)
        self.Decoder = Layered(within(shapes, "Decoder"), up)

    def forward(self, x: Tensor) -> list[Tensor]:
        return attributes(x, self.Encoder.children(), self.Decoder.children(), False)


def integrated(h: Tensor, mask: Tensor, attribute: Sequence[Tensor], identity: Sequence[Tensor]) -> Tensor:
    """Normalised features h [N, C, H, W], modulated by a scale and a shift of the attributes [N, C, H, W] and of the
    identity [N, C], mixed by a mask of 0 (attributes) to 1 (identity)."""
    by_attribute = attribute[0] * h + attribute[1]
    by_identity = identity[0][:, :, None, None] * h + identity[1][:, :, None, None]
    return (1 - mask) * by_attribute + mask * by_identity


class Integration(nn.Module):
    """Adaptive attentional denormalisation of tao and GHOST: instance norm, a mask of one channel."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv1 = conv(shapes, "conv1")
        self.conv2 = conv(shapes, "conv2")
        self.fc1 = linear(shapes, "fc1")
        self.fc2 = linear(shapes, "fc2")
        self.conv_h = conv(shapes, "conv_h")

    def forward(self, h: Tensor, attribute: Tensor, identity: Tensor) -> Tensor:
        h = F.instance_norm(h)
        mask = torch.sigmoid(self.conv_h(h))
        modulation = (self.conv1(attribute), self.conv2(attribute))
        return integrated(h, mask, modulation, (self.fc1(identity), self.fc2(identity)))


class BatchIntegration(nn.Module):
    """That of mindslab: batch norm, a mask for each channel."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.BNorm = batch_norm(shapes, "BNorm")
        self.conv_f = conv(shapes, "conv_f")
        self.fc_1 = linear(shapes, "fc_1")
        self.fc_2 = linear(shapes, "fc_2")
        self.conv1 = conv(shapes, "conv1")
        self.conv2 = conv(shapes, "conv2")

    def forward(self, h: Tensor, attribute: Tensor, identity: Tensor) -> Tensor:
        h = self.BNorm(h)
        mask = torch.sigmoid(self.conv_f(h))
        modulation = (self.conv1(attribute), self.conv2(attribute))
        return integrated(h, mask, modulation, (self.fc_1(identity), self.fc_2(identity)))


Steps = Sequence[tuple[nn.Module, nn.Module]]
"""Integration and convolution by turns."""


def stepped(h: Tensor, attribute: Tensor, identity: Tensor, steps: Steps) -> Tensor:
    for integration, convolution in steps:
        h = convolution(F.relu(integration(h, attribute, identity), inplace=True))
    return h


class Block(nn.Module):
    """Residual block under the names of tao and of mindslab; a third step stands in the shortcut where the number of
    channels changes."""

    def __init__(self, shapes: Shapes, integration: Any, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        for name in children(shapes):
            below = within(shapes, name)
            self.add_module(name, integration(below) if name.startswith(prefix) else conv(shapes, name))
        self.changes = f"{prefix}3" in children(shapes)

    def steps(self, *numbers: int) -> Steps:
        return [(self.get_submodule(f"{self.prefix}{n}"), self.get_submodule(f"conv{n}")) for n in numbers]

    def forward(self, h: Tensor, attribute: Tensor, identity: Tensor) -> Tensor:
        shortcut = stepped(h, attribute, identity, self.steps(3)) if self.changes else h
        return stepped(h, attribute, identity, self.steps(1, 2)) + shortcut


class GhostBlock(nn.Module):
    """The same, of any number of steps, under GHOST's names: three places a step, the second of which holds nothing."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.add_blocks = self._steps(within(shapes, "add_blocks"))
        last = within(shapes, "last_add_block")
        self.last_add_block = self._steps(last) if last else None

    @staticmethod
    def _steps(shapes: Shapes) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                name: Integration(within(shapes, name)) if int(name) % 3 == 0 else conv(shapes, name)
                for name in children(shapes)
            }
        )

    def forward(self, h: Tensor, attribute: Tensor, identity: Tensor) -> Tensor:
        shortcut = h
        if self.last_add_block is not None:
            shortcut = stepped(h, attribute, identity, pairs(self.last_add_block))
        return stepped(h, attribute, identity, pairs(self.add_blocks)) + shortcut


def pairs(steps: nn.ModuleDict) -> Steps:
    layers = list(steps.values())
    return list(zip(layers[::2], layers[1::2], strict=True))


def generated(start: Tensor, found: Sequence[Tensor], identity: Tensor, blocks: Iterable[nn.Module]) -> list[Tensor]:
    """What each block gives, each but the first seeing the one before at twice its size."""
    given: list[Tensor] = []
    for block, attribute in zip(blocks, found, strict=True):
        given.append(block(doubled(given[-1]) if given else start, attribute, identity))
    return given


class Generator(nn.Module):
    """tao's and GHOST's: `up1`, `AADBlk1` to `AADBlk8`."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.up1 = deconv(shapes, "up1", 1, 0)
        for number in range(1, BLOCKS + 1):
            below = within(shapes, f"AADBlk{number}")
            ghost = "add_blocks" in children(below)
            self.add_module(f"AADBlk{number}", GhostBlock(below) if ghost else Block(below, Integration, "AAD"))

    def forward(self, found: Sequence[Tensor], identity: Tensor) -> list[Tensor]:
        blocks = [self.get_submodule(f"AADBlk{number}") for number in range(1, BLOCKS + 1)]
        return generated(self.up1(identity[:, :, None, None]), found, identity, blocks)


class AeiNet(nn.Module):
    """tao's form and GHOST's; the backbone is the one whose keys the checkpoint has."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        backbone = within(shapes, "encoder")
        self.encoder = ResNetEncoder(backbone) if "conv0.weight" in backbone else UNetEncoder(backbone)
        self.generator = Generator(within(shapes, "generator"))

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x: [N, 3, 256, 256], -1 to 1 (GHOST: RGB); identity: [N, C]; returns [N, 3, 256, 256], -1 to 1."""
        return torch.tanh(self.blocks(self.encoder(x), identity)[-1])

    def blocks(self, found: Sequence[Tensor], identity: Tensor) -> list[Tensor]:
        given: list[Tensor] = self.generator(found, identity)
        return given

    def outputs(self, x: Tensor, identity: Tensor) -> dict[str, Tensor]:
        found = self.encoder(x)
        given = self.blocks(found, identity)
        return named(torch.tanh(given[-1]), found, given)


class LayeredGenerator(nn.Module):
    """mindslab's: `convt`, `model.layer_0` to `model.layer_7`."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.convt = deconv(shapes, "convt", 1, 0)
        self.model = Layered(within(shapes, "model"), lambda below: Block(below, BatchIntegration, "add"))

    def forward(self, found: Sequence[Tensor], identity: Tensor) -> list[Tensor]:
        return generated(self.convt(identity[:, :, None, None]), found, identity, self.model.children())


class MindslabAeiNet(nn.Module):
    """mindslab's form."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.G = LayeredGenerator(within(shapes, "G"))
        self.E = LayeredEncoder(within(shapes, "E"))

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x: [N, 3, 256, 256] RGB, 0 to 1; identity: [N, C] of length 1; returns [N, 3, 256, 256] RGB, 0 to 1."""
        return torch.sigmoid(self.G(self.E(x), identity)[-1])

    def outputs(self, x: Tensor, identity: Tensor) -> dict[str, Tensor]:
        found = self.E(x)
        given = self.G(found, identity)
        return named(torch.sigmoid(given[-1]), found, given)


def named(y: Tensor, found: Sequence[Tensor], given: Sequence[Tensor]) -> dict[str, Tensor]:
    return (
        {"y": y}
        | {f"attr{number}": x for number, x in enumerate(found)}
        | {f"block{number}": x for number, x in enumerate(given, 1)}
    )


class HearNet(nn.Module):
    """tao's: five steps down, four up with the skips in front, the last by interpolation."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.downs = [name for name in children(shapes) if name.startswith("down")]
        self.ups = [name for name in children(shapes) if name.startswith("up")]
        for name in self.downs:
            self.add_module(name, down(within(shapes, name)))
        for name in self.ups[:-1]:
            self.add_module(name, up(within(shapes, name)))
        self.add_module(self.ups[-1], conv(shapes, self.ups[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 6, 256, 256], the swapped face, then what a swap with itself loses of the target, -1 to 1;
        returns [N, 3, 256, 256], -1 to 1."""
        seen = []
        for name in self.downs:
            x = self.get_submodule(name)(x)
            seen.append(x)
        x = seen.pop()
        for name in self.ups[:-1]:
            x = torch.cat((seen.pop(), self.get_submodule(name)(x)), 1)
        return torch.tanh(self.get_submodule(self.ups[-1])(doubled(x)))


class MindslabHearNet(nn.Module):
    """mindslab's: five steps down, five up."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.Encoder = Layered(within(shapes, "Encoder"), down)
        self.Decoder = Layered(within(shapes, "Decoder"), up)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 6, 256, 256], as for `HearNet`, 0 to 1; returns [N, 3, 256, 256], of no bounds."""
        seen = []
        for layer in self.Encoder.children():
            x = layer(x)
            seen.append(x)
        x = seen.pop()
        *inner, last = self.Decoder.children()
        for layer in inner:
            x = torch.cat((layer(x), seen.pop()), 1)
        y: Tensor = last(x)
        return y


def _built(kind: Any) -> Any:
    def build(shapes: Shapes, arch: Mapping[str, Any]) -> nn.Module:
        net: nn.Module = kind(shapes)
        return net.eval()

    return build


def _swapped(net: Any, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    identity = feeds["z_id"]
    outputs: dict[str, Tensor] = net.outputs(feeds["Xt"], identity / identity.norm(dim=1, keepdim=True))
    return outputs


def _covered(net: Any, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return {"out": net(feeds["x"])}


def _swapped_once(width: int) -> Callable[[Any], Sequence[Tensor]]:
    def once(net: Any) -> Sequence[Tensor]:
        x, identity = torch.zeros(1, 3, 256, 256), torch.zeros(1, width)
        net(x, identity)
        return x, identity

    return once


GHOST = Network(
    paper=(
        "GHOST - A New Face Swap Approach for Image and Video Domains, IEEE Access 2022, on FaceShifter: "
        "Towards High Fidelity And Occlusion Aware Face Swapping, 2019, arXiv:1912.13457"
    ),
    licence="Apache-2.0",
    once=_swapped_once(512),
    knows=lambda shapes: "generator.AADBlk1.add_blocks.0.fc1.weight" in shapes,
    build=_built(AeiNet),
    outputs=_swapped,
)
TAOTAONICE = Network(
    paper="FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping, 2019, arXiv:1912.13457",
    licence="none stated",
    once=_swapped_once(512),
    knows=lambda shapes: "generator.AADBlk1.AAD1.fc1.weight" in shapes,
    build=_built(AeiNet),
    outputs=_swapped,
)
MINDSLAB = Network(
    paper="FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping, 2019, arXiv:1912.13457",
    licence="BSD-3-Clause",
    once=_swapped_once(256),
    knows=lambda shapes: "G.model.layer_0.add1.conv_f.weight" in shapes,
    build=_built(MindslabAeiNet),
    outputs=_swapped,
)
HEAR_TAOTAONICE = Network(
    paper="FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping, 2019, arXiv:1912.13457",
    licence="none stated",
    knows=lambda shapes: "down1.0.weight" in shapes and "up5.weight" in shapes,
    build=_built(HearNet),
    outputs=_covered,
)
HEAR_MINDSLAB = Network(
    paper="FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping, 2019, arXiv:1912.13457",
    licence="BSD-3-Clause",
    knows=lambda shapes: "Encoder.layer_0.0.weight" in shapes and "Decoder.layer_0.1.running_var" in shapes,
    build=_built(MindslabHearNet),
    outputs=_covered,
)
