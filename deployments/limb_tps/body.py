"""Where a garment can lie on a person: shoulder line, sides at every height, arms and legs as strips."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployments.limb_tps.joints import alike, trace_arm, trace_legs, trunk_joints
from deployments.limb_tps.limbs import Limb
from deployments.limb_tps.trunk import body_armpit, shoulder_cap, shoulder_lines, shoulder_tip, torso_sides
from modiste.geometry import Points
from modiste.image import Keypoints, LabelMap, Mask
from modiste.labels import BodyPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """All in the person's picture; index 0 of pairs is the viewer's left.

    shoulders: collar point to tip, [8, 2] each; caps: tip to the arm's outer side, [10, 2] each; armpits: [2] each
    sides:     x per picture row from `top`, [2, rows]
    under:     how much farther out the cloth goes under an arm that touches the body, [2, rows], pixels
    unit:      distance between the shoulder tips, pixels
    """

    shoulders: tuple[Points, Points]
    caps: tuple[Points, Points]
    armpits: tuple[Points, Points]
    top: int
    sides: NDArray[np.float32]
    under: NDArray[np.float32]
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    hips: Points
    unit: float

    def side(self, index: int, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """x of the torso's outline at some heights."""
        rows = np.arange(self.top, self.top + self.sides.shape[1])
        return np.asarray(np.interp(y, rows, self.sides[index]), np.float32)

    def margin(self, index: int, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cloth under an arm beyond the outline, pixels."""
        rows = np.arange(self.top, self.top + self.sides.shape[1])
        return np.asarray(np.interp(y, rows, self.under[index]), np.float32)


def find_body(labels: LabelMap, keypoints: Keypoints, person: Mask) -> Body:
    """Measure a person who stands facing the camera.

    raises: CannotFit, PersonTooSmall
    """
    shoulders, hips = trunk_joints(keypoints)
    joint_width = float(np.linalg.norm(shoulders[0] - shoulders[1]))
    solid = (labels != BodyPart.BACKGROUND) | (person > 127)
    arms = alike(*(trace_arm(side, labels, keypoints, solid, shoulders, joint_width) for side in (0, 1)))
    tips = [shoulder_tip(shoulders[side], shoulders[1 - side], solid, joint_width) for side in (0, 1)]
    unit = float(np.linalg.norm(tips[0] - tips[1]))
    lines = shoulder_lines(tips, labels, solid, unit)
    armpits = tuple(body_armpit(arms[side], shoulders[side], (1.0, -1.0)[side], unit) for side in (0, 1))
    top = int(min(a[1] for a in armpits))
    bottom = int(max(hips[:, 1].max() + 0.9 * unit, top + 1.9 * unit))
    sides, under = torso_sides(top, bottom, arms, labels, solid, shoulders, hips, armpits, unit)  # type: ignore[arg-type]
    legs = trace_legs(labels, keypoints, solid, hips, unit)
    return Body(
        shoulders=lines,
        caps=tuple(shoulder_cap(arms[side], shoulders[side], tips[side], solid) for side in (0, 1)),  # type: ignore[arg-type]
        armpits=armpits,  # type: ignore[arg-type]
        top=top,
        sides=sides,
        under=under,
        arms=arms,
        legs=legs,
        hips=hips,
        unit=unit,
    )
