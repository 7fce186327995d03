"""FashionCLIP: what an article looks like, by the picture tower of a model of pictures and texts.

Chia et al., "Contrastive language and vision learning of general fashion concepts", Scientific Reports 2022,
arXiv:2204.03972, on CLIP: Radford et al., ICML 2021, arXiv:2103.00020.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compile.engine import Tensors
from deployments.roles import Article, FashionEmbedding
from modiste.image import Embedding, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""Of CLIP, for pictures of 0 to 1."""


class FashionCLIP(FashionEmbedding):
    """512 numbers. Where colours mean nothing, the network sees the picture in grey."""

    spec = ModelSpec(
        id="fashion_clip",
        role="FashionEmbedding",
        paper="Chia et al., FashionCLIP, Scientific Reports 2022, arXiv:2204.03972",
        licence="MIT",
        engines={
            "main": EngineSpec(
                weights="fashion_clip",
                part="picture",
                max_batch=64,
                inputs=(
                    TensorSpec(
                        name="image", shape=("N", 3, 224, 224), range="mean 0, deviation 1, as CLIP's", meaning="RGB"
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="embedding", shape=("N", 512), range="any", meaning="of any length", kind="embedding"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=1100, cpus=1.0),
    )

    def preprocess(self, x: Article) -> Tensors:
        size = int(self.engines["main"].spec.inputs[0].shape[-1])
        seen = middle(x.image if x.coloured else _grey(x.image), size).astype(np.float32) / 255
        return {"image": np.ascontiguousarray(((seen - MEAN) / DEVIATION).transpose(2, 0, 1)[None], np.float32)}

    def postprocess(self, outputs: Tensors, x: Article) -> Embedding:
        found = outputs["embedding"][0]
        return Embedding(np.asarray(found / max(float(np.linalg.norm(found)), 1e-12), np.float32))


def middle(image: RGBImage, size: int) -> NDArray[np.uint8]:
    """The picture's shorter side brought to `size`, and of its longer side the middle: [size, size, 3]."""
    height, width = image.shape[:2]
    short = min(height, width)
    new_height, new_width = (size if side == short else int(size * side / short) for side in (height, width))
    small = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BICUBIC))
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return np.asarray(small[top : top + size, left : left + size], np.uint8)


def _grey(image: RGBImage) -> RGBImage:
    return RGBImage(np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8))
