"""BeautyGAN: a portrait with the make-up of another.

Li et al., "BeautyGAN: Instance-level Facial Makeup Transfer with Deep Generative Adversarial Network", ACM MM 2018.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import FaceView, MakeupInput, MakeupTransfer
from modiste.image import RGBImage
from modiste.makeup_regions import portrait_square, regions
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 256
Floats = NDArray[np.float32]


class BeautyGAN(MakeupTransfer):
    """What the network changes at 256 px is added to the picture, region by region: its detail stays."""

    spec = ModelSpec(
        id="beautygan",
        role="MakeupTransfer",
        paper="Li et al., BeautyGAN, ACM MM 2018",
        licence="that of the data you train on",
        engines={
            "main": EngineSpec(
                weights="beautygan_own",
                part="made_up",
                max_batch=8,
                inputs=(
                    TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB"),
                    TensorSpec(name="reference", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB"),
                ),
                outputs=(
                    TensorSpec(
                        name="made_up",
                        shape=("N", 3, SIDE, SIDE),
                        range="[-1, 1]",
                        meaning="RGB, the face with the reference's make-up",
                        kind="picture",
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=900, cpus=1.0),
    )

    def preprocess(self, x: MakeupInput) -> Tensors:
        return {name: self._seen(view) for name, view in (("face", x.face), ("reference", x.reference))}

    def postprocess(self, outputs: Tensors, x: MakeupInput) -> RGBImage:
        square, (height, width) = portrait_square(x.face.landmarks), x.face.labels.shape
        change = (outputs["made_up"][0] - self._seen(x.face)[0]).transpose(1, 2, 0) * np.float32(127.5)
        size = (square.side, square.side)
        whole = square.put_back(cv2.resize(change, size, interpolation=cv2.INTER_LINEAR), height, width)
        share = regions(x.face.landmarks, x.face.labels).weighted(x.lips, x.eyes, x.skin)
        return RGBImage(np.clip(np.rint(x.face.image + whole * share[..., None]), 0, 255).astype(np.uint8))

    def _seen(self, view: FaceView) -> Floats:
        side = int(self.engines["main"].spec.inputs[0].shape[2])
        cut = portrait_square(view.landmarks).cut(view.image)
        smaller = cut.shape[0] > side
        small = cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        scaled = small.astype(np.float32) / np.float32(127.5) - 1
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])
