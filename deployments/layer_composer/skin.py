"""Bare arms, legs and necks painted where clothes hid them, in the person's own tone."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.layer_composer.fill import Colour, grain, spread
from modiste.image import LabelMap, RGBImage
from modiste.labels import BodyPart

LIMBS = (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM, BodyPart.LEFT_LEG, BodyPart.RIGHT_LEG)
ENOUGH = 60
"""Pixels of visible skin from which a part's own tone is taken."""


def tone(colour: Colour, labels: LabelMap, part: BodyPart) -> NDArray[np.float32]:
    """Median Lab-like colour of the part, else of face and neck, else of any limb."""
    groups = ((part,), (BodyPart.FACE, BodyPart.NECK), LIMBS)
    for group in groups:
        visible = cv2.erode(np.isin(labels, group).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        if np.count_nonzero(visible) >= ENOUGH:
            pixels = colour[visible]
            bright = pixels.sum(axis=1)
            middle = (bright >= np.quantile(bright, 0.3)) & (bright <= np.quantile(bright, 0.9))
            return np.asarray(np.median(pixels[middle], axis=0), np.float32)
    return np.array([200, 160, 140], np.float32)


def without_cloth(image: RGBImage, labels: LabelMap, old: NDArray[np.bool_]) -> LabelMap:
    """Labels in which cloth between the fingers, taken for skin, is given back to a plain worn garment.

    image: [H, W, 3] RGB; old: [H, W], the worn garment
    """
    arms = np.isin(labels, (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM))
    inner = cv2.erode(old.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    sure = cv2.erode(arms.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if np.count_nonzero(inner) < 400 or np.count_nonzero(sure) < ENOUGH:
        return labels
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    cloth, bare = np.median(lab[inner], axis=0), np.median(lab[sure], axis=0)
    if float(np.mean(np.linalg.norm(lab[inner] - cloth, axis=1))) > 18 or float(np.linalg.norm(cloth - bare)) < 35:
        return labels
    to_cloth, to_skin = (np.linalg.norm(lab - colour, axis=2) for colour in (cloth, bare))
    like_cloth = (~sure & (to_cloth < 0.7 * to_skin)) | (to_cloth < 0.5 * to_skin)
    other = (labels == BodyPart.OTHER) & (to_cloth < 25)
    edge = ((arms & like_cloth) | other) & (cv2.dilate(old.astype(np.uint8), np.ones((25, 25))) > 0)
    values, counts = np.unique(labels[inner], return_counts=True)
    cleaned = labels.copy()
    cleaned[edge] = values[np.argmax(counts)]
    return LabelMap(cleaned)


def paint(
    colour: Colour,
    labels: LabelMap,
    bare: LabelMap,
    shade: NDArray[np.float32],
    parts: tuple[BodyPart, ...],
    wanted: NDArray[np.bool_],
) -> tuple[Colour, NDArray[np.float32]]:
    """Skin of some parts for `wanted` pixels.

    bare:    which part of the body each pixel shows when undressed (BodyPart), 0 outside
    shade:   brightness of the bare limbs, 1 where they face the camera
    returns: colour; opacity [H, W] 0-1 of the painted skin, soft at the limbs' edges
    """
    painted, weight = np.zeros_like(colour), np.full(labels.shape, 1e-3, np.float32)
    union = np.isin(bare, parts)
    for part in parts:
        area = bare == part
        if not (area & wanted).any():
            continue
        own = labels == part
        if part is BodyPart.NECK:
            own = own | (labels == BodyPart.FACE)
        known = cv2.erode(own.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        sparse = np.count_nonzero(known) < 0.12 * np.count_nonzero(area)
        base = tone(colour, labels, BodyPart.FACE if sparse else part)
        if part is BodyPart.NECK:
            # What shows of a neck lies in the chin's shadow; the chest does not.
            base = 0.35 * base + 0.65 * tone(colour, labels, BodyPart.FACE)
        profile = np.ones(labels.shape, np.float32)
        if part in LIMBS:
            profile = shade / float(shade[known].mean() if known.any() else shade[area].mean())
        flat = np.broadcast_to(base, colour.shape) * profile[..., None]
        # Near visible skin its own colours run on; farther away the plain tone takes over.
        if np.count_nonzero(known) >= ENOUGH:
            ratio = np.where(known[..., None], colour / np.maximum(flat, 8), 1.0).astype(np.float32)
            near = np.clip(spread(ratio, known | ~_near(known)), 0.6, 1.5)
            blur = cv2.GaussianBlur(near, (0, 0), 0.006 * max(labels.shape))
            flat = flat * blur
        rough = flat + grain(colour, known)[..., None]
        edge = cv2.GaussianBlur(area.astype(np.float32), (0, 0), 2.0)
        edge = np.clip(edge * 2.4 - 0.7, 0, 1)
        painted += rough * edge[..., None]
        weight += edge
    opacity = np.clip(cv2.GaussianBlur(union.astype(np.float32), (0, 0), 2.0) * 2.4 - 0.7, 0, 1)
    return painted / weight[..., None], np.where(weight > 0.01, opacity, 0).astype(np.float32)


def _near(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    size = max(3, round(0.08 * max(area.shape)) | 1)
    return np.asarray(cv2.dilate(area.astype(np.uint8), np.ones((size, size), np.uint8)) > 0)
