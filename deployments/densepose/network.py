"""DensePose R-CNN: finds people and says for every pixel of them which point of the body's surface it shows.

Güler et al., "DensePose: Dense Human Pose Estimation in the Wild", CVPR 2018, arXiv:1802.00434, in the form of
Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, arXiv:1901.02446, whose decoder feeds the surface's
heads; the detector is Faster R-CNN on a feature pyramid (arXiv:1506.01497, arXiv:1612.03144).
State-dict keys are those of the official checkpoint. Differences: inference only; choosing boxes is left to the
caller (`boxes`), so the network comes as three parts: what the whole picture holds, what boxes hold, and the surface.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from deployments.densepose.boxes import MEAN_BGR
from deployments.networks import Network

Pyramid = Sequence[Tensor]
"""Features [N, C, H / s, W / s] for s = 4, 8, 16, 32."""

SURFACE_SIDE = 28
"""Cells along a box for its surface."""


class FrozenNorm(nn.Module):
    EPSILON = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.EPSILON)


class Conv(nn.Conv2d):
    """A filter with its normalisation."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride, kernel // 2, bias=False)
        self.norm = FrozenNorm(outside)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(super().forward(x))
        return y


class Bottleneck(nn.Module):
    def __init__(self, inside: int, between: int, outside: int, stride: int, first: bool) -> None:
        super().__init__()
        self.shortcut = Conv(inside, outside, 1, stride) if first else None
        self.conv1 = Conv(inside, between, 1, stride)
        self.conv2 = Conv(between, between, 3)
        self.conv3 = Conv(between, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = F.relu(self.conv1(x), inplace=True)
        x = F.relu(self.conv2(x), inplace=True)
        return F.relu(self.conv3(x) + shortcut, inplace=True)


class Stem(nn.Module):
    def __init__(self, outside: int) -> None:
        super().__init__()
        self.conv1 = Conv(3, outside, 7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv1(x), inplace=True), 3, 2, 1)


class ResNet(nn.Module):
    STAGES = (2, 3, 4, 5)

    def __init__(self, shapes: Shapes, prefix: str) -> None:
        super().__init__()
        inside = shapes[f"{prefix}.stem.conv1.weight"][0]
        self.stem = Stem(inside)
        for stage in self.STAGES:
            blocks: list[Bottleneck] = []
            while (third := f"{prefix}.res{stage}.{len(blocks)}.conv3.weight") in shapes:
                outside, between, *_ = shapes[third]
                first = not blocks
                blocks.append(Bottleneck(inside, between, outside, 2 if first and stage > 2 else 1, first))
                inside = outside
            self.add_module(f"res{stage}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        found = []
        for layer in (self.res2, self.res3, self.res4, self.res5):
            x = layer(x)
            found.append(x)
        return found


class FeaturePyramid(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for stage in ResNet.STAGES:
            outside, inside, *_ = shapes[f"backbone.fpn_lateral{stage}.weight"]
            self.add_module(f"fpn_lateral{stage}", nn.Conv2d(inside, outside, 1))
            self.add_module(f"fpn_output{stage}", nn.Conv2d(outside, outside, 3, padding=1))
        self.bottom_up = ResNet(shapes, "backbone.bottom_up")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features for strides 4, 8, 16, 32, and every second of the last ones."""
        c2, c3, c4, c5 = self.bottom_up(x)
        top = self.fpn_lateral5(c5)
        p5 = self.fpn_output5(top)
        top = self.fpn_lateral4(c4) + F.interpolate(top, c4.shape[-2:])
        p4 = self.fpn_output4(top)
        top = self.fpn_lateral3(c3) + F.interpolate(top, c3.shape[-2:])
        p3 = self.fpn_output3(top)
        top = self.fpn_lateral2(c2) + F.interpolate(top, c2.shape[-2:])
        return self.fpn_output2(top), p3, p4, p5, F.max_pool2d(p5, 1, 2)


class ProposalHead(nn.Module):
    def __init__(self, inside: int, anchors: int, deltas: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, inside, 3, padding=1)
        self.objectness_logits = nn.Conv2d(inside, anchors, 1)
        self.anchor_deltas = nn.Conv2d(inside, deltas, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.conv(x), inplace=True)
        return self.objectness_logits(x), self.anchor_deltas(x)


class ProposalGenerator(nn.Module):
    def __init__(self, inside: int, anchors: int, deltas: int) -> None:
        super().__init__()
        self.rpn_head = ProposalHead(inside, anchors, deltas)


class BoxHead(nn.Module):
    def __init__(self, inside: int, widths: Sequence[int]) -> None:
        super().__init__()
        for number, width in enumerate(widths, 1):
            self.add_module(f"fc{number}", nn.Linear(inside, width))
            inside = width
        self.names = [f"fc{number}" for number in range(1, len(widths) + 1)]

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for name in self.names:
            x = F.relu(self.get_submodule(name)(x), inplace=True)
        return x


class BoxPredictor(nn.Module):
    def __init__(self, inside: int, classes: int, deltas: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(inside, classes)
        self.bbox_pred = nn.Linear(inside, deltas)


class Activated(nn.Conv2d):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class Decoder(nn.Module):
    """All levels of the pyramid, enlarged to the finest and summed."""

    def __init__(self, shapes: Shapes, prefix: str) -> None:
        super().__init__()
        for level in ResNet.STAGES:
            layers: list[nn.Module] = []
            while (key := f"{prefix}.p{level}.{len(layers)}.weight") in shapes:
                outside, inside, *_ = shapes[key]
                layers.append(Activated(inside, outside))
                if level > ResNet.STAGES[0]:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.add_module(f"p{level}", nn.Sequential(*layers))
        outside, inside, *_ = shapes[f"{prefix}.predictor.weight"]
        self.predictor = nn.Conv2d(inside, outside, 1)

    def forward(self, pyramid: Pyramid) -> Tensor:
        p2, p3, p4, p5 = pyramid
        return self.predictor(self.p2(p2) + self.p3(p3) + self.p4(p4) + self.p5(p5))


class SurfaceHead(nn.Module):
    def __init__(self, shapes: Shapes, prefix: str) -> None:
        super().__init__()
        self.names: list[str] = []
        while (key := f"{prefix}.body_conv_fcn{len(self.names) + 1}.weight") in shapes:
            outside, inside, *_ = shapes[key]
            self.names.append(f"body_conv_fcn{len(self.names) + 1}")
            self.add_module(self.names[-1], Activated(inside, outside))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x


class SurfacePredictor(nn.Module):
    """Body or not, which of its parts, and where on the part, at four times the cells."""

    NAMES = ("ann_index_lowres", "index_uv_lowres", "u_lowres", "v_lowres")

    def __init__(self, shapes: Shapes, prefix: str) -> None:
        super().__init__()
        for name in self.NAMES:
            inside, outside, *_ = shapes[f"{prefix}.{name}.weight"]
            self.add_module(name, nn.ConvTranspose2d(inside, outside, 4, 2, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        coarse, fine, u, v = (
            F.interpolate(self.get_submodule(name)(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            for name in self.NAMES
        )
        return coarse, fine, u, v


class Heads(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        widths: list[int] = []
        while (key := f"roi_heads.box_head.fc{len(widths) + 1}.weight") in shapes:
            widths.append(shapes[key][0])
        self.box_head = BoxHead(shapes["roi_heads.box_head.fc1.weight"][1], widths)
        classes, deltas = (shapes[f"roi_heads.box_predictor.{name}.weight"][0] for name in ("cls_score", "bbox_pred"))
        self.box_predictor = BoxPredictor(widths[-1], classes, deltas)
        self.decoder = Decoder(shapes, "roi_heads.decoder")
        self.densepose_head = SurfaceHead(shapes, "roi_heads.densepose_head")
        self.densepose_predictor = SurfacePredictor(shapes, "roi_heads.densepose_predictor")


class DensePose(nn.Module):
    """Sizes are read from the checkpoint's shapes."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.backbone = FeaturePyramid(shapes)
        anchors, inside, *_ = shapes["proposal_generator.rpn_head.objectness_logits.weight"]
        deltas = shapes["proposal_generator.rpn_head.anchor_deltas.weight"][0]
        self.proposal_generator = ProposalGenerator(inside, anchors, deltas)
        self.roi_heads = Heads(shapes)
        # Cells along a box for its class.
        self.box_side = isqrt(shapes["roi_heads.box_head.fc1.weight"][1] // inside)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """What the whole picture holds.

        image:   [N, 3, H, W] BGR, 0-255 less (103.53, 116.28, 123.675); H and W multiples of 32
        returns: the pyramid's four levels; logits [N, A] and deltas [N, A, 4] of all anchors, level by level from the
                 finest of five, row by row, for each cell its three shapes
        """
        levels = self.backbone(image)
        logits, deltas = [], []
        for objectness, shift in map(self.proposal_generator.rpn_head, levels):
            logits.append(objectness.permute(0, 2, 3, 1).flatten(1))
            deltas.append(shift.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)))
        return *levels[:4], torch.cat(logits, 1), torch.cat(deltas, 1)

    def classify(self, pyramid: Pyramid, boxes: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """What boxes hold.

        boxes:   [R, 4] left, top, right, bottom in pixels of the input
        image:   [R] int64, which picture of the batch each lies in
        returns: logits [R, 2] of person and background; deltas [R, 4] of the box, ten (centre) and five times (size)
        """
        x = self.roi_heads.box_head(pooled(pyramid, boxes, image, self.box_side))
        predictor = self.roi_heads.box_predictor
        return predictor.cls_score(x), predictor.bbox_pred(x)

    def surface(self, pyramid: Pyramid, boxes: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The body's surface in boxes.

        boxes, image: as above
        returns: logits [R, 2, 112, 112] of background and body, [R, 25, 112, 112] of background and the 24 parts,
                 and u and v [R, 25, 112, 112] on each part, 0 to 1
        """
        heads = self.roi_heads
        coarse, fine, u, v = heads.densepose_predictor(heads.densepose_head(self.surface_cells(pyramid, boxes, image)))
        return coarse, fine, u, v

    def surface_cells(self, pyramid: Pyramid, boxes: Tensor, image: Tensor) -> Tensor:
        """The decoder's features in boxes, [R, 256, 28, 28]."""
        return pooled([self.roi_heads.decoder(pyramid)], boxes, image, SURFACE_SIDE)


def pooled(levels: Pyramid, boxes: Tensor, image: Tensor, side: int) -> Tensor:
    """Features of boxes, each from the level that suits its size (He et al., "Mask R-CNN", arXiv:1703.06870).

    Each of side x side cells is the mean of four points between the features' own. All levels are rows of one table,
    so that boxes of every size and picture are gathered at once, whatever their number.

    levels: [N, C, H / s, W / s] for s = 4, 8, ...; boxes: [R, 4] pixels; image: [R] int64; returns [R, C, side, side]
    """
    one = image.new_ones(1)  # times a size: a tensor of it even where sizes are only known when the network runs
    sizes = torch.cat([torch.stack((one * level.shape[-2], one * level.shape[-1]), 1) for level in levels])
    counts = sizes.prod(1) * levels[0].shape[0]
    starts = counts.cumsum(0) - counts
    table = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in levels])
    which = _level(boxes, len(levels))
    height, width = sizes[which].unbind(1)
    scaled = boxes * (0.25 * 0.5 ** which.to(boxes.dtype)).unsqueeze(1)
    rows, row_weights = _taps(scaled[:, 1], scaled[:, 3], height, side)
    columns, column_weights = _taps(scaled[:, 0], scaled[:, 2], width, side)
    first = (starts[which] + image * height * width).view(-1, 1, 1)
    rows = first + rows * width.view(-1, 1, 1)
    total: Tensor | None = None
    for point_y, point_x in product(range(2), range(2)):
        # Summed as the reference sums, corner by corner of each point: what follows makes much of the last bit.
        point: Tensor | None = None
        for y, x in product((2 * point_y, 2 * point_y + 1), (2 * point_x, 2 * point_x + 1)):
            index = rows[:, :, y].unsqueeze(2) + columns[:, :, x].unsqueeze(1)
            weight = row_weights[:, :, y].unsqueeze(2) * column_weights[:, :, x].unsqueeze(1)
            corner = table.index_select(0, index.flatten()).mul_(weight.reshape(-1, 1))
            point = corner if point is None else point.add_(corner)
        total = point if total is None else total.add_(point)
    assert total is not None
    return total.unflatten(0, (-1, side, side)).permute(0, 3, 1, 2).contiguous()


def _level(boxes: Tensor, levels: int) -> Tensor:
    """Boxes of 224 pixels' side belong to the third level, of half or double the side to those beside it."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    return (2 + torch.log2(side / 224 + 1e-8)).floor().clamp(0, levels - 1).long()


def _taps(start: Tensor, end: Tensor, size: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Which features of a row or column the cells are means of, and their shares.

    start, end: [R] in features; size: [R], of the map; returns [R, side, 4] indices and weights: two points to a cell,
    each between two features
    """
    cell = ((end - start).clamp(min=1) / side).unsqueeze(1)
    points = torch.arange(2 * side, device=start.device)
    at = start.unsqueeze(1) + (points // 2) * cell + (points % 2 + 0.5) * cell / 2
    last = (size - 1).unsqueeze(1)
    # Points up to one feature outside count as the border, those beyond as nothing.
    inside = (at >= -1) & (at <= size.unsqueeze(1))
    at = torch.minimum(at.clamp(min=0), last.to(at.dtype))
    low = at.floor()
    share = at - low
    weights = torch.stack((1 - share, share), 2) * (0.5 * inside).unsqueeze(2)
    low = low.long()
    indices = torch.stack((low, torch.minimum(low + 1, last)), 2)
    return indices.unflatten(1, (side, 2)).flatten(2), weights.unflatten(1, (side, 2)).flatten(2)


def _knows(shapes: Shapes) -> bool:
    return all(
        key in shapes
        for key in (
            "backbone.fpn_lateral2.weight",
            "roi_heads.decoder.predictor.weight",
            "roi_heads.densepose_predictor.ann_index_lowres.weight",
        )
    )


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> DensePose:
    net = DensePose(shapes)
    net.eval()
    return net


def _outputs(net: DensePose, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """arch: boxes_xyxy, taken as the proposals"""
    picture = feeds["image_bgr"]
    mean = torch.tensor(MEAN_BGR).view(-1, 1, 1)
    levels = net.backbone(picture - mean)
    boxes = torch.tensor(arch["boxes_xyxy"])
    image = torch.zeros(len(boxes), dtype=torch.int64)
    pyramid = levels[:4]
    outputs = dict(zip(("p2", "p3", "p4", "p5", "p6"), levels, strict=True))
    for name, level in tuple(outputs.items()):
        logits, deltas = net.proposal_generator.rpn_head(level)
        outputs |= {f"rpn_logits_{name}": logits, f"rpn_deltas_{name}": deltas}
    outputs["box_scores"], outputs["box_deltas"] = net.classify(pyramid, boxes, image)
    outputs["densepose_pooled"] = net.surface_cells(pyramid, boxes, image)
    surface = net.surface(pyramid, boxes, image)
    return outputs | dict(zip(("coarse_segm", "fine_segm", "u", "v"), surface, strict=True))


class Classify(nn.Module):
    """`DensePose.classify` for as many boxes in each picture."""

    def __init__(self, net: DensePose) -> None:
        super().__init__()
        self.net = net

    def forward(self, p2: Tensor, p3: Tensor, p4: Tensor, p5: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """boxes: [N, R, 4]; returns [N, R, 2] and [N, R, 4]."""
        count, most = boxes.shape[0], boxes.shape[1]
        image = torch.arange(count, device=boxes.device).unsqueeze(1).expand(count, most).reshape(-1)
        logits, deltas = self.net.classify((p2, p3, p4, p5), boxes.reshape(-1, 4), image)
        return logits.view(count, most, -1), deltas.view(count, most, -1)


class Body(nn.Module):
    """`DensePose.surface` of one box in each picture."""

    def __init__(self, net: DensePose) -> None:
        super().__init__()
        self.net = net

    def forward(self, p2: Tensor, p3: Tensor, p4: Tensor, p5: Tensor, box: Tensor) -> tuple[Tensor, ...]:
        """box: [N, 4]; returns as `DensePose.surface` does, R = N."""
        image = torch.arange(box.shape[0], device=box.device)
        return self.net.surface((p2, p3, p4, p5), box, image)


R_50_FPN = Network(
    paper=(
        "DensePose: Dense Human Pose Estimation in the Wild, CVPR 2018, arXiv:1802.00434; Panoptic "
        "Feature Pyramid Networks, CVPR 2019, arXiv:1901.02446"
    ),
    licence="Apache-2.0",
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={
        "forward": lambda net, beside: net,
        "classify": lambda net, beside: Classify(net),
        "surface": lambda net, beside: Body(net),
    },
)
