"""Classes and point orders that pictures and models are described in."""

from enum import IntEnum
from typing import Final, Literal

import numpy as np

from modiste.image import Keypoints, LabelMap

SketchCategory = Literal["top", "trousers", "skirt", "hat", "dress"]
"""What a sketch shows, and what kind a catalogue item is."""


class FacePart(IntEnum):
    """CelebAMask-HQ classes (Lee et al., CVPR 2020, arXiv:1907.11922) in the order of the public face parsers.

    Left and right are the person's own.
    """

    BACKGROUND = 0
    SKIN = 1
    LEFT_BROW = 2
    RIGHT_BROW = 3
    LEFT_EYE = 4
    RIGHT_EYE = 5
    GLASSES = 6
    LEFT_EAR = 7
    RIGHT_EAR = 8
    EARRING = 9
    NOSE = 10
    MOUTH = 11
    UPPER_LIP = 12
    LOWER_LIP = 13
    NECK = 14
    NECKLACE = 15
    CLOTH = 16
    HAIR = 17
    HAT = 18


class BodyPart(IntEnum):
    """What a person's picture is made of; left and right are the person's own."""

    BACKGROUND = 0
    HAIR = 1
    FACE = 2
    NECK = 3
    LEFT_ARM = 4
    RIGHT_ARM = 5
    UPPER_GARMENT = 6
    LOWER_GARMENT = 7
    LEFT_LEG = 8
    RIGHT_LEG = 9
    OTHER = 10


class Clothes(IntEnum):
    """The classes of CIHP (Gong et al., ECCV 2018, arXiv:1808.00157), which tell garments apart."""

    BACKGROUND = 0
    HAT = 1
    HAIR = 2
    GLOVE = 3
    SUNGLASSES = 4
    UPPER_CLOTHES = 5
    DRESS = 6
    COAT = 7
    SOCKS = 8
    PANTS = 9
    TORSO_SKIN = 10
    SCARF = 11
    SKIRT = 12
    FACE = 13
    LEFT_ARM = 14
    RIGHT_ARM = 15
    LEFT_LEG = 16
    RIGHT_LEG = 17
    LEFT_SHOE = 18
    RIGHT_SHOE = 19


_BODY_PARTS: Final = {
    BodyPart.HAIR: (Clothes.HAT, Clothes.HAIR),
    BodyPart.FACE: (Clothes.SUNGLASSES, Clothes.FACE),
    BodyPart.NECK: (Clothes.TORSO_SKIN,),
    BodyPart.LEFT_ARM: (Clothes.LEFT_ARM,),
    BodyPart.RIGHT_ARM: (Clothes.RIGHT_ARM,),
    BodyPart.UPPER_GARMENT: (Clothes.UPPER_CLOTHES, Clothes.DRESS, Clothes.COAT),
    BodyPart.LOWER_GARMENT: (Clothes.PANTS, Clothes.SKIRT),
    BodyPart.LEFT_LEG: (Clothes.LEFT_LEG,),
    BodyPart.RIGHT_LEG: (Clothes.RIGHT_LEG,),
    BodyPart.OTHER: (Clothes.GLOVE, Clothes.SOCKS, Clothes.SCARF, Clothes.LEFT_SHOE, Clothes.RIGHT_SHOE),
}
_BODY_PART_OF: Final = np.zeros(len(Clothes), np.uint8)
for _part, _clothes in _BODY_PARTS.items():
    _BODY_PART_OF[list(_clothes)] = _part


def body_parts(clothes: LabelMap) -> LabelMap:
    """[H, W] of `Clothes` -> [H, W] of `BodyPart`; a dress counts as an upper garment."""
    return LabelMap(_BODY_PART_OF[clothes])


BODY_25: Final = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
    "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""OpenPose BODY_25 (Cao et al., TPAMI 2019, arXiv:1812.08008)."""

JOINT: Final = {name: index for index, name in enumerate(BODY_25)}

COCO_18: Final = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
"""OpenPose COCO order: no mid hip, no feet."""


def coco_18(keypoints: Keypoints) -> Keypoints:
    """BODY_25 [25, 3] -> COCO-18 [18, 3]."""
    return Keypoints(np.ascontiguousarray(keypoints[[JOINT[name] for name in COCO_18]]))
