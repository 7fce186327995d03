"""The neck between a head and a new collar: what the photo shows of it, and skin painted in below."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.suit_collage.edge import Field, Flags, local_mean
from deployments.suit_collage.jaw import CHEEKS, CHIN, HINGES, JAW, below_jaw, eye_distance, skin_near
from modiste.image import LabelMap, Landmarks, Mask
from modiste.labels import FacePart

BESIDE = 0.4
"""How far beside the neck's outline skin under hair may still be throat, in eye distances."""
LINE_BELOW = 0.42
"""Where the photo's neck ends: this share of the way from the chin to the collar's lowest point ..."""
LINE_MOST = 0.5
"""... but no further than this many eye distances below the jaw."""
FREE_NECK = 0.94
"""Half a neck's width in eye distances ..."""
OF_JAW = 0.9
"""... but no more than this share of the jaw's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collar:
    """Where a suit shows skin. left, right: outermost columns of the opening; top: row of its corners; lower: [W]
    lowest row of the opening in each column (`top` beside it)."""

    left: int
    right: int
    top: int
    lower: NDArray[np.float32]


def collar_of(opening: Mask) -> Collar:
    columns = np.flatnonzero((opening > 127).any(axis=0))
    rows = np.flatnonzero((opening > 127).any(axis=1))
    left, right, top = int(columns[0]), int(columns[-1]), int(rows[0])
    lower = np.full(opening.shape[1], top, np.float32)
    lower[columns] = opening.shape[0] - 1 - (opening[::-1, columns] > 127).argmax(axis=0)
    return Collar(left=left, right=right, top=top, lower=lower)


def cut_line(landmarks: Landmarks, collar: Collar) -> float:
    """How far below the jaw the photo's neck is kept, pixels."""
    chin_x, chin_y = landmarks[CHIN, :2]
    column = int(np.clip(chin_x, collar.left, collar.right))
    room = max(0.0, float(collar.lower[column] - chin_y))
    return min(LINE_BELOW * room, LINE_MOST * eye_distance(landmarks))


def outline(landmarks: Landmarks, labels: LabelMap, collar: Collar) -> tuple[Field, Field]:
    """Left and right side of the neck in each row, [H] each: from behind the jaw to the corners of the opening.

    A neck is a column under the skull, so its axis lies midway between the jaw's hinges however the face is turned.
    Its width is what the photo shows against the background, or a usual one.
    """
    unit = eye_distance(landmarks)
    rows = np.arange(labels.shape[0], dtype=np.float32)
    hinges = landmarks[list(HINGES), :2]
    axis, top = float(hinges[:, 0].mean()), float(hinges[:, 1].mean())
    chin = float(landmarks[CHIN, 1])
    shown = LabelMap(labels[max(0, int(chin - 0.2 * unit)) : max(0, int(chin + 0.35 * unit))])
    middle = (collar.left + collar.right) / 2
    usual = min(FREE_NECK * unit, OF_JAW * float(np.linalg.norm(np.ptp(landmarks[list(HINGES)], axis=0))) / 2)
    sides = []
    for corner, outward in ((collar.left, -1), (collar.right, 1)):
        half = _photographed_half(shown, axis, outward)
        half = usual if half is None else float(np.clip(half, 0.8 * usual, 1.06 * usual))
        hinge = max(half / 0.9, abs(float(hinges[0, 0]) - axis))
        # From the hinge it draws in under the jaw ...
        drawn = np.clip(1 - (rows - top) / (0.6 * unit), 0, 1) ** 2
        side = axis + outward * (half + (0.9 * hinge - half) * drawn)
        # ... towards the collar it follows that, where the collar is narrower or stands elsewhere ...
        waist = middle + outward * min(abs(corner - middle), half)
        start = min(max(top, chin - 0.3 * unit), collar.top - 0.35 * unit)
        down = np.clip((rows - start) / (collar.top - start), 0, 1) ** 1.2
        side = side + (waist - side) * down
        # ... and in a wide collar it spreads to the shoulders only inside.
        deeper = np.clip((rows - collar.top) / (0.45 * unit), 0, 1) ** 1.5
        sides.append((side + (corner - side) * deeper).astype(np.float32))
    return sides[0], sides[1]


def _photographed_half(rows: LabelMap, axis: float, outward: int) -> float | None:
    """Median distance from the axis at which the neck ends against background; None where under six rows show it."""
    found = []
    for row in rows:
        neck = np.flatnonzero(row == FacePart.NECK)
        if len(neck) == 0:
            continue
        end = int(neck[-1] if outward > 0 else neck[0])
        beside = row[np.clip(end + outward * np.arange(2, 7), 0, len(row) - 1)]
        if (beside == FacePart.BACKGROUND).all():
            found.append(outward * (end - axis))
    return float(np.median(found)) if len(found) >= 6 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neck:
    """colour: [H, W, 3] 0-255; alpha: [H, W] 0-1, not yet hidden by the suit's front."""

    colour: Field
    alpha: Field


def paint(image: NDArray[np.uint8], landmarks: Landmarks, labels: LabelMap, seen: Mask, collar: Collar) -> Neck:
    """The whole neck down to the bottom of the opening: photographed skin above the cut line, painted skin below.

    image: [H, W, 3]; labels: `FacePart` [H, W]
    """
    height, width = labels.shape
    unit = eye_distance(landmarks)
    below = below_jaw(landmarks, height, width)
    left, right = outline(landmarks, labels, collar)
    columns = np.arange(width, dtype=np.float32)[None]
    body = np.clip(np.minimum(columns - left[:, None], right[:, None] - columns) + 0.5, 0, 1)
    body[: max(0, int(landmarks[list(JAW), 1].min()))] = 0
    body[np.arange(height)[:, None] > collar.lower[None] + 2] = 0
    aside = np.maximum(left[:, None] - columns, columns - right[:, None])
    on_left = columns < (left + right)[:, None] / 2
    beside = _between_hair(labels, body, on_left, unit) & (seen > 0) & (aside < BESIDE * unit)
    body[beside & (np.arange(height)[:, None] < collar.top)] = 1
    valid = _photographed(labels, seen, unit) & (below < cut_line(landmarks, collar)) & (body > 0)
    valid &= ~_much_darker(image, valid, skin_near(landmarks, labels, CHEEKS, unit))
    tone = _tone(image, landmarks, labels, valid, unit)
    picture = image.astype(np.float32)
    spread = local_mean(picture, valid.astype(np.float32), 0.04 * unit)
    away = cv2.distanceTransform((~valid).astype(np.uint8), cv2.DIST_L2, 3) / unit
    some = valid.sum() >= 0.02 * unit**2
    settled: Field = np.clip(away / 0.4, 0, 1) if some else np.ones_like(away)
    painted = spread + (tone - spread) * (settled * (2 - settled) * 0.85)[..., None]
    painted *= _shading(below, left, right, collar, settled, unit)[..., None]
    painted += _grain(picture, labels, unit)[..., None]
    # The seam between photographed and painted skin is as wide as the line allows.
    keep = cv2.GaussianBlur(valid.astype(np.float32), (0, 0), 0.05 * unit)
    keep = np.clip(2 * keep - 1, 0, 1)[..., None]
    colour = painted * (1 - keep) + picture * keep
    colour *= _under_collar(collar, height, width, unit)[..., None]
    return Neck(colour=np.clip(colour, 0, 255).astype(np.float32), alpha=body.astype(np.float32))


def _between_hair(labels: LabelMap, body: Field, on_left: Flags, unit: float) -> Flags:
    """Neck skin beside the neck's outline with hair close by further out: without it the ground would show there.

    Only what a closing of head and neck fills, so that it ends round where the hair ends.
    """
    hair = np.isin(labels, (FacePart.HAIR, FacePart.HAT))
    outwards = np.where(on_left, np.cumsum(hair, axis=1) > 0, np.cumsum(hair[:, ::-1], axis=1)[:, ::-1] > 0)
    side = 2 * max(1, round(0.15 * unit)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    taken = hair | np.isin(labels, (FacePart.SKIN, FacePart.LEFT_EAR, FacePart.RIGHT_EAR)) | (body > 0.5)
    closed = cv2.morphologyEx(taken.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    skin = (labels == FacePart.NECK) & (body < 1) & outwards & closed
    # Under the soft rims of hair and face, too.
    under = cv2.dilate(skin.astype(np.uint8), kernel[::2, ::2]) > 0
    return np.asarray(under & (taken | skin) & closed)


def _photographed(labels: LabelMap, seen: Mask, unit: float) -> Flags:
    """Neck skin, away from whatever lies next to it: rims hold shadows and foreign colour."""
    side = 2 * max(1, round(0.05 * unit)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    skin = np.isin(labels, (FacePart.NECK, FacePart.SKIN)) & (seen > 0)
    inner = cv2.erode(skin.astype(np.uint8), kernel, borderValue=0)
    return np.asarray((inner > 0) & (labels == FacePart.NECK))


def _much_darker(image: NDArray[np.uint8], skin: Flags, cheeks: Flags) -> Flags:
    """[H, W]: collars and deep shadow that the parser took for skin, with a rim."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 2).astype(np.float32)
    usual = max(float(np.median(grey[of])) * share if of.any() else 0.0 for of, share in ((skin, 1), (cheeks, 0.8)))
    return np.asarray(cv2.dilate((grey < 0.62 * usual).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)


def _tone(image: NDArray[np.uint8], landmarks: Landmarks, labels: LabelMap, valid: Flags, unit: float) -> Field:
    """[3] the neck's own colour, mixed with the darkened face's where little of the neck is seen."""
    spot = skin_near(landmarks, labels, CHEEKS, unit)
    face = np.median(image[spot], axis=0) if spot.any() else np.full(3, 160.0)
    dark = face * 0.9
    share = 0.5 * min(1.0, float(valid.sum()) / (0.5 * unit**2))
    if share == 0:
        return np.asarray(dark, np.float32)
    skin = image[valid].astype(np.float32)
    bright = skin[skin.sum(axis=1) >= np.percentile(skin.sum(axis=1), 60)]
    own = np.median(bright, axis=0)
    # A neck in its own chin's shadow is no measure for the skin below.
    own = own * np.clip(0.85 * face.sum() / max(own.sum(), 1), 1, 2)
    return np.asarray(dark * (1 - share) + own * share, np.float32)


def _shading(below: Field, left: Field, right: Field, collar: Collar, settled: Field, unit: float) -> Field:
    """[H, W] factor: round towards the sides, darker under the jaw; only where skin is painted."""
    columns = np.arange(below.shape[1], dtype=np.float32)[None]
    centre, half = ((left + right) / 2)[:, None], np.maximum((right - left) / 2, 1)[:, None]
    across = np.clip(np.abs(columns - centre) / half, 0, 1)
    depth = np.arange(below.shape[0], dtype=np.float32)[:, None] - collar.top
    # A chest is flatter than a neck.
    roundness = 0.22 * np.exp(-np.clip(depth, 0, None) / (0.8 * unit))
    side = 1 - roundness * across**2.5
    jaw = 1 - 0.2 * np.exp(-((np.clip(below, 0, None) / (0.3 * unit)) ** 2))
    return np.asarray(1 + (side * jaw - 1) * settled, np.float32)


def _under_collar(collar: Collar, height: int, width: int, unit: float) -> Field:
    """[H, W] factor: the shadow that the collar's front throws on the skin behind it."""
    above_edge = collar.lower[None] - np.arange(height, dtype=np.float32)[:, None]
    edge = np.ones((height, width), np.uint8)
    edge[above_edge < 0] = 0
    edge[:, : collar.left], edge[:, collar.right + 1 :] = 0, 0
    distance = cv2.distanceTransform(edge, cv2.DIST_L2, 3)
    shadow = 0.3 * np.exp(-((distance / (0.09 * unit)) ** 2)) * (np.arange(height)[:, None] > collar.top)
    return np.asarray(1 - shadow, np.float32)


def _grain(picture: Field, labels: LabelMap, unit: float) -> Field:
    """[H, W] noise as fine and as strong as the face's, the same for the same picture."""
    grey = picture.mean(axis=2)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 0.02 * unit + 1)
    skin = labels == FacePart.SKIN
    strength = 1.4826 * float(np.median(np.abs(fine[skin]))) if skin.any() else 0.0
    noise = np.random.default_rng(0).normal(0, 1, grey.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.008 * unit + 0.6)
    return np.asarray(noise / max(float(noise.std()), 1e-6) * min(strength, 3.0), np.float32)
