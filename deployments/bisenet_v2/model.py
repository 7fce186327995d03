"""BiSeNet V2 on faces: which part of a head each pixel belongs to, 19 classes.

Yu et al., "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation", IJCV 2021,
arXiv:2004.02147; classes of CelebAMask-HQ, Lee et al., CVPR 2020, arXiv:1907.11922.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.roles import FaceParsing
from modiste.face_parts import by_side, largest
from modiste.image import LabelMap, RGBImage
from modiste.labels import FacePart
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 448
"""Longer side of what the network sees, as in training; the shorter one is rounded to a multiple."""
MULTIPLE = 64


class BiSeNetV2(FaceParsing):
    """Labels are decided at the crop's own resolution, sides by where a part lies beside the nose.

    The network, which learnt from mirrored pictures, does not know left from right.
    """

    spec = ModelSpec(
        id="bisenet_v2",
        role="FaceParsing",
        paper="Yu et al., BiSeNet V2, IJCV 2021, arXiv:2004.02147",
        licence="MIT (package); learnt from CelebAMask-HQ: non-commercial",
        engines={
            "main": EngineSpec(
                weights="bisenet_v2",
                precision="bfloat16",
                gpu_precision="float16",
                max_batch=8,
                inputs=(TensorSpec(name="image", shape=("N", 3, "H", "W"), range="[-1, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="logits",
                        shape=("N", len(FacePart), "H", "W"),
                        range="logits",
                        meaning="FacePart",
                        kind="labels",
                    ),
                ),
                sizes={"H": SIDE, "W": SIDE},
                buckets=({"H": (MULTIPLE, SIDE), "W": (MULTIPLE, SIDE)},),
            )
        },
        resources=Resources(gpu_memory_mb=1300, cpus=1.0, min_replicas=1),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        height, width = network_size(*x.shape[:2])
        shrinks = x.shape[0] > height
        seen = cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return {"image": np.ascontiguousarray(seen.transpose(2, 0, 1)[None], np.float32) / 127.5 - 1}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> LabelMap:
        return by_side(largest(outputs["logits"][0], *x.shape[:2]))


def network_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that the network sees a crop at."""
    scale = SIDE / max(height, width)
    rows, columns = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns
