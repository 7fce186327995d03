"""FashionSigLIP: what an article looks like, by the picture tower of a model of pictures and texts.

Zhu et al., "Generalized Contrastive Learning for Multi-Modal Retrieval and Ranking", arXiv:2404.08535, on SigLIP:
Zhai et al., ICCV 2023, arXiv:2303.15343.
"""

import cv2
import numpy as np
from PIL import Image

from compile.engine import Tensors
from deployments.roles import Article, FashionEmbedding
from modiste.image import Embedding, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec


class FashionSigLIP(FashionEmbedding):
    """768 numbers. Where colours mean nothing, the network sees the picture in grey."""

    spec = ModelSpec(
        id="fashion_siglip",
        role="FashionEmbedding",
        paper="Zhu et al., GCL, 2024, arXiv:2404.08535; Zhai et al., SigLIP, ICCV 2023, arXiv:2303.15343",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="fashion_siglip",
                part="picture",
                max_batch=64,
                inputs=(TensorSpec(name="image", shape=("N", 3, 224, 224), range="[-1, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="embedding", shape=("N", 768), range="any", meaning="of any length", kind="embedding"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=1600, cpus=1.0),
    )

    def preprocess(self, x: Article) -> Tensors:
        """The whole picture in a square, whatever its shape, as in training."""
        size = int(self.engines["main"].spec.inputs[0].shape[-1])
        seen = x.image if x.coloured else _grey(x.image)
        small = np.asarray(Image.fromarray(seen).resize((size, size), Image.Resampling.BICUBIC), np.float32)
        return {"image": np.ascontiguousarray((small / 127.5 - 1).transpose(2, 0, 1)[None], np.float32)}

    def postprocess(self, outputs: Tensors, x: Article) -> Embedding:
        found = outputs["embedding"][0]
        return Embedding(np.asarray(found / max(float(np.linalg.norm(found)), 1e-12), np.float32))


def _grey(image: RGBImage) -> RGBImage:
    return RGBImage(np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8))
