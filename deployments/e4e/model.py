"""e4e: which face of StyleGAN2 is most like a portrait.

Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", SIGGRAPH 2021, arXiv:2102.02766.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.roles import FaceCode, LatentEncoding, face_code
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 256
LATENT = 512


class E4E(LatentEncoding):
    """Portrait -> w+, one w a layer -> their mean, counted from the mean face: a face code of StyleGAN2's."""

    spec = ModelSpec(
        id="e4e",
        role="LatentEncoding",
        paper="Tov et al., e4e, SIGGRAPH 2021, arXiv:2102.02766",
        licence="MIT; holds a StyleGAN2 of NVIDIA's and starts from InsightFace's weights: non-commercial",
        engines={
            "main": EngineSpec(
                weights="e4e_ffhq",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="face", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB, aligned as FFHQ is"
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="offset",
                        shape=("N", LATENT),
                        range="about [-2, 2]",
                        meaning="mean of w+ over its layers - mean face",
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=2200, cpus=1.0, max_replicas=1),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        side = self.engines["main"].spec.inputs[0].shape[2]
        assert isinstance(side, int)
        smaller = max(x.shape[:2]) > side
        face = cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        scaled = face.astype(np.float32) / np.float32(127.5) - 1
        return {"face": np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> FaceCode:
        return face_code(outputs["offset"][0])
