"""The torso's outline: shoulder line, rounding of the shoulders, armpits, and the sides at every height."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import spsolve

from deployments.limb_tps.limbs import Limb
from modiste.geometry import Points
from modiste.image import LabelMap
from modiste.labels import BodyPart

CAP_END = 0.3
"""Reach along the arm at which the rounding of the shoulder ends."""


def shoulder_tip(shoulder: Points, other: Points, solid: NDArray[np.bool_], joint_width: float) -> NDArray[np.float32]:
    """The outline above and outside the shoulder joint."""
    outward = (shoulder - other) / joint_width
    up = np.array([outward[1], -outward[0]]) * (1 if outward[0] > 0 else -1)
    reaches = []
    for angle in np.radians([55, 62, 70, 78]):
        direction = outward * np.cos(angle) + up * np.sin(angle)
        steps = np.linspace(0.02, 0.4, 60) * joint_width
        points = shoulder + direction * steps[:, None]
        x = np.clip(np.round(points[:, 0]).astype(int), 0, solid.shape[1] - 1)
        y = np.clip(np.round(points[:, 1]).astype(int), 0, solid.shape[0] - 1)
        outside = np.flatnonzero(~solid[y, x])
        if len(outside):
            reaches.append(float(steps[outside[0]]))
    reach = (
        float(np.clip(np.median(reaches), 0.06 * joint_width, 0.26 * joint_width)) if reaches else 0.16 * joint_width
    )
    direction = outward * np.cos(np.radians(62)) + up * np.sin(np.radians(62))
    return np.asarray(shoulder + direction * reach, np.float32)


def shoulder_cap(arm: Limb, joint: Points, tip: NDArray[np.float32], solid: NDArray[np.bool_]) -> Points:
    """The outline around the shoulder, an arc about its joint where it is not to be seen."""
    points, normals, radii = arm.at(CAP_END)
    end = points[0] + normals[0] * radii[0] * 1.03
    a, b = tip - joint, end - joint
    first = np.arctan2(a[1], a[0])
    turn = (np.arctan2(b[1], b[0]) - first + np.pi) % (2 * np.pi) - np.pi
    t = np.linspace(0, 1, 10)
    radius = np.hypot(*a) + (np.hypot(*b) - np.hypot(*a)) * t
    ways = np.stack([np.cos(first + turn * t), np.sin(first + turn * t)], axis=1)
    steps = np.linspace(0.6, 1.12, 40)
    rays = joint + ways[:, None] * (radius[:, None] * steps)[..., None]
    x = np.clip(np.round(rays[..., 0]).astype(int), 0, solid.shape[1] - 1)
    y = np.clip(np.round(rays[..., 1]).astype(int), 0, solid.shape[0] - 1)
    for i, line in enumerate(solid[y, x]):
        if 0 < i < len(t) - 1 and line[0] and not line.all():
            radius[i] *= steps[int(np.argmin(line))] * 1.01
    radius = gaussian_filter1d(radius, 1.0, mode="nearest")
    arc: Points = (joint + ways * radius[:, None]).astype(np.float32)
    arc[0], arc[-1] = tip, end
    return arc


def shoulder_lines(
    tips: list[NDArray[np.float32]],
    labels: LabelMap,
    solid: NDArray[np.bool_],
    unit: float,
) -> tuple[Points, Points]:
    """Collar point to tip on both sides, following the outline where hair does not hide it."""
    across = (tips[1] - tips[0]) / unit
    up = np.array([across[1], -across[0]])
    neck = (labels == BodyPart.NECK) | (labels == BodyPart.FACE)
    head = neck | (labels == BodyPart.HAIR)
    middle = (tips[0] + tips[1]) / 2
    near = neck[max(0, int(middle[1] - 0.32 * unit)) : max(1, int(middle[1] - 0.08 * unit))]
    columns = np.flatnonzero(near.any(axis=0))
    if len(columns):
        centre = float(np.clip((columns[0] + columns[-1]) / 2, middle[0] - 0.12 * unit, middle[0] + 0.12 * unit))
        middle = middle + across * (centre - middle[0]) * 0.7
    lines = []
    for side, sign in ((0, -1), (1, 1)):
        usual = middle + sign * across * 0.2 * unit + up * 0.13 * unit
        points = []
        for t in np.linspace(0, 1, 8):
            guess = usual + (tips[side] - usual) * t
            x = int(np.clip(round(float(guess[0])), 0, solid.shape[1] - 1))
            low, high = (int(np.clip(guess[1] + d * unit, 0, solid.shape[0] - 1)) for d in (-0.09, 0.09))
            column = solid[low : high + 1, x] & ~head[low : high + 1, x]
            covered = head[low : high + 1, x].any()
            first = np.flatnonzero(column)
            y = low + float(first[0]) if len(first) and first[0] > 0 and not covered else np.nan
            points.append((x, y, guess[1]))
        measured = np.array(points, np.float64)
        offset = measured[:, 1] - measured[:, 2]
        known = np.isfinite(offset)
        filled = np.interp(np.arange(8), np.flatnonzero(known), offset[known]) if known.sum() >= 2 else np.zeros(8)
        filled[-1] = 0.0
        # Hoods and collars stand above the shoulders; a neck's base does not.
        line = np.column_stack([measured[:, 0], measured[:, 2] + np.clip(0.8 * filled, -0.03 * unit, 0.08 * unit)])
        line[-1] = tips[side]
        lines.append(line.astype(np.float32))
    return lines[0], lines[1]


def body_armpit(arm: Limb, shoulder: Points, toward: float, unit: float) -> NDArray[np.float32]:
    """Where the arm meets the side; toward: 1 where the body's middle is to the right of the shoulder, else -1."""
    point, normal, radius = arm.at(0.42)
    inner = point[0] - normal[0] * radius[0]
    # An armpit is under the joint, however the arm is held.
    drop = float(np.clip(inner[1] - shoulder[1], 0.2 * unit, 0.36 * unit))
    # A spread arm's inner side is outside of the shoulder; the armpit is not.
    inward = float(np.clip(toward * (inner[0] - shoulder[0]), -0.02 * unit, 0.12 * unit))
    return np.array([shoulder[0] + toward * inward, shoulder[1] + drop], np.float32)


def torso_sides(
    top: int,
    bottom: int,
    arms: tuple[Limb, Limb],
    labels: LabelMap,
    solid: NDArray[np.bool_],
    shoulders: Points,
    hips: Points,
    armpits: tuple[Points, Points],
    unit: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x of the torso's outline per row, smoothed across rows that arms or the picture's end hide, and how far the
    cloth goes on under a touching arm."""
    height, width = labels.shape
    strips = np.zeros(labels.shape, np.uint8)
    for arm in arms:
        for a, b, r in zip(arm.axis[3:-1], arm.axis[4:], arm.radius[4:], strict=True):
            ends = [(round(float(p[0])), round(float(p[1]))) for p in (a, b)]
            cv2.line(strips, ends[0], ends[1], 1, max(1, int(2 * r)))
    arm_skin = np.isin(labels, (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM))
    rows = np.arange(top, bottom)
    sides, under = np.empty((2, len(rows)), np.float32), np.zeros((2, len(rows)), np.float32)
    shoulder_middle, hip_middle = shoulders.mean(axis=0), hips.mean(axis=0)
    for side, sign in ((0, -1), (1, 1)):
        x, weight = np.empty(len(rows)), np.zeros(len(rows))
        for i, y in enumerate(rows):
            t = np.clip((y - shoulder_middle[1]) / max(hip_middle[1] - shoulder_middle[1], 1), 0, 1.2)
            middle = shoulder_middle[0] + (hip_middle[0] - shoulder_middle[0]) * t
            usual = middle + sign * unit * float(np.interp(t, [0.2, 0.65, 1.0], [0.42, 0.36, 0.42]))
            x[i] = usual
            if y >= height:
                continue
            start = int(np.clip(middle + sign * 0.1 * unit, 0, width - 1))
            line = slice(start, None) if sign > 0 else slice(start, None, -1)
            person, hidden = solid[y, line], (strips[y, line] > 0) | arm_skin[y, line]
            stop = np.flatnonzero(~person | hidden)
            if not len(stop) or abs(stop[0]) < 2:
                continue
            if hidden[stop[0]] and person[stop[0] : stop[0] + 3].all():
                under[side, i] = 0.07 * unit
            found = start + sign * (stop[0] - 1)
            if abs(found - usual) > 0.3 * unit:
                continue
            if hidden[stop[0]]:
                # An arm before the body says where the body is at least.
                x[i], weight[i] = (max if sign > 0 else min)(found, usual - sign * 0.04 * unit), 0.12
            else:
                x[i], weight[i] = found, 1.0
        x[0], weight[0] = armpits[side][0], 3.0
        sides[side] = _smooth(x, weight + 1e-3, (0.05 * unit) ** 4)
        under[side] = gaussian_filter1d(under[side], 0.04 * unit)
    return sides, under


def _smooth(values: NDArray[np.float64], weight: NDArray[np.float64], stiffness: float) -> NDArray[np.float32]:
    """Whittaker smoother: close to the values by weight, small second differences."""
    n = len(values)
    second = diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(n - 2, n))
    system = diags_array(weight) + stiffness * (second.T @ second)
    return np.asarray(spsolve(csc_array(system), weight * values), np.float32)
