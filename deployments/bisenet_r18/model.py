"""BiSeNet on ResNet-18: which part of a head each pixel belongs to, 19 classes.

Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018, arXiv:1808.00897;
classes of CelebAMask-HQ, Lee et al., CVPR 2020, arXiv:1907.11922.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.roles import FaceParsing
from modiste.face_parts import by_side, largest
from modiste.image import LabelMap, RGBImage
from modiste.labels import FacePart
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 512
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class BiSeNetR18(FaceParsing):
    """The classes come out as `FacePart` numbers them; labels are decided at the crop's own size.

    In training pictures were mirrored and their labels stayed, so sides are those of the face, not of the network.
    """

    spec = ModelSpec(
        id="bisenet_r18",
        role="FaceParsing",
        paper="Yu et al., BiSeNet, ECCV 2018, arXiv:1808.00897",
        licence="MIT (code); learnt from CelebAMask-HQ: non-commercial",
        engines={
            "main": EngineSpec(
                weights="bisenet_r18",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="image", shape=("N", 3, SIDE, SIDE), range="mean 0, deviation 1", meaning="RGB, a head"
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="logits",
                        shape=("N", len(FacePart), SIDE, SIDE),
                        range="logits",
                        meaning="FacePart",
                        kind="labels",
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=1800, cpus=1.0, min_replicas=1),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        height, width = (int(side) for side in self.engines["main"].spec.inputs[0].shape[2:])
        shrinks = x.shape[0] > height
        seen = cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        normal = (seen.astype(np.float32) / 255 - MEAN) / DEVIATION
        return {"image": np.ascontiguousarray(normal.transpose(2, 0, 1)[None])}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> LabelMap:
        return by_side(largest(outputs["logits"][0], *x.shape[:2]))
