"""pix2pix for sketches: lines and colour hints become a garment on white, 128 x 128.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, arXiv:1611.07004.
"""

import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import Sketch, SketchedGarment, SketchToGarment
from modiste.image import RGBImage
from modiste.labels import SketchCategory
from modiste.sketch import SIZE, NormalisedSketch, normalise_sketch
from modiste.sketch_category import CATEGORIES, guess
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

PLANES = 5 + len(CATEGORIES)


class Pix2PixGarment(SketchToGarment):
    """Where no category is asked for, the outline decides."""

    spec = ModelSpec(
        id="pix2pix_garment",
        role="SketchToGarment",
        paper="Isola et al., pix2pix, CVPR 2017, arXiv:1611.07004",
        licence="ours, as this repository",
        engines={
            "main": EngineSpec(
                weights="sketch_to_garment",
                gpu_precision="float16",
                max_batch=16,
                inputs=(
                    TensorSpec(
                        name="sketch",
                        shape=("N", PLANES, SIZE, SIZE),
                        range="edges, hint mask, kinds: [0, 1]; hint RGB: [-1, 1]",
                        meaning="edges, hint R, G, B, hint mask, then one plane of ones among the kinds",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="garment", shape=("N", 3, SIZE, SIZE), range="[-1, 1]", meaning="RGB", kind="picture"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=600, cpus=0.5),
    )

    def preprocess(self, x: Sketch) -> Tensors:
        """raises: NoSketch"""
        sketch = normalise_sketch(x.image)
        return {"sketch": planes(sketch, x.category or guess(sketch.edges))[None]}

    def infer(self, feeds: Tensors) -> Tensors:
        """The input goes along: it says which kind was painted, and whether there were hints."""
        return {**self.engines["main"](feeds), **feeds}

    def postprocess(self, outputs: Tensors, x: Sketch) -> SketchedGarment:
        picture, sketch = outputs["garment"][0].transpose(1, 2, 0), outputs["sketch"][0]
        return SketchedGarment(
            image=RGBImage(np.ascontiguousarray(np.clip(np.rint(picture * 127.5 + 127.5), 0, 255).astype(np.uint8))),
            category=CATEGORIES[int(sketch[5:, 0, 0].argmax())],
            coloured=bool(sketch[4].any()),
        )


def planes(sketch: NormalisedSketch, category: SketchCategory) -> NDArray[np.float32]:
    """float32 [10, 128, 128], as the network reads a sketch."""
    kinds = np.zeros((len(CATEGORIES), SIZE, SIZE), np.float32)
    kinds[CATEGORIES.index(category)] = 1
    hints = np.concatenate([sketch.hint_rgb.transpose(2, 0, 1), sketch.hint_mask[None]])
    return np.concatenate([sketch.edges[None], hints, kinds]).astype(np.float32)
