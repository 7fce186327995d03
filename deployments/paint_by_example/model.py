"""Paint-by-Example: the suit is painted under the head, after a picture of the suit.

Yang et al., "Paint by Example: Exemplar-based Image Editing with Diffusion Models", CVPR 2023, arXiv:2211.13227.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from compile.engine import Engine, Tensors
from deployments.base import attempt
from deployments.paint_by_example.prepare import Floats
from deployments.paint_by_example.region import example_of, layers, square_around, to_paint, under_head
from deployments.paint_by_example.sampling import paint
from deployments.roles import SuitComposition, SuitInput
from modiste.errors import ModisteError
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE, CELLS, EXAMPLE, CONDITION = 512, 64, 224, 768
STEPS, DRAFT_STEPS, GUIDANCE = 50, 2, 5.0


class PaintByExample(SuitComposition):
    """Background, painted suit and neck, head. The noise is drawn from the pictures: the same give the same result."""

    main = ""
    spec = ModelSpec(
        id="paint_by_example",
        role="SuitComposition",
        paper="Yang et al., Paint by Example, CVPR 2023, arXiv:2211.13227",
        licence="CreativeML OpenRAIL-M: uses that it lists are forbidden",
        engines={
            "example": EngineSpec(
                weights="paint_by_example_encoder",
                inputs=(
                    TensorSpec(
                        name="example",
                        shape=("N", 3, EXAMPLE, EXAMPLE),
                        range="CLIP's mean 0, deviation 1",
                        meaning="RGB",
                    ),
                ),
                outputs=(
                    TensorSpec(name="condition", shape=("N", 1, CONDITION), range="any", meaning="the example"),
                    TensorSpec(name="nothing", shape=("N", 1, CONDITION), range="any", meaning="no example"),
                ),
            ),
            "encoder": EngineSpec(
                weights="paint_by_example_vae",
                part="encoder",
                inputs=(
                    TensorSpec(
                        name="picture",
                        shape=("N", 3, SIDE, SIDE),
                        range="[-1, 1]",
                        meaning="RGB, 0 where it is painted",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="moments",
                        shape=("N", 8, CELLS, CELLS),
                        range="any",
                        meaning="mean and logarithm of the variance",
                    ),
                ),
            ),
            "unet": EngineSpec(
                weights="paint_by_example_unet",
                max_batch=2,
                inputs=(
                    TensorSpec(
                        name="sample",
                        shape=("N", 9, CELLS, CELLS),
                        range="about normal, 0 or 1",
                        meaning="latents, those of the masked picture, what is kept",
                    ),
                    TensorSpec(name="step", shape=("N",), dtype="int64", range="[0, 999]", meaning="of the noise"),
                    TensorSpec(name="condition", shape=("N", 1, CONDITION), range="any", meaning="the example"),
                ),
                outputs=(
                    TensorSpec(
                        name="noise", shape=("N", 4, CELLS, CELLS), range="about normal", meaning="in the latents"
                    ),
                ),
            ),
            "decoder": EngineSpec(
                weights="paint_by_example_vae",
                part="decoder",
                inputs=(
                    TensorSpec(
                        name="latents", shape=("N", 4, CELLS, CELLS), range="any", meaning="without noise, unscaled"
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="picture", shape=("N", 3, SIDE, SIDE), range="about [-1, 1]", meaning="RGB", kind="picture"
                    ),
                ),
            ),
        },
        resources=Resources(gpu_memory_mb=10400, cpus=1.0, max_replicas=1),
    )

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__(engines)
        self.networks = Engines(engines)

    def outcomes(self, batch: Sequence[SuitInput]) -> list[RGBImage | ModisteError]:
        """One after the other: each goes through the networks a hundred times."""
        return [attempt(lambda x: self.postprocess({"picture": self._painted(x)[None]}, x), x) for x in batch]

    def postprocess(self, outputs: Tensors, x: SuitInput) -> RGBImage:
        """outputs: "picture", what was painted in the square, uint8 [1, side, side, 3]"""
        found = layers(x)
        behind = RGBImage(np.full(x.portrait.image.shape, x.background, np.uint8))
        painted = square_around(found.painted).back(RGBImage(outputs["picture"][0]), behind)
        return under_head(behind + (painted.astype(np.float32) - behind) * found.painted[..., None], x, found)

    def _painted(self, x: SuitInput) -> RGBImage:
        found, side = layers(x), self.networks.side
        square = square_around(found.painted)
        behind = np.full(x.portrait.image.shape, x.background, np.float32)
        return paint(
            self.networks,
            RGBImage(square.cut(under_head(behind, x, found), x.background, side)),
            to_paint(found, square, side),
            example_of(x),
            seed=seed_of(x),
            steps=STEPS if x.quality == "full" else DRAFT_STEPS,
            guidance=GUIDANCE,
        )


class Engines:
    """What the sampling loop asks of the networks."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.engines = engines
        self.side, self.example_side = (int(str(engines[e].spec.inputs[0].shape[2])) for e in ("encoder", "example"))

    def encode(self, picture: Floats) -> Floats:
        return self.engines["encoder"]({"picture": picture})["moments"]

    def embed(self, example: Floats) -> tuple[Floats, Floats]:
        found = self.engines["example"]({"example": example})
        return found["condition"], found["nothing"][:1]

    def denoise(self, sample: Floats, step: int, condition: Floats) -> Floats:
        steps = np.full(len(sample), step, np.int64)
        return self.engines["unet"]({"sample": sample, "step": steps, "condition": condition})["noise"]

    def decode(self, latents: Floats) -> Floats:
        return self.engines["decoder"]({"latents": latents})["picture"]


def seed_of(x: SuitInput) -> int:
    """64 bits of the pictures that went in."""
    digest = hashlib.blake2b(x.portrait.image.tobytes(), digest_size=8)
    digest.update(x.suit.tobytes())
    return int.from_bytes(digest.digest(), "little")
