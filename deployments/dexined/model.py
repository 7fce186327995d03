"""DexiNed: edges at six depths of a dense network, fused.

Soria et al., "Dense Extreme Inception Network for Edge Detection", Pattern Recognition 2023, arXiv:2112.02250.
"""

from compile.engine import Tensors
from deployments.roles import EdgeDetection
from modiste.edge_maps import edge_lines, edge_planes
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

MEANS = (103.939, 116.779, 123.68)
"""Of blue, green and red."""


class DexiNed(EdgeDetection):
    """The fused map alone, at 512 x 512 whatever the picture's shape; thinned to lines."""

    spec = ModelSpec(
        id="dexined",
        role="EdgeDetection",
        paper="Soria et al., DexiNed, Pattern Recognition 2023, arXiv:2112.02250",
        licence="MIT; learnt from BIPED: non-commercial",
        engines={
            "main": EngineSpec(
                weights="dexined_biped",
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
        resources=Resources(gpu_memory_mb=2200, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        *_, height, width = self.engines["main"].spec.inputs[0].shape
        return {"image": edge_planes(x, int(height), int(width), MEANS)}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        return edge_lines(outputs["edges"][0, 0], *x.shape[:2])
