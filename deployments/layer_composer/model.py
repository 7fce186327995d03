"""Layers from back to front: backdrop, skin, lower garment, new garment, then arms, hands, hair and face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.layer_composer import light, skin
from deployments.layer_composer.fill import Colour, backdrop, grain, spread
from deployments.roles import GarmentSynthesis, Synthesis, SynthesisInput
from modiste.image import LabelMap, RGBImage
from modiste.labels import BodyPart
from modiste.spec import ModelSpec, Resources

GREY = 128
ARMS = ((BodyPart.RIGHT_ARM, 2), (BodyPart.LEFT_ARM, 3))
"""Each arm with the piece that is its sleeve."""


class LayerComposer(GarmentSynthesis):
    spec = ModelSpec(
        id="layer_composer",
        role="GarmentSynthesis",
        paper="Push-pull filling: Gortler et al., The Lumigraph, SIGGRAPH 1996",
        licence="ours",
        engines={},
        resources=Resources(cpus=1.0),
    )

    def postprocess(self, outputs: Tensors, x: SynthesisInput) -> Synthesis:
        labels, warped = x.person.labels, x.warped
        colour = x.image.astype(np.float32)
        solid = (labels != BodyPart.BACKGROUND) | (x.person.person > 20)
        old = _old(labels, warped.category)
        alpha = warped.layer[..., 3].astype(np.float32) / 255
        front = _front(labels, warped.pieces, warped.category, x.tuck)

        size = max(3, round(0.02 * warped.unit) | 1)
        free = cv2.dilate(solid.astype(np.uint8), np.ones((size, size), np.uint8)) == 0
        plate = backdrop(colour, free)
        under = _under(colour, labels, warped.bare, old, plate)
        # The old garment's soft rim goes with it, but not into the face, the hair or the hands.
        rim = cv2.dilate(old.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
        kept = np.isin(labels, (BodyPart.HAIR, BodyPart.FACE, BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM, BodyPart.OTHER))
        gone = cv2.GaussianBlur((old | (rim & ~kept & ~_stays(labels, old))).astype(np.float32), (0, 0), 0.8)
        gone = np.where(kept, 0, gone)
        canvas = colour + (under - colour) * gone[..., None]

        cloth = _lit(colour, old, warped.layer[..., :3].astype(np.float32), alpha, front, warped.unit)
        canvas = canvas * _below_hem(alpha, front, warped.unit)[..., None]
        canvas = canvas + (cloth - canvas) * alpha[..., None]
        canvas = canvas + (colour - canvas) * front[..., None]
        changed = (gone > 0) | (alpha > 0)
        changed = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        canvas = np.where(changed[..., None], canvas, colour)
        if x.background is not None:
            canvas = _before(canvas, colour, x, alpha)
        return Synthesis(
            image=RGBImage(np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)),
            agnostic=_agnostic(x.image, labels, x.person.person, old),
        )


def _old(labels: LabelMap, category: str) -> NDArray[np.bool_]:
    removed = {
        "upper": (BodyPart.UPPER_GARMENT,),
        "lower": (BodyPart.LOWER_GARMENT,),
        "dress": (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT),
    }[category]
    return np.isin(labels, removed)


def _stays(labels: LabelMap, old: NDArray[np.bool_]) -> NDArray[np.bool_]:
    garments = np.isin(labels, (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT))
    return garments & ~old


def _front(labels: LabelMap, pieces: LabelMap, category: str, tuck: str) -> NDArray[np.float32]:
    """What of the photo lies over the new garment, 0-1."""
    over = np.isin(labels, (BodyPart.HAIR, BodyPart.FACE))
    for part, sleeve in ARMS:
        over |= (labels == part) & (pieces != sleeve)
    if category == "upper" and tuck == "in":
        over |= labels == BodyPart.LOWER_GARMENT
    if category == "lower" and tuck != "in":
        over |= labels == BodyPart.UPPER_GARMENT
    return np.clip(cv2.GaussianBlur(over.astype(np.float32), (0, 0), 0.9) * 1.6 - 0.3, 0, 1)


def _under(
    colour: Colour, labels: LabelMap, bare: LabelMap, old: NDArray[np.bool_], plate: Colour
) -> Colour:
    """What shows where the old garment is gone and the new one does not reach."""
    under = plate
    lower = labels == BodyPart.LOWER_GARMENT
    trunk = (bare == BodyPart.OTHER) & old
    if lower.any() and not (lower & old).any():
        inner = cv2.erode(lower.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        extended = spread(colour, inner) + grain(colour, inner)[..., None]
        edge = cv2.GaussianBlur(trunk.astype(np.float32), (0, 0), 1.0)[..., None]
        under = under + (extended - under) * edge
    painted, opacity = skin.paint(colour, labels, bare, old)
    return np.asarray(under + (painted - under) * opacity[..., None], np.float32)


def _lit(
    colour: Colour,
    old: NDArray[np.bool_],
    cloth: Colour,
    alpha: NDArray[np.float32],
    front: NDArray[np.float32],
    unit: float,
) -> Colour:
    shade = light.folds(colour, old, unit) * light.roundness(alpha, unit)
    shade = shade * light.contact(front * (alpha > 0.5), unit, 0.35)
    return np.asarray(cloth * shade[..., None], np.float32)


def _below_hem(alpha: NDArray[np.float32], front: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """The garment's shadow on skin and clothes next to it; none on the backdrop is wanted, so it is faint."""
    return light.contact(alpha, 0.5 * unit, 0.12) + front * 0


def _before(canvas: Colour, colour: Colour, x: SynthesisInput, alpha: NDArray[np.float32]) -> Colour:
    """The dressed person before a plain background."""
    assert x.background is not None
    matte = x.person.person.astype(np.float32) / 255
    old_only = _old(x.person.labels, x.warped.category) & (x.warped.bare == BodyPart.BACKGROUND)
    matte = np.where(old_only, 0, matte)
    matte = np.maximum(matte, alpha)[..., None]
    return np.asarray(np.array(x.background, np.float32) * (1 - matte) + canvas * matte, np.float32)


def _agnostic(image: RGBImage, labels: LabelMap, person: NDArray[np.uint8], old: NDArray[np.bool_]) -> RGBImage:
    """The person on grey with the replaced garment greyed out, as VITON-style networks are fed."""
    matte = np.maximum(person, (labels != BodyPart.BACKGROUND).astype(np.uint8) * 255).astype(np.float32) / 255
    matte = np.where(cv2.dilate(old.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0, 0, matte)[..., None]
    return RGBImage(np.rint(GREY + (image - np.float32(GREY)) * matte).astype(np.uint8))
