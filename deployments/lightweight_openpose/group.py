"""People from heat maps and affinity fields: peaks are keypoints, and fields say which two of them are one limb.

Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017, arXiv:1611.08050, as
simplified by Osokin, arXiv:1811.12004. The fields along all limbs that could be are looked up at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compile.kit import Arrays, difference
from deployments.networks import Procedure

KEYPOINTS = 18
"""OpenPose's COCO order (`modiste.labels.COCO_18`)."""

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
)  # fmt: skip
"""Keypoints that the fields join; the last two only complete people."""

FIELDS = (
    (12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11),
    (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27),
)  # fmt: skip
"""Each limb's channels, x and y."""
COMPLETING = 17
"""The first limb that only completes."""

PEAK, NEAR, ALONG, LIMB = 0.1, 6.0, 10, 0.05
"""Least peak; pixels between two peaks of a map; points looked up along a limb; least field at such a point."""
CROWD = 150
"""Most peaks of a map, the highest: pictures of noise have thousands."""
SHARE, FEWEST, MEAN = 0.8, 3, 0.2
"""Points of a limb that must have a field; keypoints of a person, and their least mean score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """points: [K, 3], x and y in cells of the maps, score; members: int64 [P, 18], rows of `points`, -1 = not seen;
    scores: [P], sums over keypoints and limbs; counts: int64 [P], of the keypoints that limbs brought."""

    points: NDArray[np.float64]
    members: NDArray[np.int64]
    scores: NDArray[np.float64]
    counts: NDArray[np.int64]


def group(heatmaps: NDArray[np.float32], fields: NDArray[np.float32]) -> People:
    """Find people.

    heatmaps: [h, w, 19], the last of the background, 0 to 1; fields: [h, w, 38], -1 to 1
    """
    points, kinds = _peaks(heatmaps[:, :, :KEYPOINTS])
    members, scores, counts = _joined(points, *_limbs(points, kinds, fields))
    keep = (counts >= FEWEST) & (scores >= MEAN * counts)
    return People(points=points, members=members[keep], scores=scores[keep], counts=counts[keep])


def _peaks(heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points [K, 3] above their four neighbours, keypoint by keypoint from left to right; which keypoint each is."""
    high = np.pad(np.where(heatmaps < PEAK, 0, heatmaps), ((1, 1), (1, 1), (0, 0)))
    middle = high[1:-1, 1:-1]
    around = (high[1:-1, 2:], high[1:-1, :-2], high[2:, 1:-1], high[:-2, 1:-1])
    is_peak = np.logical_and.reduce([middle > other for other in around])
    kinds, columns, rows = np.nonzero(is_peak.transpose(2, 1, 0))
    heights = middle[rows, columns, kinds]
    order = np.lexsort((-heights, kinds))
    ranks = np.empty(len(kinds), np.intp)
    ranks[order] = np.arange(len(kinds)) - np.searchsorted(kinds, kinds)
    kinds, columns, rows = (of[ranks < CROWD] for of in (kinds, columns, rows))
    near = (
        (kinds[:, None] == kinds)
        & (np.hypot(columns[:, None] - columns, rows[:, None] - rows) < NEAR)
        & np.tri(len(kinds), k=-1, dtype=bool).T
    )
    kept = np.ones(len(kinds), bool)
    for number in np.flatnonzero(near.any(1)):
        if kept[number]:
            kept &= ~near[number]
    kinds, columns, rows = kinds[kept], columns[kept], rows[kept]
    return np.stack((columns, rows, middle[rows, columns, kinds]), 1).astype(np.float64), kinds


def _limbs(
    points: NDArray[np.float64], kinds: NDArray[np.int64], fields: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Limb, first and second point, and score of every limb that the fields support, the best of each limb first."""
    of_kind = [np.flatnonzero(kinds == kind) for kind in range(KEYPOINTS)]
    pairs = [np.meshgrid(of_kind[a], of_kind[b]) for a, b in LIMBS]
    sizes = [first.size for first, _ in pairs]
    first = np.concatenate([a.ravel() for a, _ in pairs])
    second = np.concatenate([b.ravel() for _, b in pairs])
    limb = np.repeat(np.arange(len(LIMBS)), sizes)
    at = points[:, :2].astype(np.float32)
    vector = (at[second] - at[first])[:, None]
    steps = np.arange(ALONG, dtype=np.float32)[:, None]
    # In single precision and in this order, as where a point falls between two pixels decides which field it meets.
    x, y = ((1 / (ALONG - 1) * vector) * steps + at[first][:, None]).round().astype(np.int64).transpose(2, 0, 1)
    channels = np.array(FIELDS)[limb][:, None]
    met = fields[y[..., None], x[..., None], channels]
    direction = vector / (np.linalg.norm(vector, axis=-1, keepdims=True) + 1e-6)
    affinity = (met * direction).sum(-1)
    supported = affinity > LIMB
    count = supported.sum(1)
    score = (affinity * supported).sum(1) / (count + 1e-6)
    possible = np.flatnonzero((score > 0) & (count > SHARE * ALONG))
    order = possible[np.lexsort((-score[possible], limb[possible]))]
    return limb[order], first[order], second[order], np.asarray(score[order], np.float64)


def _joined(
    points: NDArray[np.float64],
    limbs: NDArray[np.int64],
    firsts: NDArray[np.int64],
    seconds: NDArray[np.int64],
    affinities: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """People of limbs that share keypoints: members, scores and counts (`People`)."""
    members = np.full((len(limbs), KEYPOINTS), -1)
    scores, counts = np.zeros(len(limbs)), np.zeros(len(limbs), np.int64)
    people = 0
    used: set[tuple[int, int, int]] = set()
    for limb, first, second, affinity in zip(
        limbs.tolist(), firsts.tolist(), seconds.tolist(), affinities.tolist(), strict=True
    ):
        # A keypoint is in one limb of a kind, at either end; the best were tried first.
        ends = {(limb, 0, first), (limb, 1, second)}
        if ends & used:
            continue
        used |= ends
        a, b = LIMBS[limb]
        here = members[:people]
        if limb >= COMPLETING:
            lacks_b, lacks_a = (here[:, a] == first) & (here[:, b] == -1), (here[:, b] == second) & (here[:, a] == -1)
            here[lacks_b, b] = second
            here[lacks_a, a] = first
            continue
        theirs = here[:, a] == first
        if theirs.any():
            here[theirs, b] = second
            counts[:people][theirs] += 1
            scores[:people][theirs] += points[second, 2] + affinity
        else:
            members[people, [a, b]] = first, second
            counts[people] = 2
            scores[people] = points[first, 2] + points[second, 2] + affinity
            people += 1
    return members[:people], scores[:people], counts[:people]


def _reproduce(arrays: Arrays) -> Mapping[str, float]:
    people = group(arrays["heatmaps"], arrays["pafs"])
    results = {
        "pose_entries": np.column_stack((people.members, people.scores, people.counts)),
        "all_keypoints": np.column_stack((people.points, np.arange(len(people.points)))),
        "kpt_ids": np.array(LIMBS),
        "paf_ids": np.array(FIELDS),
    }
    return {name: difference(arrays[name], result) for name, result in results.items()}


GROUPING = Procedure(
    knows=lambda names: {"heatmaps", "pafs", "pose_entries", "all_keypoints"} <= names, reproduce=_reproduce
)
