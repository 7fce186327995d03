"""Which face of MobileStyleGAN is most like a portrait: EfficientNet-Lite0, taught on that generator's own faces.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv:1905.11946;
encoding in one pass after Richardson et al., pSp, CVPR 2021, arXiv:2008.00951. Trained by
`weights/recipes/latent_encoder`.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.latent_encoder.skin import colour, with_colour
from deployments.roles import FaceCode, LatentEncoding, face_code
from modiste.errors import BadInput
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 256
COORDINATES = 64


class LatentEncoder(LatentEncoding):
    """The portrait at 256 px -> 64 coordinates in deviations -> the portrait's skin colour -> bytes."""

    spec = ModelSpec(
        id="latent_encoder",
        role="LatentEncoding",
        paper="Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946; in the manner of pSp, arXiv:2008.00951",
        licence="ours, from pictures of mobile_stylegan: non-commercial as that is",
        engines={
            "main": EngineSpec(
                weights="latent_encoder",
                gpu_precision="float16",
                max_batch=16,
                inputs=(TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="about [-1, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="coordinates", shape=("N", COORDINATES), range="about [-3, 3]", meaning="deviations of w"
                    ),
                ),
            )
        },
        resources=Resources(cpus=0.5),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        """raises: BadInput where the picture is not square"""
        height, width = x.shape[:2]
        if height != width:
            raise BadInput(f"expected a square picture aligned to the FFHQ template, got {width} x {height}")
        small = resized(x)
        return {"face": np.ascontiguousarray((small.transpose(2, 0, 1)[None].astype(np.float32) - 127) / 128)}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> FaceCode:
        return face_code(with_colour(outputs["coordinates"][0], colour(resized(x))))


def resized(portrait: RGBImage) -> RGBImage:
    """256 x 256"""
    how = cv2.INTER_AREA if portrait.shape[0] > SIDE else cv2.INTER_CUBIC
    return RGBImage(cv2.resize(portrait, (SIDE, SIDE), interpolation=how))
