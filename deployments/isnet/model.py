"""ISNet: the foreground object at 1024 pixels.

Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022, arXiv:2203.03041.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.roles import Matting
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 1024
FAINTEST = 0.2
"""Least spread of the map for there to be an object: stretched, an empty picture's would be noise."""


class ISNet(Matting):
    """The object's map, stretched to 0-1 and enlarged to the picture."""

    spec = ModelSpec(
        id="isnet_general",
        role="Matting",
        paper="Qin et al., Highly Accurate Dichotomous Image Segmentation, ECCV 2022, arXiv:2203.03041",
        licence="none of its own",
        engines={
            "main": EngineSpec(
                weights="isnet_general",
                max_batch=4,
                inputs=(TensorSpec(name="image", shape=("N", 3, SIDE, SIDE), range="[-0.5, 0.5]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="object", shape=("N", 1, SIDE, SIDE), range="[0, 1]", meaning="finest map", kind="picture"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=2600, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        _, _, height, width = self.engines["main"].spec.inputs[0].shape
        resized = cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR)
        scaled = np.asarray(resized, np.float32) * np.float32(1 / 255) - np.float32(0.5)
        return {"image": np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        height, width = x.shape[:2]
        found = outputs["object"][0, 0]
        low, high = float(found.min()), float(found.max())
        if high - low < FAINTEST:
            return Mask(np.zeros((height, width), np.uint8))
        stretched = ((found - low) / (high - low)).astype(np.float32)
        enlarged = cv2.resize(stretched, (width, height), interpolation=cv2.INTER_LINEAR)
        return Mask(np.rint(enlarged.clip(0, 1) * 255).astype(np.uint8))
