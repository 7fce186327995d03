"""Graphonomy: CIHP's twenty classes of garments and body parts.

Gong et al., "Graphonomy: Universal Human Parsing via Graph Transfer Learning", CVPR 2019, arXiv:1904.04536.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.graphonomy.parse import fitted, labels, prepare
from deployments.roles import HumanParsing, Parsing, ParsingInput
from modiste.image import RGBImage
from modiste.labels import body_parts
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

LONGEST = 512
"""Of the input's sides, pixels: the practical size. At HR-VITON's 1024 x 768 it costs four times as much."""


class Graphonomy(HumanParsing):
    """The picture and its mirror image at one scale; the means of their logits, enlarged, decide."""

    spec = ModelSpec(
        id="graphonomy",
        role="HumanParsing",
        paper="Gong et al., Graphonomy, CVPR 2019, arXiv:1904.04536",
        licence="none of its own",
        engines={
            "main": EngineSpec(
                weights="graphonomy_cihp",
                max_batch=8,
                inputs=(TensorSpec(name="image", shape=("N", 3, "H", "W"), range="[-1, 1]", meaning="BGR"),),
                outputs=(
                    TensorSpec(
                        name="logits",
                        shape=("N", 20, "H", "W"),
                        range="logit",
                        meaning="classes of CIHP",
                        kind="labels",
                    ),
                ),
                sizes={"H": LONGEST, "W": 384},
                buckets=({"H": (1, LONGEST), "W": (1, LONGEST)},),
            )
        },
        resources=Resources(gpu_memory_mb=3000, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: ParsingInput) -> Tensors:
        longest = max(self.engines["main"].spec.sizes.values())
        size = fitted(x.image.shape[0], x.image.shape[1], longest)
        shrunk = x.image if size == x.image.shape[1::-1] else cv2.resize(x.image, size, interpolation=cv2.INTER_AREA)
        return {"image": prepare(RGBImage(np.asarray(shrunk, np.uint8)))[None]}

    @classmethod
    def max_batch(cls) -> int:
        """Half of what the engine takes: each picture comes with its mirror image."""
        return super().max_batch() // 2

    def infer(self, feeds: Tensors) -> Tensors:
        """[N, 2, ...] of pictures and their mirror images, which are pictures to the engine."""
        pairs = feeds["image"]
        logits = self.engines["main"]({"image": pairs.reshape(-1, *pairs.shape[2:])})["logits"]
        return {"logits": logits.reshape(*pairs.shape[:2], *logits.shape[1:])}

    def postprocess(self, outputs: Tensors, x: ParsingInput) -> Parsing:
        height, width = x.image.shape[:2]
        clothes = labels([outputs["logits"][0]], (height, width))
        return Parsing(labels=body_parts(clothes), clothes=clothes)
