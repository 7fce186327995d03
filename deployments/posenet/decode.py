"""People from PoseNet's maps: every strong keypoint grows a person along the body, and the best grown ones stay.

Papandreou et al., arXiv:1803.08225 (fast greedy decoding). All candidates grow at once, edge by edge.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.kit import Arrays, difference
from deployments.networks import Procedure

NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The keypoints; left and right are the person's own."""

EDGES = (
    (0, 1), (1, 3), (0, 2), (2, 4), (0, 5), (5, 7), (7, 9), (5, 11), (11, 13), (13, 15), (0, 6), (6, 8), (8, 10),
    (6, 12), (12, 14), (14, 16),
)  # fmt: skip
"""From each keypoint to the next one outwards, in the order of the displacements' channels."""

NMS_RADIUS = 20.0
"""Pixels within which a keypoint counts as one that an earlier person has."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """scores: [P], means of the keypoints' scores that no earlier person has; keypoint_scores: [P, 17];
    points: [P, 17, 2], (y, x) in pixels of the network's input."""

    scores: Floats
    keypoint_scores: Floats
    points: Floats


def decode(
    heatmap: NDArray[np.float32],
    offset: NDArray[np.float32],
    forward: NDArray[np.float32],
    backward: NDArray[np.float32],
    stride: int,
    *,
    most: int = 10,
    keypoint_score: float = 0.5,
    person_score: float = 0.5,
) -> People:
    """Find people, in the order of their strongest keypoints.

    heatmap:  [17, h, w], 0 to 1; offset [34, h, w], forward and backward displacements [32, h, w]: pixels, y first
    stride:   pixels per cell
    most:     stop after so many people; 1 for the single person of the picture
    keypoint_score, person_score: what the strongest keypoint and the mean of all must reach
    """
    offset, forward, backward = (
        maps.reshape(2, -1, *heatmap.shape[1:]).transpose(1, 2, 3, 0) for maps in (offset, forward, backward)
    )
    parts, rows, columns = _peaks(heatmap, keypoint_score)
    roots = np.asarray(np.stack((rows, columns), 1) * stride + offset[parts, rows, columns], np.float64)
    scores, points = _grow(parts, heatmap[parts, rows, columns], roots, heatmap, offset, forward, backward, stride)
    taken: list[int] = []
    mine: list[float] = []
    for candidate, part in enumerate(parts):
        if len(taken) == most:
            break
        apart = _distances(points[taken], points[candidate]) > NMS_RADIUS**2
        if not apart[:, part].all():
            continue
        score = float(scores[candidate][apart.all(0)].sum() / len(NAMES))
        # At 0 every grown person stays, even one whose keypoints all belong to others.
        if person_score == 0 or score >= person_score:
            taken.append(candidate)
            mine.append(score)
    return People(scores=np.array(mine), keypoint_scores=scores[taken], points=points[taken])


def _distances(others: Floats, points: Floats) -> Floats:
    """[P, 17, 2] and [17, 2] -> [P, 17], squared."""
    return np.asarray(((others - points) ** 2).sum(-1))


def _peaks(heatmap: NDArray[np.float32], least: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Keypoint, row and column of each map's maxima among their eight neighbours, the strongest first."""
    highest = np.stack([cv2.dilate(plane, np.ones((3, 3), np.uint8)) for plane in heatmap])
    parts, rows, columns = np.nonzero((heatmap == highest) & (heatmap >= least))
    order = np.argsort(-heatmap[parts, rows, columns], kind="stable")
    return parts[order], rows[order], columns[order]


def _grow(
    parts: NDArray[np.intp],
    root_scores: NDArray[np.float32],
    roots: Floats,
    heatmap: NDArray[np.float32],
    offset: NDArray[np.float32],
    forward: NDArray[np.float32],
    backward: NDArray[np.float32],
    stride: int,
) -> tuple[Floats, Floats]:
    """Each root's person: scores [R, 17] and points [R, 17, 2]; first inwards along the edges, then outwards."""
    count = len(parts)
    scores, points = np.zeros((count, len(NAMES))), np.zeros((count, len(NAMES), 2))
    scores[np.arange(count), parts] = root_scores
    points[np.arange(count), parts] = roots
    last = np.array(heatmap.shape[1:]) - 1

    def cell(at: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        nearest = np.clip(np.round(at / stride), 0, last).astype(np.int64)
        return nearest[:, 0], nearest[:, 1]

    inwards = [(edge, outer, inner, backward) for edge, (inner, outer) in reversed(tuple(enumerate(EDGES)))]
    outwards = [(edge, inner, outer, forward) for edge, (inner, outer) in enumerate(EDGES)]
    for edge, source, target, displacement in inwards + outwards:
        grows = np.flatnonzero((scores[:, source] > 0) & (scores[:, target] == 0))
        start = points[grows, source]
        row, column = cell(start + displacement[edge][cell(start)])
        scores[grows, target] = heatmap[target, row, column]
        points[grows, target] = np.stack((row, column), 1) * stride + offset[target, row, column]
    return scores, points


_SETTINGS: Mapping[str, Mapping[str, float]] = {
    "default": {"person_score": 0.25},
    "lib_default": {},
    "single": {"person_score": 0.25},
    "low": {"keypoint_score": 0.1, "person_score": 0.0},
}
"""What the reference was run with, beside room for so many people as its results have rows; it fills up with zeros."""


def _reproduce(arrays: Arrays) -> Mapping[str, float]:
    maps = (arrays[name] for name in ("heatmap", "offset", "displacement_fwd", "displacement_bwd"))
    heatmap, offset, forward, backward = maps
    worst = {}
    for name, settings in _SETTINGS.items():
        if f"{name}/pose_scores" not in arrays:
            continue
        most = len(arrays[f"{name}/pose_scores"])
        people = decode(heatmap, offset, forward, backward, int(arrays["output_stride"]), most=most, **settings)
        results = {
            "pose_scores": people.scores,
            "keypoint_scores": people.keypoint_scores,
            "keypoint_coords_yx": people.points,
        }
        for key, found in results.items():
            expected = arrays[f"{name}/{key}"]
            padded = np.zeros_like(expected)
            padded[: len(found)] = found
            worst[f"{name}/{key}"] = difference(expected, padded)
    return worst


DECODING = Procedure(
    knows=lambda names: {"heatmap", "offset", "displacement_fwd", "displacement_bwd", "output_stride"} <= names,
    reproduce=_reproduce,
)
