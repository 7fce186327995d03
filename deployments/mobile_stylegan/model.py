"""MobileStyleGAN: faces of people who do not exist, 1024 x 1024.

Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image Synthesis", 2021,
arXiv:2104.04767; truncation as in Karras et al., StyleGAN, CVPR 2019, arXiv:1812.04948.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import FaceGeneration, FaceSeed, code_deviations
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

LATENT = 512
SIDE = 1024
MEAN_STYLE: NDArray[np.float32] = np.load(Path(__file__).with_name("mean_style.npy"))
"""[1, 512], the style of the mean face, over 4096 latents. Kept, not computed: the same bits everywhere."""
DIRECTIONS: NDArray[np.float32] = np.load(Path(__file__).with_name("directions.npy")).astype(np.float32)
"""[64, 512], the directions in which w varies most, each as long as one deviation; they hold 79% of its variance.

What a face code counts in. Made by `weights.recipes.latent_encoder.directions`; other ones would be another generator.
"""


class MobileStyleGAN(FaceGeneration):
    """z from the seed -> style -> towards the centre by truncation -> picture."""

    main = "synthesis"
    spec = ModelSpec(
        id="mobile_stylegan",
        role="FaceGeneration",
        paper="Belousov, MobileStyleGAN, 2021, arXiv:2104.04767",
        licence="Apache-2.0 (package); NVIDIA Source Code License-NC for its teacher: non-commercial",
        engines={
            "mapping": EngineSpec(
                weights="mobile_stylegan",
                part="mapping",
                gpu_precision="float16",
                inputs=(TensorSpec(name="var", shape=("N", LATENT), range="normal", meaning="z"),),
                outputs=(TensorSpec(name="style", shape=("N", LATENT), range="about [-1, 1]", meaning="w"),),
            ),
            "synthesis": EngineSpec(
                weights="mobile_stylegan",
                part="synthesis",
                precision="bfloat16",
                gpu_precision="float16",
                max_batch=4,
                inputs=(TensorSpec(name="style", shape=("N", LATENT), range="about [-1, 1]", meaning="w"),),
                outputs=(
                    TensorSpec(name="img", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB", kind="picture"),
                ),
            ),
        },
        resources=Resources(gpu_memory_mb=1000, cpus=1.0, min_replicas=1, max_replicas=2),
    )

    def preprocess(self, x: FaceSeed) -> Tensors:
        style = self.engines["mapping"]({"var": latent(x.seed)})["style"]
        centre = MEAN_STYLE
        if x.centre is not None:
            centre = MEAN_STYLE + code_deviations(x.centre, len(DIRECTIONS)) @ DIRECTIONS
        return {"style": centre + np.float32(x.truncation) * (style - MEAN_STYLE)}

    def postprocess(self, outputs: Tensors, x: FaceSeed) -> RGBImage:
        picture = outputs["img"][0].transpose(1, 2, 0)
        return RGBImage(np.ascontiguousarray(np.clip(np.rint(picture * 127.5 + 127.5), 0, 255).astype(np.uint8)))


def latent(seed: int) -> NDArray[np.float32]:
    """float32 [1, 512]: the normal z of a seed, the same with every numpy that keeps PCG64's stream."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal((1, LATENT), np.float32)


if __name__ == "__main__":
    from deployments import open_model

    many = np.random.Generator(np.random.PCG64(0)).standard_normal((4096, LATENT), np.float32)
    styles = open_model("mobile_stylegan").engines["mapping"]({"var": many})["style"]
    np.save(
        Path(__file__).with_name("mean_style.npy"),
        styles.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32),
    )
