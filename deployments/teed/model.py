"""TEED: edges by a network of 58 thousand weights.

Soria et al., "Tiny and Efficient Model for the Edge Detection Generalization", ICCV workshops 2023, arXiv:2308.06468.
"""

from compile.engine import Tensors
from deployments.roles import EdgeDetection
from modiste.edge_maps import edge_lines, edge_planes
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

MEANS = (104.007, 116.669, 122.679)
"""Of blue, green and red."""


class TEED(EdgeDetection):
    """The fused map alone, at 512 x 512 whatever the picture's shape; thinned to lines."""

    spec = ModelSpec(
        id="teed",
        role="EdgeDetection",
        paper="Soria et al., TEED, ICCV workshops 2023, arXiv:2308.06468",
        licence="MIT, as its project page says, not verified; learnt from BIPED: non-commercial",
        engines={
            "main": EngineSpec(
                weights="teed_biped",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="image",
                        shape=("N", 3, 512, 512),
                        range="[-123, 151], 0-255 less the means",
                        meaning="B, G, R",
                    ),
                ),
                outputs=(TensorSpec(name="edges", shape=("N", 1, 512, 512), range="logits", meaning="fused map"),),
            )
        },
        resources=Resources(gpu_memory_mb=1600, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        *_, height, width = self.engines["main"].spec.inputs[0].shape
        return {"image": edge_planes(x, int(height), int(width), MEANS)}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        return edge_lines(outputs["edges"][0, 0], *x.shape[:2])
