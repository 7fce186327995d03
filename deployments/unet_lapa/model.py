"""A U-Net on LaPa: which part of a face each pixel belongs to, 11 classes.

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, arXiv:1505.04597;
classes of Liu et al., "A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing", AAAI 2020.
"""

import cv2
import numpy as np

from compile.engine import Tensors
from deployments.roles import FaceParsing
from modiste.face_parts import by_side, largest
from modiste.image import LabelMap, RGBImage
from modiste.labels import FacePart
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 512
LAPA = (
    FacePart.BACKGROUND,
    FacePart.SKIN,
    FacePart.LEFT_BROW,
    FacePart.RIGHT_BROW,
    FacePart.LEFT_EYE,
    FacePart.RIGHT_EYE,
    FacePart.NOSE,
    FacePart.UPPER_LIP,
    FacePart.MOUTH,
    FacePart.LOWER_LIP,
    FacePart.HAIR,
)
"""What each class of LaPa is here, in its order."""
PART_OF = np.array(LAPA, np.uint8)


class UNetLaPa(FaceParsing):
    """Labels are decided at the crop's own size; sides are those of the face, whatever the weights learnt them as."""

    spec = ModelSpec(
        id="unet_lapa",
        role="FaceParsing",
        paper="Ronneberger et al., U-Net, MICCAI 2015, arXiv:1505.04597; Liu et al., LaPa, AAAI 2020",
        licence="none published; of your own training's data (LaPa: non-commercial)",
        engines={
            "main": EngineSpec(
                weights="unet_lapa_own",
                max_batch=8,
                inputs=(TensorSpec(name="image", shape=("N", 3, SIDE, SIDE), range="[0, 1]", meaning="BGR, a head"),),
                outputs=(
                    TensorSpec(
                        name="logits",
                        shape=("N", len(LAPA), SIDE, SIDE),
                        range="logits",
                        meaning="LaPa class",
                        kind="labels",
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=4500, cpus=2.0),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        height, width = (int(side) for side in self.engines["main"].spec.inputs[0].shape[2:])
        shrinks = x.shape[0] > height
        seen = cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return {"image": np.ascontiguousarray(seen[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> LabelMap:
        return by_side(LabelMap(PART_OF[largest(outputs["logits"][0], *x.shape[:2])]))
