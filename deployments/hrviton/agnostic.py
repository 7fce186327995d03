"""The person without the garment that is to be replaced: grey where it was, and a label map that forgets it.

Joints are OpenPose BODY_25's, float64 [13 or more, 2], x and y in pixels of the picture, (0, 0) where unseen. Pictures
are best 768 pixels wide. Strokes are Pillow's, as in training: the networks know the look of these masks.
"""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deployments.hrviton.labels import PARSED
from modiste.errors import CannotFit
from modiste.image import LabelMap, RGBImage
from modiste.labels import JOINT

Joints = NDArray[np.float64]

GREY: Final = 128
INK: Final = 1
"""What strokes are drawn with: a mask's True."""
NECK: Final = JOINT["neck"]
RIGHT_SHOULDER, LEFT_SHOULDER = JOINT["right_shoulder"], JOINT["left_shoulder"]
RIGHT_HIP, LEFT_HIP = JOINT["right_hip"], JOINT["left_hip"]
ARMS: Final = {
    "left_arm": (LEFT_SHOULDER, JOINT["left_elbow"], JOINT["left_wrist"]),
    "right_arm": (RIGHT_SHOULDER, JOINT["right_elbow"], JOINT["right_wrist"]),
}
WORN: Final = ("upper_clothes", "dress", "coat", "torso_skin")
"""What the label map forgets everywhere."""
KEPT: Final = (
    "sunglasses", "face", "pants", "skirt", "left_leg", "right_leg", "left_shoe", "right_shoe",
)  # fmt: skip
"""What stays visible wherever it lies."""
SLEEVE, ELBOW, WRIST = 100, 150, 40
"""The label map's strokes along an arm: width of the line, radius of the discs inside and at its end; pixels."""


def agnostic_labels(labels: LabelMap, joints: Joints) -> LabelMap:
    """Clear clothes, neck, and the arms from the shoulders to shortly before the hands.

    labels:  uint8 [H, W], 20 classes
    returns: the same, 0 where cleared
    """
    cleared = _chosen(labels, *WORN)
    for name, chain in ARMS.items():
        canvas, draw = _canvas(labels)
        before = RIGHT_SHOULDER if chain[0] == LEFT_SHOULDER else LEFT_SHOULDER
        for joint in chain:
            if _seen(joints, before, joint):
                _line(draw, joints, (before, joint), SLEEVE)
                _ellipse(draw, joints[joint], *((WRIST, WRIST) if joint == chain[-1] else (ELBOW, ELBOW)))
                before = joint
        cleared |= _chosen(labels, name) & _drawn(canvas)
    return LabelMap(np.where(cleared, np.uint8(0), labels))


def agnostic_image(image: RGBImage, labels: LabelMap, joints: Joints) -> RGBImage:
    """Paint trunk, neck and arms grey; hands, head and everything below the trunk stay.

    image: uint8 [H, W, 3] RGB; the rest as of `covered`
    """
    return RGBImage(np.where(covered(labels, joints)[..., None], np.uint8(GREY), image))


def check(joints: Joints) -> None:
    """raises: CannotFit where a shoulder or a hip is not seen"""
    if not _seen(joints, RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_HIP, LEFT_HIP):
        raise CannotFit("expected both shoulders and both hips in the photo, got a pose that lacks one of them")


def covered(labels: LabelMap, joints: Joints) -> NDArray[np.bool_]:
    """Where the picture is painted grey, [H, W].

    labels: uint8 [H, W], 20 classes
    raises: CannotFit where a shoulder or a hip is not seen
    """
    check(joints)
    joints = square_hips(joints)
    unit = int(_apart(joints, RIGHT_SHOULDER, LEFT_SHOULDER) / 16) + 1
    canvas, draw = _canvas(labels)
    _trunk(draw, joints, unit)
    kept = _chosen(labels, *KEPT)
    for name, chain in ARMS.items():
        _arm(draw, joints, chain, unit)
        kept |= _chosen(labels, name) & ~_drawn(_sleeve(labels, joints, chain, unit))
    return _drawn(canvas) & ~kept


def square_hips(joints: Joints) -> Joints:
    """Hips as far apart as the shoulders, about the same middle; what a pose network gives is narrower than a body."""
    middle = (joints[RIGHT_HIP] + joints[LEFT_HIP]) / 2
    hips, shoulders = _apart(joints, LEFT_HIP, RIGHT_HIP), _apart(joints, LEFT_SHOULDER, RIGHT_SHOULDER)
    squared = joints.copy()
    for hip in (RIGHT_HIP, LEFT_HIP):
        squared[hip] = middle + (joints[hip] - middle) / hips * shoulders
    return squared


def _trunk(draw: ImageDraw.ImageDraw, joints: Joints, unit: int) -> None:
    for hip in (RIGHT_HIP, LEFT_HIP):
        _ellipse(draw, joints[hip], 3 * unit, 6 * unit)
    _line(draw, joints, (RIGHT_SHOULDER, RIGHT_HIP), 6 * unit)
    _line(draw, joints, (LEFT_SHOULDER, LEFT_HIP), 6 * unit)
    _line(draw, joints, (RIGHT_HIP, LEFT_HIP), 12 * unit)
    corners = (RIGHT_SHOULDER, LEFT_SHOULDER, LEFT_HIP, RIGHT_HIP)
    draw.polygon([tuple(joints[corner]) for corner in corners], INK, INK)
    x, y = joints[NECK]
    draw.rectangle((x - 5 * unit, y - 9 * unit, x + 5 * unit, y), INK, INK)
    _line(draw, joints, (RIGHT_SHOULDER, LEFT_SHOULDER), 12 * unit)
    for shoulder in (RIGHT_SHOULDER, LEFT_SHOULDER):
        _ellipse(draw, joints[shoulder], 5 * unit, 6 * unit)


def _arm(draw: ImageDraw.ImageDraw, joints: Joints, chain: tuple[int, int, int], unit: int) -> None:
    for before, joint in pairwise(chain):
        if _seen(joints, before, joint):
            _line(draw, joints, (before, joint), 10 * unit)
            _ellipse(draw, joints[joint], 5 * unit, 5 * unit)


def _sleeve(labels: LabelMap, joints: Joints, chain: tuple[int, int, int], unit: int) -> Image.Image:
    """Where an arm may be covered: less around the last joint that is seen, so that the hand stays."""
    canvas, draw = _canvas(labels)
    last = chain[0]
    _ellipse(draw, joints[last], 5 * unit, 6 * unit)
    for before, joint in pairwise(chain):
        if _seen(joints, before, joint):
            _line(draw, joints, (before, joint), 10 * unit)
            last = joint
            if joint != chain[-1]:
                _ellipse(draw, joints[joint], 5 * unit, 5 * unit)
    _ellipse(draw, joints[last], 4 * unit, 4 * unit)
    return canvas


def _canvas(labels: LabelMap) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (labels.shape[1], labels.shape[0]), 0)
    return canvas, ImageDraw.Draw(canvas)


def _drawn(canvas: Image.Image) -> NDArray[np.bool_]:
    return np.asarray(canvas).view(np.bool_)


def _line(draw: ImageDraw.ImageDraw, joints: Joints, ends: tuple[int, int], width: int) -> None:
    draw.line([tuple(joints[end]) for end in ends], INK, width)


def _ellipse(draw: ImageDraw.ImageDraw, middle: NDArray[np.float64], across: int, down: int) -> None:
    x, y = middle
    draw.ellipse((x - across, y - down, x + across, y + down), INK, INK)


def _chosen(labels: LabelMap, *names: str) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[[PARSED.index(name) for name in names]] = True
    return table[labels]


def _seen(joints: Joints, *chosen: int) -> bool:
    return bool(joints[list(chosen)].any(axis=1).all())


def _apart(joints: Joints, one: int, other: int) -> float:
    return float(np.linalg.norm(joints[one] - joints[other]))
