"""What the network does not tell apart, told by the pose: upper and lower garment, left and right, arm and leg.

Lengths are in shoulder widths, so that nothing depends on how large the person is.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.geometry import Matrix, Points, similarity
from modiste.image import Keypoints, LabelMap, RGBImage
from modiste.labels import JOINT, BodyPart

Flags = NDArray[np.bool_]
Field = NDArray[np.float32]

UNIT = 64
"""Pixels of a shoulder width in the upright patch around the hips."""
REACH_ACROSS, REACH_ALONG = 1.1, 0.7
WINDOW = 9
"""Rows above and below a possible hem whose colours are compared."""
FLAT = 7.0
"""Lab difference under which there is no hem to be seen."""
FOREARM = 0.17

LIMBS: Final[tuple[tuple[BodyPart, str, str, float, float, float], ...]] = (
    (BodyPart.NECK, "nose", "neck", 0.16, 0.0, 1.0),
    (BodyPart.NECK, "neck", "mid_hip", 0.42, 0.0, 0.85),
    (BodyPart.LEFT_ARM, "left_shoulder", "left_elbow", 0.15, 0.0, 1.0),
    (BodyPart.LEFT_ARM, "left_elbow", "left_wrist", 0.12, 0.0, 1.0),
    (BodyPart.LEFT_ARM, "left_elbow", "left_wrist", 0.22, 1.0, 1.6),
    (BodyPart.RIGHT_ARM, "right_shoulder", "right_elbow", 0.15, 0.0, 1.0),
    (BodyPart.RIGHT_ARM, "right_elbow", "right_wrist", 0.12, 0.0, 1.0),
    (BodyPart.RIGHT_ARM, "right_elbow", "right_wrist", 0.22, 1.0, 1.6),
    (BodyPart.LEFT_LEG, "left_hip", "left_knee", 0.2, 0.2, 1.0),
    (BodyPart.LEFT_LEG, "left_knee", "left_ankle", 0.18, 0.0, 1.25),
    (BodyPart.RIGHT_LEG, "right_hip", "right_knee", 0.2, 0.2, 1.0),
    (BodyPart.RIGHT_LEG, "right_knee", "right_ankle", 0.18, 0.0, 1.25),
)
"""Part, from, to, half thickness, where on that line the limb starts and ends (hands and feet go past the joint)."""


@dataclass(frozen=True, slots=True)
class Body:
    """The pose as the splits need it. unit: shoulder width in pixels, never less than the torso's length suggests."""

    keypoints: Keypoints
    unit: float

    def at(self, joint: str) -> Points:
        return np.asarray(self.keypoints[JOINT[joint], :2], np.float32)


def body_of(keypoints: Keypoints) -> Body:
    shoulders = float(np.linalg.norm(keypoints[JOINT["left_shoulder"], :2] - keypoints[JOINT["right_shoulder"], :2]))
    torso = float(np.linalg.norm(keypoints[JOINT["neck"], :2] - keypoints[JOINT["mid_hip"], :2]))
    # Shoulders seen from the side are narrow; the torso stays as long as it is.
    return Body(keypoints, max(shoulders, 0.55 * torso, 1.0))


def limb_parts(body: Body, skin: Flags) -> LabelMap:
    """The nearest limb of each skin pixel, distances measured in the limb's own thickness.

    skin: [H, W]; returns [H, W] with 0 outside `skin`
    """
    rows, columns = np.nonzero(skin)
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    parts = np.array([limb[0] for limb in LIMBS], np.uint8)
    distances = [
        distance_to_segment(points, body.at(joint), body.at(towards), first, last) / (thickness * body.unit)
        for _, joint, towards, thickness, first, last in LIMBS
    ]
    labels = np.zeros(skin.shape, np.uint8)
    labels[rows, columns] = parts[np.argmin(distances, axis=0)]
    return LabelMap(labels)


def distance_to_segment(points: Points, start: Points, end: Points, first: float, last: float) -> Field:
    """points: [K, 2] -> [K], pixels, to the line from `first` to `last` (0 = start, 1 = end)."""
    along = end - start
    position = np.clip(((points - start) @ along) / max(float(along @ along), 1e-6), first, last)
    return np.asarray(np.linalg.norm(points - start - position[:, None] * along, axis=1), np.float32)


def lower_garment(body: Body, image: RGBImage, clothes: Flags, skin: Flags) -> Flags:
    """Which cloth is worn below the waist: under the hem that colour shows near the hips, or under the hip line.

    image: [H, W, 3]; clothes, skin: [H, W]; returns [H, W]
    """
    height, width = clothes.shape
    matrix, size = _upright(body)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    nearest = cv2.INTER_NEAREST
    patch = cv2.warpAffine(lab, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    cloth = cv2.warpAffine(clothes.astype(np.uint8), matrix, size, flags=nearest).astype(bool)
    bare = cv2.warpAffine(skin.astype(np.uint8), matrix, size, flags=nearest).astype(bool)
    hem = _hem(patch.astype(np.float32), cloth, bare)
    row = np.arange(size[1], dtype=np.float32)[:, None]
    # 1 below the hem; linear resampling of a soft step keeps the line smooth in the picture.
    step = np.clip(row - hem[None] + 0.5, 0, 1)
    below = cv2.warpAffine(
        step, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    lower = clothes & (below > 0.5)
    lower |= _waistband(body, clothes & ~lower, skin)
    return np.asarray(lower & ~_sleeves(body, lab, clothes, lower), np.bool_)


def _waistband(body: Body, upper: Flags, skin: Flags) -> Flags:
    """Cloth at the hips that a bare belly parts from the garment on the chest."""
    neck, hips = body.at("neck"), body.at("mid_hip")
    x, width = round(float(hips[0])), max(2, round(0.15 * body.unit))
    columns = slice(max(0, x - width), max(1, x + width))
    rows = slice(max(0, round(float(neck[1] + 0.35 * (hips[1] - neck[1])))), max(1, round(float(hips[1]))))
    belly = skin[rows, columns].mean(axis=1) if skin[rows, columns].size else np.zeros(0)
    bare = np.flatnonzero(belly > 0.8)
    if len(bare) < 0.1 * body.unit:
        return np.zeros(upper.shape, np.bool_)
    below = upper.copy()
    below[: rows.start + int(bare[-1])] = False
    return below


def _upright(body: Body) -> tuple[Matrix, tuple[int, int]]:
    """Picture to a patch in which the torso is upright and the hips are in the middle; (width, height) of it."""
    neck, hips = body.at("neck"), body.at("mid_hip")
    down = (hips - neck) / max(float(np.linalg.norm(hips - neck)), 1e-6)
    width, height = round(2 * REACH_ACROSS * UNIT), round(2 * REACH_ALONG * UNIT)
    middle = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
    source = np.stack([hips, hips + down * body.unit]).astype(np.float32)
    target = np.stack([middle, middle + np.array([0, UNIT], np.float32)]).astype(np.float32)
    return similarity(source, target), (width, height)


def _hem(patch: Field, cloth: Flags, bare: Flags) -> Field:
    """The row of the hem in each column of the upright patch: the cheapest path from side to side.

    patch: [h, w, 3] Lab; cloth, bare: [h, w]; returns [w]
    """
    height, width = cloth.shape
    contrast = _contrast(patch, cloth)
    # Only the sharpest row of a broad edge counts.
    crest = cv2.dilate(contrast, np.ones((2 * WINDOW + 1, 1), np.uint8))
    gain = np.minimum(contrast / 45, 1) * (contrast / np.maximum(crest, 1e-3)) ** 6
    # Skin between two garments divides them as well as a seam does.
    gain = np.where(bare, 0.6, gain)
    # Hems lie rather below the hip joints than above, and below their own ribbing.
    away = (np.arange(height, dtype=np.float32) - (height - 1) / 2 - 0.12 * UNIT) / (REACH_ALONG * UNIT)
    cost = 0.35 * away[:, None] ** 2 - gain
    path = _cheapest_path(cost.astype(np.float32))
    on_cloth = cloth[path, np.arange(width)] & ~bare[path, np.arange(width)]
    seen = contrast[path, np.arange(width)][on_cloth]
    gap = bare[path, np.arange(width)].sum() > 0.3 * max(1, cloth.any(axis=0).sum())
    if not gap and (seen.size == 0 or float(np.median(seen)) < FLAT):
        return np.full(width, (height - 1) / 2, np.float32)
    return np.asarray(cv2.blur(path.astype(np.float32)[None], (5, 1), borderType=cv2.BORDER_REPLICATE)[0], np.float32)


def _contrast(patch: Field, cloth: Flags) -> Field:
    """[h, w]: how different the cloth just above is from the cloth just below, in mean and spread of Lab."""
    weight = cloth.astype(np.float32)
    kernel = np.ones((WINDOW, 5), np.float32) / (WINDOW * 5)

    def mean(of: Field, shift: int) -> Field:
        summed = cv2.filter2D(of, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        moved = np.roll(summed, shift, axis=0)
        return np.asarray(moved, np.float32)

    described = []
    offset = WINDOW // 2 + 1
    for shift in (offset, -offset):
        covered = mean(weight, shift)
        colour = mean(patch * weight[..., None], shift) / np.maximum(covered, 1e-3)[..., None]
        square = mean(patch**2 * weight[..., None], shift) / np.maximum(covered, 1e-3)[..., None]
        spread = np.sqrt(np.maximum(square - colour**2, 0))
        described.append((covered, colour, spread))
    (cover_above, above, rough_above), (cover_below, below, rough_below) = described
    difference = np.linalg.norm(above - below, axis=2) + 0.5 * np.linalg.norm(rough_above - rough_below, axis=2)
    difference[(cover_above < 0.5) | (cover_below < 0.5)] = 0
    difference[:offset], difference[-offset:] = 0, 0
    return np.asarray(difference, np.float32)


def _cheapest_path(cost: Field) -> NDArray[np.intp]:
    """cost: [h, w] -> the row in each column, neighbours at most one row apart (dynamic programming)."""
    height, width = cost.shape
    total = cost.copy()
    came = np.zeros((height, width), np.intp)
    rows = np.arange(height)
    for x in range(1, width):
        before = np.pad(total[:, x - 1], 1, constant_values=np.inf)
        choices = np.stack([before[:-2] + 0.05, before[1:-1], before[2:] + 0.05])
        best = choices.argmin(axis=0)
        came[:, x] = rows + best - 1
        total[:, x] += choices[best, rows]
    path = np.zeros(width, np.intp)
    path[-1] = total[:, -1].argmin()
    for x in range(width - 1, 0, -1):
        path[x - 1] = came[path[x], x]
    return path


def _sleeves(body: Body, lab: NDArray[np.uint8], clothes: Flags, lower: Flags) -> Flags:
    """Cloth below the hem that belongs to a hanging sleeve: along a forearm, and in the upper garment's colour."""
    rows, columns = np.nonzero(lower)
    upper = lab[clothes & ~lower].astype(np.float32)
    found = np.zeros(clothes.shape, np.bool_)
    if len(rows) < 50 or len(upper) < 50:
        return found
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    reach = np.min(
        [
            distance_to_segment(points, body.at(f"{side}_elbow"), body.at(f"{side}_wrist"), 0.0, 1.1)
            for side in ("left", "right")
        ],
        axis=0,
    )
    near = reach < FOREARM * body.unit
    worn = lab[rows, columns].astype(np.float32)
    if near.all() or not near.any():
        return found
    above, below = np.median(upper, axis=0), np.median(worn[~near], axis=0)
    like_upper = np.linalg.norm(worn - above, axis=1) < np.linalg.norm(worn - below, axis=1)
    sleeve = near & like_upper
    found[rows[sleeve], columns[sleeve]] = True
    # One colour here and there is no sleeve.
    return np.asarray(cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0)
