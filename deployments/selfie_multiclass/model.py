"""Selfie multiclass segmentation: hair, skin, clothes; upper/lower and left/right are added from the pose.

MediaPipe, "Selfie Multiclass Segmentation" (model card, 2023), a Vision Transformer encoder with a convolutional
decoder at 256 x 256. The person is looked at twice: whole, for context, and from the head to the waist, for detail.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import HumanParsing, Parsing, ParsingInput
from deployments.selfie_multiclass.split import Body, body_of, limb_parts, lower_garment
from modiste.geometry import Box, Matrix, bounding_box, warp
from modiste.image import Keypoints, LabelMap, RGBImage
from modiste.labels import JOINT, BodyPart
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 256
BACKGROUND, HAIR, BODY_SKIN, FACE_SKIN, CLOTHES, OTHER = range(6)
WORKING_SIDE = 1536
"""Longest side on which classes are decided: six probabilities a pixel of a large photograph fill a gigabyte."""
DISAGREEMENT = 0.5
"""Difference of the two looks' background at which the one that sees the person is believed."""

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Square:
    """A square part of the picture; it may reach outside."""

    left: float
    top: float
    side: float

    @property
    def matrix(self) -> Matrix:
        """Picture to network pixels."""
        f = SIDE / self.side
        return np.array([[f, 0, (0.5 - self.left) * f - 0.5], [0, f, (0.5 - self.top) * f - 0.5]])


class SelfieMulticlass(HumanParsing):
    """Two looks per person, joined before the classes are decided."""

    main = ""  # what to look at depends on the pose, and `postprocess` looks
    spec = ModelSpec(
        id="selfie_multiclass",
        role="HumanParsing",
        paper="MediaPipe Selfie Multiclass Segmentation, model card, 2023",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="selfie_multiclass",
                gpu_precision="float16",
                inputs=(TensorSpec(name="input_29", shape=("N", SIDE, SIDE, 3), range="[0, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="Identity", shape=("N", SIDE, SIDE, 6), range="logit", meaning="six classes", kind="labels"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=600, cpus=1.0),
    )

    def postprocess(self, outputs: Tensors, x: ParsingInput) -> Parsing:
        height, width = x.image.shape[:2]
        scale = min(1.0, WORKING_SIDE / max(height, width))
        if scale < 1:
            small = cv2.resize(x.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            labels = self._labels(
                RGBImage(np.asarray(small, np.uint8)), Keypoints(x.keypoints * np.array([scale, scale, 1], np.float32))
            )
            enlarged = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
            return Parsing(labels=LabelMap(np.asarray(enlarged, np.uint8)))
        return Parsing(labels=self._labels(x.image, x.keypoints))

    def _labels(self, image: RGBImage, keypoints: Keypoints) -> LabelMap:
        body = body_of(keypoints)
        whole, upper = squares(body, *image.shape[:2])
        classes = joined(self._look(image, whole), self._look(image, upper), upper).argmax(axis=2)
        return parts(body, image, classes.astype(np.uint8))

    def _look(self, image: RGBImage, square: Square) -> Probabilities:
        """[H, W, 6], 0-1; logits are enlarged, not labels, so that outlines are smooth."""
        crop = warp(image, square.matrix, SIDE, SIDE)
        feed = np.ascontiguousarray(crop[None].astype(np.float32) / 255)
        logits = self.engines["main"]({"input_29": feed})["Identity"][0]
        height, width = image.shape[:2]
        enlarged = cv2.warpAffine(
            np.ascontiguousarray(logits[..., :4]), square.matrix, (width, height), flags=_BACK, borderMode=_EDGE
        )
        rest = cv2.warpAffine(
            np.ascontiguousarray(logits[..., 4:]), square.matrix, (width, height), flags=_BACK, borderMode=_EDGE
        )
        stacked = np.concatenate([enlarged, rest], axis=2)
        powers = np.exp(stacked - stacked.max(axis=2, keepdims=True))
        return np.asarray(powers / powers.sum(axis=2, keepdims=True), np.float32)


_BACK: Final = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_EDGE: Final = cv2.BORDER_REPLICATE


def squares(body: Body, height: int, width: int) -> tuple[Square, Square]:
    """The whole person, and from the head to the waist."""
    points = np.asarray(body.keypoints, np.float32)
    joints = bounding_box(points[np.any(points[:, :2] != 0, axis=1)])
    head = 0.9 * float(np.linalg.norm(body.at("nose") - body.at("neck")))
    around = Box(
        joints.left - 0.5 * body.unit,
        min(joints.top, float(body.at("nose")[1])) - head,
        joints.right + 0.5 * body.unit,
        joints.bottom + 0.2 * body.unit,
    ).clipped(height, width)
    (x, y), side = around.centre, 1.08 * max(around.width, around.height)
    whole = Square(x - side / 2, y - side / 2, side)
    neck = points[JOINT["neck"]]
    return whole, Square(float(neck[0]) - 1.25 * body.unit, float(neck[1]) - 1.25 * body.unit, 2.5 * body.unit)


def joined(whole: Probabilities, upper: Probabilities, square: Square) -> Probabilities:
    """Mean of the two looks inside `square`, fading to the whole one at its border.

    The network now and then takes plain dark cloth for background. It rarely errs the other way: where the looks
    disagree about the background altogether, the one that sees the person counts.
    """
    height, width = whole.shape[:2]
    x = (np.arange(width, dtype=np.float32) - square.left) / square.side
    y = (np.arange(height, dtype=np.float32) - square.top) / square.side
    inside = np.minimum(np.minimum(x, 1 - x)[None, :], np.minimum(y, 1 - y)[:, None])
    share = 0.6 * np.clip(inside / 0.15, 0, 1)[..., None]
    mixed: Probabilities = whole * (1 - share) + upper * share
    gap = whole[..., BACKGROUND] - upper[..., BACKGROUND]
    trusted = (share[..., 0] > 0.3) & (gap > DISAGREEMENT)
    mixed[trusted] = upper[trusted]
    hidden = gap < -DISAGREEMENT
    mixed[hidden] = whole[hidden]
    return mixed


def parts(body: Body, image: RGBImage, classes: NDArray[np.uint8]) -> LabelMap:
    """Six classes [H, W] to `BodyPart` [H, W]."""
    labels = np.zeros(classes.shape, np.uint8)
    labels[classes == HAIR] = BodyPart.HAIR
    labels[classes == FACE_SKIN] = BodyPart.FACE
    labels[classes == OTHER] = BodyPart.OTHER
    skin, clothes = classes == BODY_SKIN, classes == CLOTHES
    labels[skin] = limb_parts(body, skin)[skin]
    lower = lower_garment(body, image, clothes, skin)
    labels[clothes] = BodyPart.UPPER_GARMENT
    labels[lower] = BodyPart.LOWER_GARMENT
    return LabelMap(labels)
