"""MODNet: portrait matting without a trimap.

Ke et al., "MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition", AAAI 2022, arXiv:2011.11961.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.roles import Matting
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE, MULTIPLE, LONGEST = 512, 32, 4
"""Reference side and what sides are multiples of, pixels; most times the reference side that a side has."""


class MODNet(Matting):
    """A person's matte in [0, 1], as the network gives it."""

    spec = ModelSpec(
        id="modnet_portrait",
        role="Matting",
        paper="Ke et al., MODNet, AAAI 2022, arXiv:2011.11961",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="modnet_portrait",
                max_batch=4,
                inputs=(
                    TensorSpec(
                        name="image",
                        shape=("N", 3, "H", "W"),
                        range="[-1, 1]",
                        meaning="RGB; sides are multiples of 32",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="matte", shape=("N", 1, "H", "W"), range="[0, 1]", meaning="person", kind="picture"
                    ),
                ),
                sizes={"H": SIDE, "W": SIDE},
                buckets=(
                    {"H": (MULTIPLE, SIDE), "W": (SIDE - MULTIPLE, LONGEST * SIDE)},
                    {"H": (SIDE - MULTIPLE, LONGEST * SIDE), "W": (MULTIPLE, SIDE)},
                ),
            )
        },
        resources=Resources(gpu_memory_mb=3200, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        size = fitted(x.shape[0], x.shape[1], self.engines["main"].spec.sizes["H"])
        resized = cv2.resize(x, size, interpolation=cv2.INTER_AREA)
        scaled = np.asarray(resized, np.float32) * np.float32(2 / 255) - np.float32(1)
        return {"image": np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        matte = cv2.resize(outputs["matte"][0, 0], x.shape[1::-1], interpolation=cv2.INTER_AREA)
        return Mask(np.rint(matte.clip(0, 1) * 255).astype(np.uint8))


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Width and height of the input: as the picture's, or with the shorter side as the reference side where the picture
    is smaller than that in both directions or larger in both; then down to multiples of 32."""
    scale = side / min(height, width) if max(height, width) < side or min(height, width) > side else 1.0
    wide, tall = (min(max(int(edge * scale) // MULTIPLE, 1) * MULTIPLE, LONGEST * side) for edge in (width, height))
    return wide, tall
