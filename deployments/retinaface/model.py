"""RetinaFace: faces of any size with five landmarks, by a small network for near ones and a large one for all.

Deng et al., "RetinaFace: Single-shot Multi-level Face Localisation in the Wild", CVPR 2020, arXiv:1905.00641.
"""

from collections.abc import Mapping
from typing import ClassVar

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.base import Model
from deployments.retinaface.decode import MEAN, faces
from deployments.roles import Face, FaceDetection, SmallFaceDetection
from modiste.geometry import Box
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SURE = 0.6
"""Score from which on something is a face, as the reference shows them."""
SIDE = 640
"""What pictures were cut to in training."""
LARGEST, SHRUNK = 1500, 1000
"""GPEN's rule for the large network: longer sides over the first are brought to the second."""


class RetinaFace(Model[RGBImage, tuple[Face, ...]]):
    """Any height and width goes in as it is: the grids of the three levels end where the picture does.

    largest, shrunk: a longer side over the first is brought to the second, pixels
    """

    largest: ClassVar[int]
    shrunk: ClassVar[int]

    def preprocess(self, x: RGBImage) -> Tensors:
        height, width = self.network_size(*x.shape[:2])
        seen = cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        return {"image": np.ascontiguousarray((seen[..., ::-1] - np.array(MEAN, np.float32)).transpose(2, 0, 1)[None])}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> tuple[Face, ...]:
        height, width = self.network_size(*x.shape[:2])
        loc, logits, landms = (outputs[name][0] for name in ("loc", "logits", "landms"))
        found = faces(loc, logits, landms, height, width, SURE)
        scale = np.array([x.shape[1] / width, x.shape[0] / height], np.float32)
        result = []
        for box, points, score in zip(found.boxes, found.points, found.scores, strict=True):
            left, top, right, bottom = (float(edge) for edge in box * np.tile(scale, 2))
            eyes = (points[:2] + 0.5) * scale - 0.5  # pixel edges scale about 0, pixel centres about -0.5
            ordered = eyes[np.argsort(eyes[:, 0])]
            result.append(Face(box=Box(left, top, right, bottom), score=float(score), eyes=ordered))
        return tuple(result)

    @classmethod
    def network_size(cls, height: int, width: int) -> tuple[int, int]:
        """Height and width that the network sees a picture at."""
        longer = max(height, width)
        if longer <= cls.largest:
            return height, width
        return max(1, round(height * cls.shrunk / longer)), max(1, round(width * cls.shrunk / longer))


def _engine(weights: str, sizes: Mapping[str, int], *longest: int, max_batch: int) -> EngineSpec:
    """longest: side in each bucket; the usual sizes lie in the first"""
    return EngineSpec(
        weights=weights,
        max_batch=max_batch,
        inputs=(
            TensorSpec(
                name="image",
                shape=("N", 3, "H", "W"),
                range="[-123, 151], 0-255 less (104, 117, 123)",
                meaning="BGR",
            ),
        ),
        outputs=(
            TensorSpec(
                name="loc", shape=("N", "K", 4), range="decode.boxes", meaning="box from the prior: centre, log of size"
            ),
            TensorSpec(name="logits", shape=("N", "K", 2), range="logits", meaning="no face, face"),
            TensorSpec(
                name="landms",
                shape=("N", "K", 10),
                range="decode.landmarks",
                meaning="image-left eye, right eye, nose, left and right mouth corner from the prior",
            ),
        ),
        sizes=sizes,
        buckets=tuple({"H": (1, side), "W": (1, side)} for side in longest),
    )


_PAPER = "Deng et al., RetinaFace, CVPR 2020, arXiv:1905.00641"
_LICENCE = "MIT (code); trained on WIDER FACE, research use: non-commercial"


class RetinaFaceMobileNet(RetinaFace, FaceDetection):
    """On MobileNet V1 x 0.25."""

    largest = shrunk = SIDE
    spec = ModelSpec(
        id="retinaface_mobilenet",
        role="FaceDetection",
        paper=_PAPER,
        licence=_LICENCE,
        engines={"main": _engine("retinaface_mobilenet", {"H": SIDE, "W": SIDE}, SIDE, max_batch=16)},
        resources=Resources(gpu_memory_mb=1200, cpus=0.5, min_replicas=1),
    )


class RetinaFaceR50(RetinaFace, SmallFaceDetection):
    """On ResNet-50."""

    largest, shrunk = LARGEST, SHRUNK
    spec = ModelSpec(
        id="retinaface_r50",
        role="SmallFaceDetection",
        paper=_PAPER,
        licence=_LICENCE,
        engines={"main": _engine("retinaface_r50", {"H": 750, "W": SHRUNK}, SHRUNK, LARGEST, max_batch=4)},
        resources=Resources(gpu_memory_mb=3400, cpus=1.0, min_replicas=1),
    )
