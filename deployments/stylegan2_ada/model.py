"""StyleGAN2: faces of people who do not exist, 1024 x 1024.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, arXiv:2006.06676, on
"Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, arXiv:1912.04958; truncation as in StyleGAN, CVPR
2019, arXiv:1812.04948. Two layouts of its checkpoint are about; each has a model of its own.
"""

import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import FaceGeneration, FaceSeed, code_deviations
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

LATENT = 512
SIDE = 1024


class StyleGAN2(FaceGeneration):
    """z from the seed -> w -> towards the centre by truncation -> picture, with the checkpoint's own noise.

    Everything is counted from the mean face, which lies in the engines: w(seed) minus it comes out of the mapping,
    and what the synthesis is given, it adds itself. Face codes hold the same 512 numbers.
    """

    main = "synthesis"

    def preprocess(self, x: FaceSeed) -> Tensors:
        mapping = self.engines["mapping"]
        size = mapping.spec.inputs[0].shape[1]
        assert isinstance(size, int)
        offset = np.float32(x.truncation) * mapping({"z": latent(x.seed, size)})["offset"]
        if x.centre is not None:
            offset = code_deviations(x.centre, size) + offset
        return {"offset": np.asarray(offset, np.float32)}

    def postprocess(self, outputs: Tensors, x: FaceSeed) -> RGBImage:
        picture = outputs["image"][0].transpose(1, 2, 0)
        return RGBImage(np.ascontiguousarray(np.clip(np.rint(picture * 127.5 + 127.5), 0, 255).astype(np.uint8)))


def _engines(weights: str) -> dict[str, EngineSpec]:
    return {
        "mapping": EngineSpec(
            weights=weights,
            part="mapping",
            inputs=(TensorSpec(name="z", shape=("N", LATENT), range="normal", meaning="z"),),
            outputs=(TensorSpec(name="offset", shape=("N", LATENT), range="about [-5, 5]", meaning="w - mean face"),),
        ),
        "synthesis": EngineSpec(
            weights=weights,
            part="synthesis",
            max_batch=4,
            inputs=(TensorSpec(name="offset", shape=("N", LATENT), range="about [-5, 5]", meaning="w - mean face"),),
            outputs=(
                TensorSpec(
                    name="image", shape=("N", 3, SIDE, SIDE), range="about [-1, 1]", meaning="RGB", kind="picture"
                ),
            ),
        ),
    }


class StyleGAN2Ada(StyleGAN2):
    """NVIDIA's own layout."""

    spec = ModelSpec(
        id="stylegan2_ada",
        role="FaceGeneration",
        paper="Karras et al., StyleGAN2-ADA, NeurIPS 2020, arXiv:2006.06676; StyleGAN2, CVPR 2020, arXiv:1912.04958",
        licence="NVIDIA Source Code License: non-commercial",
        engines=_engines("stylegan2_ada_ffhq"),
        resources=Resources(gpu_memory_mb=2900, cpus=1.0, max_replicas=2),
    )


class StyleGAN2Rosinality(StyleGAN2):
    """The layout that encoders were trained with."""

    spec = ModelSpec(
        id="stylegan2_rosinality",
        role="FaceGeneration",
        paper="Karras et al., StyleGAN2, CVPR 2020, arXiv:1912.04958",
        licence="MIT (code); NVIDIA Source Code License for the weights: non-commercial",
        engines=_engines("stylegan2_ffhq"),
        resources=Resources(gpu_memory_mb=2600, cpus=1.0, max_replicas=2),
    )


def latent(seed: int, size: int) -> NDArray[np.float32]:
    """float32 [1, size]: the normal z of a seed, the same with every numpy that keeps PCG64's stream."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal((1, size), np.float32)
