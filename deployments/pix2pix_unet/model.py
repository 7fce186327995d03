"""pix2pix U-Net-256: a drawing, with colour hints painted over it, becomes a picture of the same size.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, arXiv:1611.07004.
"""

import numpy as np

from compile.engine import Tensors
from deployments.pix2pix_unet.colour_hints import POINTS, as_input
from deployments.roles import Sketch, SketchedGarment, SketchToGarment
from modiste.image import RGBImage
from modiste.sketch import normalise_sketch
from modiste.sketch_category import CATEGORIES, guess
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec


class Pix2PixUNet(SketchToGarment):
    """The network knows one category, that of its checkpoint, and does not hear which was asked for."""

    spec = ModelSpec(
        id="pix2pix_unet",
        role="SketchToGarment",
        paper="Isola et al., pix2pix, CVPR 2017, arXiv:1611.07004",
        licence="code BSD; none of the weights' own: non-commercial",
        engines={
            "main": EngineSpec(
                weights="pix2pix_edges2shoes",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="drawing",
                        shape=("N", 3, 256, 256),
                        range="[-1, 1]",
                        meaning="RGB: black lines on white, hints over them",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="picture", shape=("N", 3, 256, 256), range="[-1, 1]", meaning="RGB", kind="picture"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=1000, cpus=0.5),
    )

    def preprocess(self, x: Sketch) -> Tensors:
        """raises: NoSketch"""
        size = int(self.engines["main"].spec.inputs[0].shape[-1])
        sketch = normalise_sketch(x.image, size, POINTS)
        # The outline is told from the size that the kinds were learnt at.
        category = x.category or guess(normalise_sketch(x.image).edges)
        return {
            "drawing": np.ascontiguousarray(as_input(sketch).transpose(2, 0, 1)[None]),
            "category": np.array([CATEGORIES.index(category)]),
            "coloured": np.array([sketch.hint_mask.any()]),
        }

    def infer(self, feeds: Tensors) -> Tensors:
        """The network sees the drawing alone; what was understood of it goes past."""
        passed = {name: feeds[name] for name in ("category", "coloured")}
        return {**self.engines["main"]({"drawing": feeds["drawing"]}), **passed}

    def postprocess(self, outputs: Tensors, x: Sketch) -> SketchedGarment:
        picture = outputs["picture"][0].transpose(1, 2, 0)
        return SketchedGarment(
            image=RGBImage(np.ascontiguousarray(np.clip(np.rint(picture * 127.5 + 127.5), 0, 255).astype(np.uint8))),
            category=CATEGORIES[int(outputs["category"][0])],
            coloured=bool(outputs["coloured"][0]),
        )
