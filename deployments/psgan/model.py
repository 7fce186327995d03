"""PSGAN: a portrait with the make-up of another, part by part, whatever the pose and expression of either.

Jiang et al., "PSGAN: Pose and Expression Robust Spatial-Aware GAN for Customizable Makeup Transfer", CVPR 2020,
arXiv:1909.06956.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.psgan import parts
from deployments.roles import FaceView, MakeupInput, MakeupTransfer
from modiste.face_alignment import landmarks_of_mesh
from modiste.image import LabelMap, RGBImage
from modiste.makeup_regions import portrait_square, regions
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE, GRID = parts.SIDE, parts.GRID
PARTS, PLACES = 3, 2 * 68
Floats = NDArray[np.float32]


def _told(whose: str) -> tuple[TensorSpec, ...]:
    """What the network is told about one of the two faces."""
    return (
        TensorSpec(name=whose, shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB"),
        TensorSpec(
            name=f"{whose}_parts", shape=("N", PARTS, SIDE, SIDE), range="0 or 1", meaning="lips, skin, around the eyes"
        ),
        TensorSpec(
            name=f"{whose}_places",
            shape=("N", PARTS, PLACES, GRID, GRID),
            range="[-1, 1]",
            meaning="where each place of a part lies from 68 landmarks",
        ),
    )


class PSGAN(MakeupTransfer):
    """The network's picture with the photo's detail, laid in region by region."""

    spec = ModelSpec(
        id="psgan",
        role="MakeupTransfer",
        paper="Jiang et al., PSGAN, CVPR 2020, arXiv:1909.06956",
        licence="MIT; trained on MT, research use: non-commercial",
        engines={
            "main": EngineSpec(
                weights="psgan_mt",
                max_batch=4,
                inputs=(*_told("face"), *_told("reference")),
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
        resources=Resources(gpu_memory_mb=1800, cpus=1.0),
    )

    def preprocess(self, x: MakeupInput) -> Tensors:
        return {**self._seen("face", x.face), **self._seen("reference", x.reference)}

    def postprocess(self, outputs: Tensors, x: MakeupInput) -> RGBImage:
        square, (height, width) = portrait_square(x.face.landmarks), x.face.labels.shape
        cut = square.cut(x.face.image)
        made_up = parts.detailed(outputs["made_up"][0].transpose(1, 2, 0), cut)
        change = square.put_back(made_up.astype(np.float32) - cut, height, width)
        share = regions(x.face.landmarks, x.face.labels).weighted(x.lips, x.eyes, x.skin)
        return RGBImage(np.clip(np.rint(x.face.image + change * share[..., None]), 0, 255).astype(np.uint8))

    def _seen(self, whose: str, view: FaceView) -> Tensors:
        shapes = {tensor.name: tensor.shape for tensor in self.engines["main"].spec.inputs}
        side, grid = int(shapes[whose][2]), int(shapes[f"{whose}_places"][3])
        square = portrait_square(view.landmarks)
        small = cv2.resize(square.cut(view.image), (side, side), interpolation=cv2.INTER_LINEAR)
        labels = cv2.resize(square.cut_labels(view.labels), (side, side), interpolation=cv2.INTER_NEAREST)
        points = np.round(square.points(landmarks_of_mesh(view.landmarks), side))[:, ::-1]
        masks = parts.masks(LabelMap(np.asarray(labels, np.uint8)), points)
        scaled: Floats = small.astype(np.float32) / np.float32(127.5) - 1
        return {
            whose: np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]),
            f"{whose}_parts": masks[None],
            f"{whose}_places": parts.offsets(points, masks, grid)[None],
        }
