"""DensePose R-CNN: the surface of the most prominent person's body.

Güler et al., "DensePose: Dense Human Pose Estimation in the Wild", CVPR 2018, arXiv:1802.00434; R_50_FPN_s1x of
detectron2. Three engines: what the whole picture holds, what boxes in it hold, and the surface in one of them. Between
them boxes are chosen here.
"""

from typing import Final

import numpy as np

from compile.engine import Tensors
from deployments.densepose.boxes import LONG, MULTIPLE, PROPOSED, SHORT, Floats, people, placed, prepare, proposals
from deployments.densepose.surface import iuv, surface
from deployments.roles import BodySurface, DensePose
from modiste.dense_pose import PARTS
from modiste.image import LabelMap, RGBImage
from modiste.spec import EngineSpec, Kind, ModelSpec, Resources, TensorSpec

SURE = 0.8
"""Least probability of a person, as in the reference's own pictures."""
WEIGHTS, CHANNELS, MAP = "densepose_r50_fpn_s1x", 256, 112

_LONGEST: Final = -(-LONG // MULTIPLE) * MULTIPLE
_SIZES: Final = {"H": SHORT, "W": LONG // MULTIPLE * MULTIPLE}
_BUCKETS: Final = (
    {"H": (MULTIPLE, SHORT), "W": (SHORT, _LONGEST)},
    {"H": (SHORT, _LONGEST), "W": (MULTIPLE, SHORT)},
)
"""Pictures that lie and pictures that stand: one side is the shorter one in each."""
_LEVELS: Final = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
_PYRAMID: Final = tuple(
    TensorSpec(
        name=name,
        shape=("N", CHANNELS, f"H{stride}", f"W{stride}"),
        range="any",
        meaning=f"features of every {stride} pixels",
    )
    for name, stride in _LEVELS.items()
)
_PYRAMID_SIZES: Final = {
    f"{side}{stride}": pixels // stride for stride in _LEVELS.values() for side, pixels in _SIZES.items()
}
_PYRAMID_BUCKETS: Final = tuple(
    {
        f"{side}{stride}": (least // stride, most // stride)
        for stride in _LEVELS.values()
        for side, (least, most) in bucket.items()
    }
    for bucket in _BUCKETS
)


def _map(name: str, channels: int, values: str, meaning: str, kind: Kind = "values") -> TensorSpec:
    return TensorSpec(name=name, shape=("N", channels, MAP, MAP), range=values, meaning=meaning, kind=kind)


class DensePoseRCNN(DensePose):
    main = "forward"
    spec = ModelSpec(
        id="densepose",
        role="DensePose",
        paper="Güler et al., DensePose, CVPR 2018, arXiv:1802.00434",
        licence="CC BY-SA 3.0",
        engines={
            "forward": EngineSpec(
                weights=WEIGHTS,
                part="forward",
                max_batch=2,
                inputs=(
                    TensorSpec(
                        name="image",
                        shape=("N", 3, "H", "W"),
                        range="[-123, 151], 0-255 less the mean",
                        meaning="BGR; sides are multiples of 32",
                    ),
                ),
                outputs=(
                    *_PYRAMID,
                    TensorSpec(name="logits", shape=("N", "A"), range="logit", meaning="something is at the anchor"),
                    TensorSpec(name="deltas", shape=("N", "A", 4), range="of its size", meaning="where exactly"),
                ),
                sizes=_SIZES,
                buckets=_BUCKETS,
            ),
            "classify": EngineSpec(
                weights=WEIGHTS,
                part="classify",
                inputs=(
                    *_PYRAMID,
                    TensorSpec(name="boxes", shape=("N", "R", 4), range="pixels", meaning="left, top, right, bottom"),
                ),
                outputs=(
                    TensorSpec(name="logits", shape=("N", "R", 2), range="logit", meaning="person, background"),
                    TensorSpec(name="deltas", shape=("N", "R", 4), range="of its size", meaning="where exactly"),
                ),
                sizes={**_PYRAMID_SIZES, "R": PROPOSED},
                buckets=tuple({**bucket, "R": (1, PROPOSED)} for bucket in _PYRAMID_BUCKETS),
            ),
            "surface": EngineSpec(
                weights=WEIGHTS,
                part="surface",
                inputs=(
                    *_PYRAMID,
                    TensorSpec(name="box", shape=("N", 4), range="pixels", meaning="left, top, right, bottom"),
                ),
                outputs=(
                    _map("coarse", 2, "logit", "background, body", "labels"),
                    _map("fine", PARTS + 1, "logit", "background, parts", "labels"),
                    _map("u", PARTS + 1, "[0, 1]", "across each part's chart"),
                    _map("v", PARTS + 1, "[0, 1]", "along each part's chart"),
                ),
                sizes=_PYRAMID_SIZES,
                buckets=_PYRAMID_BUCKETS,
            ),
        },
        resources=Resources(gpu_memory_mb=3900, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        return {"image": prepare(x, self._short)}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> BodySurface:
        height, width = x.shape[:2]
        where = placed(height, width, self._short)
        pyramid = {name: outputs[name] for name in _LEVELS}
        looked_at = proposals(outputs["logits"][0], outputs["deltas"][0], where.padded, where.size)
        box = self._person(pyramid, looked_at, where.size)
        if box is None:
            blank = np.zeros((height, width), np.uint8)
            return BodySurface(parts=LabelMap(blank), uv=np.zeros((height, width, 2), np.uint8))
        maps = self.engines["surface"]({**pyramid, "box": box[None]})
        coarse, fine, u, v = (maps[name][0] for name in ("coarse", "fine", "u", "v"))
        found = surface(coarse, fine, u, v, box * where.back)
        told = iuv(found, height, width)
        return BodySurface(parts=LabelMap(np.ascontiguousarray(told[..., 0])), uv=np.ascontiguousarray(told[..., 1:]))

    def _person(self, pyramid: Tensors, boxes: Floats, size: tuple[int, int]) -> Floats | None:
        """The box [4] of the most prominent person, large and sure; None where nobody is."""
        if not len(boxes):
            return None
        told = self.engines["classify"]({**pyramid, "boxes": boxes[None]})
        found = people(boxes, told["logits"][0], told["deltas"][0], size, SURE)
        if not len(found.boxes):
            return None
        areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(1)
        box: Floats = found.boxes[int((areas * found.scores).argmax())]
        return box

    @property
    def _short(self) -> int:
        return self.engines["forward"].spec.sizes["H"]
