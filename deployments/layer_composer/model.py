"""Layers from back to front: backdrop, skin, lower garment, new garment, then arms, hands, hair and face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.layer_composer import light, skin
from deployments.layer_composer.fill import Colour, backdrop, grain, spread
from deployments.roles import GarmentSynthesis, PiecedGarment, Synthesis, SynthesisInput
from modiste.image import Keypoints, LabelMap, RGBImage
from modiste.labels import JOINT, BodyPart
from modiste.spec import ModelSpec, Resources

GREY = 128
ARMS = (
    (BodyPart.RIGHT_ARM, 2, JOINT["right_elbow"], JOINT["right_wrist"]),
    (BodyPart.LEFT_ARM, 3, JOINT["left_elbow"], JOINT["left_wrist"]),
)
"""Each arm with the piece that is its sleeve, its elbow and its wrist."""
LONG = 1.8
"""Reach of a sleeve from which on only a hand comes out of it."""
HAND = 0.2
"""Distance of a hand's middle from its wrist, over the shoulder width."""
BARED = {
    "upper": (BodyPart.NECK, BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM),
    "lower": (BodyPart.LEFT_LEG, BodyPart.RIGHT_LEG),
    "dress": (BodyPart.NECK, *skin.LIMBS),
}
"""Skin that may come to light when the old garment goes."""


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
        if not isinstance(x.warped, PiecedGarment):
            raise ValueError(f"expected a garment bent piece by piece, got a {type(x.warped).__name__}")
        warped, colour = x.warped, x.image.astype(np.float32)
        labels = skin.without_cloth(x.image, x.person.labels, _old(x.person.labels, warped))
        solid = (labels != BodyPart.BACKGROUND) | (x.person.person > 20)
        old = _old(labels, warped)
        alpha = (warped.layer[..., 3] / np.float32(255)).astype(np.float32)
        front = _front(labels, warped, x.person.keypoints, x.tuck)
        if warped.category == "lower" and x.tuck != "in":
            # Under a hanging upper garment the waistband does not show, wherever the parser errs.
            alpha[: max(0, _top_row(old) - round(0.15 * warped.unit))] = 0

        size = max(3, round(0.02 * warped.unit) | 1)
        wide = np.ones((size, size), np.uint8)
        plate = backdrop(colour, cv2.dilate(solid.astype(np.uint8), wide) == 0)
        under, painted = _under(colour, labels, warped, old, plate)
        # The old garment's soft rim goes with it, but not into the face, the hair or the other garment.
        rim = cv2.dilate(old.astype(np.uint8), wide[:3, :3], iterations=2) > 0
        kept = np.isin(labels, (BodyPart.HAIR, BodyPart.FACE, BodyPart.OTHER)) | _stays(labels, old)
        gone = cv2.GaussianBlur((old | rim).astype(np.float32), (0, 0), 0.8)
        gone = np.maximum(gone, _shaded_skin(labels, old, warped.unit))
        # Skin is only replaced where skin can be painted.
        bareable = np.isin(warped.bare, (*skin.LIMBS, BodyPart.NECK))
        unpainted = (np.isin(labels, skin.LIMBS) | (front > 0.5)) & ~bareable
        gone = np.where(kept | unpainted, 0, gone)
        bared = colour + (under - colour) * gone[..., None]

        shadow = light.contact(alpha, 0.5 * warped.unit, 0.12)
        canvas = bared * np.where(solid, shadow, 1)[..., None]
        cloth = _lit(colour, old, warped.layer[..., :3].astype(np.float32), alpha, front, warped.unit)
        canvas = canvas + (cloth - canvas) * alpha[..., None]
        over = (
            _soft(painted & (warped.pieces <= 1) & (warped.covered == 0))
            if warped.category != "lower"
            else np.zeros_like(alpha)
        )
        canvas = canvas + (bared - canvas) * over[..., None]
        before = np.where(((alpha > 0) | (gone > 0))[..., None], _own_colour(bared, front), colour)
        canvas = canvas + (before - canvas) * front[..., None]
        changed = (gone > 0) | (alpha > 0)
        changed = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        canvas = np.where(changed[..., None], canvas, colour)
        if x.background is not None:
            canvas = _before(canvas, colour, x, warped, alpha)
        return Synthesis(
            image=RGBImage(np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)),
            agnostic=_agnostic(x.image, labels, x.person.person, old),
        )


def _old(labels: LabelMap, warped: PiecedGarment) -> NDArray[np.bool_]:
    """Pixels of the garment that is replaced."""
    removed = {
        "upper": (BodyPart.UPPER_GARMENT,),
        "lower": (BodyPart.LOWER_GARMENT,),
        "dress": (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT),
    }[warped.category]
    old = np.isin(labels, removed)
    body = np.flatnonzero(warped.bare.any(axis=1))
    if len(body):
        # What is taken for cloth above the neck is hair or a hat.
        old[: max(0, int(body[0] - 0.1 * warped.unit))] = False
    on_arm = np.isin(warped.bare, (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM))
    if warped.category == "upper":
        # Cuffs below the hem are sleeves all the same.
        old |= ((labels == BodyPart.LOWER_GARMENT) & on_arm) | _cuffs(labels, on_arm, warped.unit)
    elif warped.category == "lower":
        old &= ~on_arm
    return old


def _shaded_skin(labels: LabelMap, old: NDArray[np.bool_], unit: float) -> NDArray[np.float32]:
    """How far skin beside the old garment carries its shadow and colour, 0-1, fading with the distance."""
    skin_parts = np.isin(labels, skin.LIMBS)
    size = max(3, round(0.05 * unit) | 1)
    near = cv2.dilate(old.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    soft = cv2.GaussianBlur(near.astype(np.float32), (0, 0), 0.015 * unit)
    return np.asarray(np.where(skin_parts, np.clip(soft * 1.6 - 0.4, 0, 1), 0), np.float32)


def _top_row(area: NDArray[np.bool_]) -> int:
    """Where an area begins, stray pixels left out."""
    rows = np.nonzero(area)[0]
    return int(np.quantile(rows, 0.04)) if rows.size else 0


def _cuffs(labels: LabelMap, on_arm: NDArray[np.bool_], unit: float) -> NDArray[np.bool_]:
    """Small separate pieces of the lower garment that touch an arm."""
    lower = (labels == BodyPart.LOWER_GARMENT).astype(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(lower)
    if count < 3:
        return np.zeros(labels.shape, np.bool_)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    size = max(3, round(0.06 * unit) | 1)
    touched = np.unique(pieces[cv2.dilate(on_arm.astype(np.uint8), np.ones((size, size), np.uint8)) > 0])
    small = [piece for piece in touched if piece and areas[piece] < 0.15 * areas[1:].max()]
    return np.isin(pieces, small)


def _stays(labels: LabelMap, old: NDArray[np.bool_]) -> NDArray[np.bool_]:
    garments = np.isin(labels, (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT))
    return garments & ~old


def _front(labels: LabelMap, warped: PiecedGarment, keypoints: Keypoints, tuck: str) -> NDArray[np.float32]:
    """What of the photo lies over the new garment, 0-1."""
    over = np.isin(labels, (BodyPart.HAIR, BodyPart.FACE))
    hands = np.zeros(labels.shape, np.uint8)
    # The tuple of reaches begins with the person's left arm.
    for (part, sleeve, elbow, wrist), reach in zip(ARMS, warped.sleeve_reach[::-1], strict=True):
        # Skin of the belly is sometimes taken for an arm's: out of a long sleeve comes only a hand.
        hand = np.zeros(labels.shape, np.uint8)
        seen = bool(keypoints[wrist, 2] > 0)
        forearm = keypoints[wrist, :2] - keypoints[elbow, :2]
        middle = keypoints[wrist, :2] + forearm / max(float(np.linalg.norm(forearm)), 1.0) * HAND * warped.unit
        cv2.circle(hand, np.round(middle).astype(int).tolist(), round(1.6 * HAND * warped.unit), 1, cv2.FILLED)
        hands |= hand if seen else 1
        arm = (labels == part) & ((hand > 0) | (reach < LONG) | (warped.pieces == 0) | (not seen))
        over |= arm & (warped.pieces != sleeve) & ((warped.pieces != 1) | (warped.covered == 0))
    # A hand before the body is sometimes taken for the neck's skin, what it holds for something else.
    held = ((labels == BodyPart.NECK) & (hands > 0)) | (labels == BodyPart.OTHER)
    over |= held & (warped.bare == BodyPart.OTHER)
    if warped.category == "upper" and tuck == "in":
        over |= labels == BodyPart.LOWER_GARMENT
    if warped.category == "lower" and tuck != "in":
        over |= labels == BodyPart.UPPER_GARMENT
    return _soft(over)


def _own_colour(colour: Colour, front: NDArray[np.float32]) -> Colour:
    """Colours of what is in front, its soft rim taken from further inside: nothing old shines through there."""
    inner = cv2.erode((front > 0.98).astype(np.uint8), np.ones((3, 3), np.uint8))
    if not inner.any():
        return colour
    _, nearest = cv2.distanceTransformWithLabels(1 - inner, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(inner)
    at = np.zeros((int(nearest.max()) + 1, 2), np.intp)
    at[nearest[rows, columns]] = np.stack([rows, columns], 1)
    source = at[nearest]
    return np.asarray(colour[source[..., 0], source[..., 1]], np.float32)


def _soft(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A mask with an anti-aliased edge."""
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.9)
    return np.asarray(np.clip(blurred * 1.6 - 0.3, 0, 1), np.float32)


def _under(
    colour: Colour, labels: LabelMap, warped: PiecedGarment, old: NDArray[np.bool_], plate: Colour
) -> tuple[Colour, NDArray[np.bool_]]:
    """What shows where the old garment is gone, and where that is a painted arm."""
    under, bare = plate, _bare_inside(labels, warped, old)
    lower = labels == BodyPart.LOWER_GARMENT
    if warped.category == "upper" and lower.any():
        inner = cv2.erode(lower.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        extended = spread(colour, inner) + grain(colour, inner)[..., None]
        under = under + (extended - under) * _soft((bare == BodyPart.OTHER) & old)[..., None]
    parts = BARED[warped.category]
    shade = light.shaded(warped.relief, light.on_skin(colour, labels == BodyPart.FACE))
    painted, opacity = skin.paint(colour, labels, bare, shade, parts, old)
    under = under + (painted - under) * opacity[..., None]
    arms = np.isin(bare, (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM)) & old
    return np.asarray(under, np.float32), arms


def _bare_inside(labels: LabelMap, warped: PiecedGarment, old: NDArray[np.bool_]) -> LabelMap:
    """The bare body, grown into what is left open well inside the person."""
    size = max(3, round(0.05 * warped.unit) | 1)
    solid = (labels != BodyPart.BACKGROUND).astype(np.uint8)
    open_ = old & (warped.bare == BodyPart.BACKGROUND)
    open_ &= cv2.erode(solid, np.ones((size, size), np.uint8)) > 0
    if not open_.any() or not warped.bare.any():
        return warped.bare
    distance, nearest = cv2.distanceTransformWithLabels(
        (warped.bare == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(int(nearest.max()) + 1, np.uint8)
    values[nearest[warped.bare > 0]] = warped.bare[warped.bare > 0]
    grown = warped.bare.copy()
    near = open_ & (distance < 0.12 * warped.unit)
    grown[near] = values[nearest[near]]
    return LabelMap(grown)


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


def _before(
    canvas: Colour, colour: Colour, x: SynthesisInput, warped: PiecedGarment, alpha: NDArray[np.float32]
) -> Colour:
    """The dressed person before a plain background."""
    assert x.background is not None
    matte = x.person.person.astype(np.float32) / 255
    old_only = _old(x.person.labels, warped) & (warped.bare == BodyPart.BACKGROUND)
    matte = np.where(old_only, 0, matte)
    matte = np.maximum(matte, alpha)[..., None]
    return np.asarray(np.array(x.background, np.float32) * (1 - matte) + canvas * matte, np.float32)


def _agnostic(image: RGBImage, labels: LabelMap, person: NDArray[np.uint8], old: NDArray[np.bool_]) -> RGBImage:
    """The person on grey with the replaced garment greyed out, as VITON-style networks are fed."""
    matte = np.maximum(person, (labels != BodyPart.BACKGROUND).astype(np.uint8) * 255).astype(np.float32) / 255
    matte = np.where(cv2.dilate(old.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0, 0, matte)[..., None]
    return RGBImage(np.rint(GREY + (image - np.float32(GREY)) * matte).astype(np.uint8))
