"""From keypoints to a trunk, arms and legs, or a reason why nothing can be put on them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deployments.limb_tps.limbs import STEPS, Limb, trace
from modiste.errors import CannotFit, PersonTooSmall
from modiste.geometry import Points
from modiste.image import Keypoints, LabelMap
from modiste.labels import JOINT, BodyPart

SIDES = ("right", "left")
"""The person's right is on the viewer's left: index 0."""
MIN_SHOULDERS = 60.0
"""Smallest distance between the shoulder joints, pixels."""
SEEN = 0.3
"""Keypoint score from which a joint is believed."""


def _joint(keypoints: Keypoints, name: str) -> Points | None:
    x, y, score = keypoints[JOINT[name]]
    return np.array([x, y], np.float32) if score >= SEEN else None


def trunk_joints(keypoints: Keypoints) -> tuple[Points, Points]:
    """Shoulder and hip joints [2, 2], the hips guessed from the usual proportion where not seen."""
    found = [_joint(keypoints, f"{side}_shoulder") for side in SIDES]
    if found[0] is None or found[1] is None:
        raise CannotFit("expected a person with both shoulders in the picture, got one without")
    shoulders = np.stack([found[0], found[1]])
    across = shoulders[1] - shoulders[0]
    if across[0] <= 0:
        raise CannotFit("expected a person seen from the front, got a back view")
    joint_width = float(np.linalg.norm(across))
    if joint_width < MIN_SHOULDERS:
        raise PersonTooSmall(
            f"expected at least {MIN_SHOULDERS:.0f} pixels between the shoulders, got {joint_width:.0f}"
        )
    if abs(across[1]) > 0.45 * across[0]:
        raise CannotFit("expected an upright person, got one who leans far to a side")
    down = np.array([-across[1], across[0]]) / joint_width
    centre = shoulders.mean(axis=0)
    hips = [_joint(keypoints, f"{side}_hip") for side in SIDES]
    if hips[0] is not None and hips[1] is not None:
        both = np.stack([hips[0], hips[1]])
        torso = float(np.linalg.norm(both.mean(axis=0) - centre))
        if torso > 2.6 * joint_width:
            raise CannotFit("expected a person seen from the front, got a side view")
        if torso > 0.9 * joint_width and both[1, 0] > both[0, 0]:
            return shoulders, both
    middle = centre + down * 1.45 * joint_width
    return shoulders, np.stack([middle - 0.3 * across, middle + 0.3 * across]).astype(np.float32)


def trace_arm(
    side: int,
    labels: LabelMap,
    keypoints: Keypoints,
    solid: NDArray[np.bool_],
    shoulders: Points,
    joint_width: float,
) -> Limb:
    """One arm; joints that are not seen are where they usually hang."""
    elbow, wrist = (_joint(keypoints, f"{SIDES[side]}_{name}") for name in ("elbow", "wrist"))
    start = shoulders[side]
    if elbow is None:
        elbow = (start + np.array([(-1, 1)[side] * 0.1, 0.85]) * joint_width).astype(np.float32)
    if wrist is None:
        wrist = (elbow + (elbow - start) * 0.85).astype(np.float32)
    usual = np.interp(np.linspace(0, 2, STEPS), [0, 0.5, 1, 1.4, 2], [0.185, 0.17, 0.14, 0.13, 0.085]) * joint_width
    part = (BodyPart.RIGHT_ARM, BodyPart.LEFT_ARM)[side]
    return trace((start, elbow, wrist), solid, labels == part, (-1.0, 1.0)[side], usual, (0.55, 1.6))


def alike(first: Limb, second: Limb) -> tuple[Limb, Limb]:
    """Arms of one girth: the thicker one is slimmed from its inner side, which the body may have joined."""
    girth = min(float(np.median(first.radius)), float(np.median(second.radius)))
    arms = []
    for arm in (first, second):
        factor = min(1.0, 1.08 * girth / float(np.median(arm.radius)))
        radius = (arm.radius * factor).astype(np.float32)
        axis = (arm.axis + arm.normal * (arm.radius - radius)[:, None]).astype(np.float32)
        arms.append(replace(arm, axis=axis, radius=radius))
    return arms[0], arms[1]


def trace_legs(
    labels: LabelMap, keypoints: Keypoints, solid: NDArray[np.bool_], hips: Points, unit: float
) -> tuple[Limb, Limb]:
    """Each leg on its own side of the line between them, hands left out."""
    chains = []
    for side in (0, 1):
        knee, ankle = (_joint(keypoints, f"{SIDES[side]}_{name}") for name in ("knee", "ankle"))
        if knee is None:
            knee = (hips[side] + np.array([0, 1.15 * unit])).astype(np.float32)
        if ankle is None:
            ankle = (knee + (knee - hips[side])).astype(np.float32)
        chains.append((hips[side], knee, ankle))
    middle = (np.stack(chains[0]) + np.stack(chains[1])) / 2
    rows = np.arange(labels.shape[0], dtype=np.float32)
    between = np.interp(rows, *middle[np.argsort(middle[:, 1])].T[::-1])
    columns = np.arange(labels.shape[1])[None]
    free = solid & ~np.isin(labels, (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM))
    usual = np.interp(np.linspace(0, 2, STEPS), [0, 0.5, 1, 1.4, 2], [0.26, 0.22, 0.16, 0.15, 0.1]) * unit
    legs = []
    for side, part in enumerate((BodyPart.RIGHT_LEG, BodyPart.LEFT_LEG)):
        own_side = columns < between[:, None] if side == 0 else columns >= between[:, None]
        legs.append(trace(chains[side], free & own_side, labels == part, (-1.0, 1.0)[side], usual, (0.55, 1.7)))
    return legs[0], legs[1]
