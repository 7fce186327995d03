"""HR-VITON's condition generator as a warp: a flow that bends the garment, and a label map of who wears it.

Lee et al., "High-Resolution Virtual Try-On with Misalignment and Occlusion-Handled Conditions", ECCV 2022,
arXiv:2206.14180.
"""

from typing import Final

import numpy as np

from compile.engine import Tensors
from deployments.hrviton.conditions import WIDTH, Prepared, condition_inputs, fit, prepare
from deployments.hrviton.frame import (
    clothes_of,
    enlarged,
    joints_of,
    labels_in,
    laid_flat,
    layer_of,
    moved,
    person_frame,
)
from deployments.roles import BodySurface, ConditionedGarment, Dressed, GarmentWarp, WarpInput
from modiste.dense_pose import coloured
from modiste.errors import CannotFit, InvalidOption
from modiste.geometry import Matrix, warp
from modiste.image import LabelMap, RGBAImage
from modiste.labels import BodyPart
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

FINER: Final = 4
"""The picture that the garment is bent in, over the one that the network sees."""
HEIGHT, COARSE_WIDTH = 256, 192
LICENCE: Final = "CC BY-NC 4.0: non-commercial"
PAPER: Final = "Lee et al., HR-VITON, ECCV 2022, arXiv:2206.14180"


class HRVITONConditions(GarmentWarp):
    """Upper garments, which it was trained on, laid flat."""

    spec = ModelSpec(
        id="hrviton_tocg",
        role="GarmentWarp",
        paper=PAPER,
        licence=LICENCE,
        engines={
            "main": EngineSpec(
                weights="hrviton_tocg",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="garment",
                        shape=("N", 4, HEIGHT, COARSE_WIDTH),
                        range="[-1, 1], mask 0 or 1",
                        meaning="RGB on white, mask",
                    ),
                    TensorSpec(
                        name="person",
                        shape=("N", 16, HEIGHT, COARSE_WIDTH),
                        range="0 or 1, [-1, 1]",
                        meaning="13 classes without the old garment, RGB of the dense pose",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="flow",
                        shape=("N", 2, HEIGHT // 2, COARSE_WIDTH // 2),
                        range="its own pixels",
                        meaning="x and y",
                    ),
                    TensorSpec(
                        name="labels",
                        shape=("N", 13, HEIGHT, COARSE_WIDTH),
                        range="0 and more",
                        meaning="13 classes in the new garment",
                        kind="labels",
                    ),
                    TensorSpec(
                        name="mask",
                        shape=("N", 1, HEIGHT, COARSE_WIDTH),
                        range="[0, 1]",
                        meaning="the garment, bent",
                        kind="picture",
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=2900, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: WarpInput) -> Tensors:
        _check(x)
        garment, person = condition_inputs(self._prepared(x), self._size())
        return {"garment": garment, "person": person}

    def postprocess(self, outputs: Tensors, x: WarpInput) -> ConditionedGarment:
        # The flow's last bits show along the edges, so that the garment is prepared as it was for the network.
        ready, frame = self._prepared(x), self._frame(x.person)
        fitted = fit(ready, flow=outputs["flow"][0], labels=outputs["labels"][0], warped_mask=outputs["mask"][0])
        picture = np.concatenate([fitted.garment * np.float32(127.5) + np.float32(127.5), fitted.shown * 255])
        bent = RGBAImage(np.clip(np.rint(picture.transpose(1, 2, 0)), 0, 255).astype(np.uint8))
        return ConditionedGarment(
            layer=layer_of(bent, frame, *x.person.labels.shape),
            category="upper",
            frame=frame,
            fitted=bent,
            parse=fitted.labels,
        )

    def _size(self) -> tuple[int, int]:
        """Height and width that the network sees."""
        height, width = self.engines["main"].spec.inputs[0].shape[2:]
        return int(height), int(width)

    def _frame(self, person: Dressed) -> Matrix:
        height, width = self._size()
        size = (height * FINER, width * FINER)
        return person_frame(joints_of(person.keypoints), clothes_of(person, self.spec.id), size)

    def _prepared(self, x: WarpInput) -> Prepared:
        """At the size that the garment is bent in; strokes are drawn in a picture of the width they are meant for."""
        (height, width), clothes = self._size(), clothes_of(x.person, self.spec.id)
        matrix = enlarged(self._frame(x.person), WIDTH / (width * FINER))
        drawn = (height * WIDTH // width, WIDTH)
        garment, mask = laid_flat(x.garment, drawn)
        return prepare(
            labels=labels_in(clothes, matrix, drawn),
            joints=moved(joints_of(x.person.keypoints), matrix),
            dense_pose=warp(coloured(surface_of(x.person, self.spec.id).parts), matrix, drawn[1], drawn[0]),
            garment=garment,
            garment_mask=mask,
            width=width * FINER,
        )


def surface_of(person: Dressed, model: str) -> BodySurface:
    """raises: ValueError where no model plays DensePose"""
    if person.surface is None:
        raise ValueError(f"expected a body surface from a model that plays DensePose, got none: {model} needs it")
    return person.surface


def _check(x: WarpInput) -> None:
    """raises: InvalidOption, CannotFit where it is no upper garment or where its hem shall be chosen"""
    if x.category not in (None, "upper"):
        raise InvalidOption(f"expected category upper, all that {PAPER} was trained on, got {x.category}")
    if x.tuck != "auto":
        raise InvalidOption(f"expected tuck auto, as {PAPER} decides where a hem goes, got {x.tuck}")
    if x.wearer is not None and _is_lower(x.garment, x.wearer.labels):
        raise CannotFit("expected an upper garment, got one that is worn on the legs")


def _is_lower(garment: RGBAImage, labels: LabelMap) -> bool:
    cloth = labels[garment[..., 3] > 127]
    return bool(np.mean(cloth == BodyPart.LOWER_GARMENT) > 0.5) if cloth.size else False
