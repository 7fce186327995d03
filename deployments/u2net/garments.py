"""U2-Net for garments: upper body, lower body, full body; here whatever is one of them.

Qin et al., "U2-Net", Pattern Recognition 2020, arXiv:2005.09007, trained by github.com/levindabhi/cloth-segmentation.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.roles import GarmentMask
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 768
SOFT = (0.25, 0.75)
"""Probabilities of a garment between which the outline is soft."""


class ClothU2Net(GarmentMask):
    spec = ModelSpec(
        id="cloth_u2net",
        role="GarmentMask",
        paper="Qin et al., U2-Net, Pattern Recognition 2020, arXiv:2005.09007",
        licence="MIT",
        engines={
            "main": EngineSpec(
                weights="cloth_u2net",
                max_batch=4,
                inputs=(TensorSpec(name="image", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="garment",
                        shape=("N", 1, SIDE, SIDE),
                        range="[0, 1]",
                        meaning="no background",
                        kind="picture",
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=4800, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        _, _, height, width = self.engines["main"].spec.inputs[0].shape
        resized = cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR)
        scaled = np.asarray(resized, np.float32) * np.float32(2 / 255) - np.float32(1)
        return {"image": np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        enlarged = cv2.resize(outputs["garment"][0, 0], x.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        low, high = SOFT
        return Mask(np.rint(((enlarged - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8))
