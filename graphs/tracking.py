"""Following faces through time: who is who in two frames, where a face is in between, calm landmarks.

Pure functions on boxes and points; `graphs.face_tracks` feeds them from the models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from deployments.roles import Face
from modiste.geometry import Box, similarity, transform
from modiste.image import Landmarks, RGBImage

_THUMBNAIL = (32, 18)
_CUT = 28.0
"""Mean difference of two thumbnails' grey levels (0-255) from which on the scene has changed."""
_BENT = 0.03
"""How much a head may change its form from one frame to the next, in diagonals of the face."""
FILL = 4
"""Up to how many frames apart two meshes may be for the frames between them to get theirs from both."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in one frame; points: float32 [468, 3], None where the mesh recognises no face."""

    face: Face
    points: Landmarks | None


@dataclass(slots=True)
class Track:
    """One face over consecutive frames. Sightings of frames that are done are forgotten."""

    id: int
    first: int
    sightings: dict[int, Sighting] = field(default_factory=dict)
    ended: bool = False

    @property
    def last(self) -> int:
        return max(self.sightings)


def affinity(a: Face, b: Face, *, reach: float) -> float:
    """How likely two faces in nearby frames are one: 0 (cannot be) to 1 (same place, same size).

    reach: how far a face may have moved, in widths of the face
    """
    size_a, size_b = np.sqrt(max(a.box.area, 1.0)), np.sqrt(max(b.box.area, 1.0))
    growth = max(size_a, size_b) / min(size_a, size_b)
    (ax, ay), (bx, by) = a.box.centre, b.box.centre
    moved = np.hypot(ax - bx, ay - by) / ((size_a + size_b) / 2)
    if moved > reach or growth > 1 + 0.6 * reach:
        return 0.0
    return float((1 - moved / reach) * 0.8 + 0.2 / growth)


def match(before: Sequence[Face], after: Sequence[Face], *, reach: float) -> list[tuple[int, int]]:
    """Pairs of indices with the highest total affinity (Hungarian method); the impossible stay single."""
    if not before or not after:
        return []
    table = np.array([[affinity(a, b, reach=reach) for b in after] for a in before])
    rows, columns = linear_sum_assignment(-table)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if table[i, j] > 0]


def between(a: Face, b: Face, share: float) -> Face:
    """The face on the straight way from `a` (share 0) to `b` (share 1)."""

    def mix(x: float, y: float) -> float:
        return x + (y - x) * share

    box = Box(
        mix(a.box.left, b.box.left),
        mix(a.box.top, b.box.top),
        mix(a.box.right, b.box.right),
        mix(a.box.bottom, b.box.bottom),
    )
    eyes = (a.eyes + (b.eyes - a.eyes) * np.float32(share)).astype(np.float32)
    return Face(box=box, score=min(a.score, b.score), eyes=eyes)


def share_inside(box: Box, shape: tuple[int, ...]) -> float:
    """How much of a box lies inside a picture of that height and width, 0-1."""
    return box.clipped(shape[0], shape[1]).area / max(box.area, 1e-6)


def is_cut_off(box: Box, shape: tuple[int, ...]) -> bool:
    """Is only part of this face in the picture? Its box touches an edge and has not the form of a face."""
    beside = box.left < 2 or box.right > shape[1] - 2
    over = box.top < 2 or box.bottom > shape[0] - 2
    form = box.width / max(box.height, 1e-6)
    return (beside and form < 0.55) or (over and form > 1.15)


def thumbnail(image: RGBImage) -> NDArray[np.float32]:
    """A tiny grey picture, enough to see that the scene has changed. float32 [18, 32], 0-255."""
    # Four rows and columns of each cell suffice, and keep a 4K frame cheap.
    coarse = cv2.resize(image, (4 * _THUMBNAIL[0], 4 * _THUMBNAIL[1]), interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(coarse, cv2.COLOR_RGB2GRAY)
    small: NDArray[np.float32] = cv2.resize(grey, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small


def is_cut(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Do two consecutive thumbnails show different scenes? Plain brightening does not count."""
    change = after - before
    return bool(np.abs(change - np.median(change)).mean() > _CUT)


def steady(before: Landmarks, after: Landmarks, *, strict: bool) -> bool:
    """Can two meshes be one head in consecutive frames? Where not, the mesh has slipped off onto something else.

    strict: allow a third of the change, for a face that is partly out of sight
    """
    allowed = 1 / 3 if strict else 1.0
    matrix = similarity(before[:, :2], after[:, :2])
    scale, turn = np.hypot(*matrix[:, 0]), np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    size = np.linalg.norm(np.ptp(after[:, :2], axis=0)) + 1e-6
    bent = np.sqrt(((transform(before, matrix) - after[:, :2]) ** 2).sum(axis=1).mean()) / size
    return bool(abs(np.log(scale)) < 0.22 * allowed and abs(turn) < 20 * allowed and bent < _BENT * allowed)


def smooth(points: NDArray[np.float32], centre: int, *, noise: float = 0.012, radius: int = 3) -> NDArray[np.float32]:
    """Landmarks of one frame, freed from the jitter of its neighbours' noise; nothing lags behind.

    A bilateral mean over time, the symmetric counterpart of the One-Euro filter (Casiez et al., CHI 2012): a
    still face is averaged over the whole window, a moving one over the frames that agree with where a
    steady movement would have taken it.

    points:  [T, K, D] consecutive frames, pixels; the window may be cut short at a track's ends
    centre:  which of them is wanted
    noise:   deviation from steady movement that still counts as noise, in units of the face's size
    radius:  how many frames to each side are looked at
    returns: [K, D]
    """
    reach = min(radius, centre, len(points) - 1 - centre)
    here = points[centre].astype(np.float64)
    if reach == 0:
        return np.array(points[centre], np.float32)
    size = float(np.linalg.norm(np.ptp(here[:, :2], axis=0))) + 1e-6
    total, weight = here.copy(), np.ones((len(here), 1))
    for step in range(1, reach + 1):
        # The mean of a pair at equal distances lies where steady movement has the face now.
        pair = (points[centre - step].astype(np.float64) + points[centre + step]) / 2
        away = np.linalg.norm(pair[:, :2] - here[:, :2], axis=1, keepdims=True) / size
        share = 2 * np.exp(-((step / radius) ** 2)) * np.exp(-((away / noise) ** 2))
        total += pair * share
        weight += share
    smoothed: NDArray[np.float32] = (total / weight).astype(np.float32)
    return smoothed


def calm(track: Track, frame: int) -> Landmarks | None:
    """Smoothed landmarks; a frame that has none in the midst of some that do gets theirs."""
    known = {i: s.points for i, s in track.sightings.items() if abs(i - frame) <= FILL and s.points is not None}
    here = known.get(frame)
    if here is None:
        a, b = (
            max((i for i in known if i < frame), default=None),
            min((i for i in known if i > frame), default=None),
        )
        if a is None or b is None or b - a > FILL:
            return None
        return Landmarks((known[a] + (known[b] - known[a]) * np.float32((frame - a) / (b - a))).astype(np.float32))
    low = high = frame
    while low - 1 in known:
        low -= 1
    while high + 1 in known:
        high += 1
    return Landmarks(smooth(np.stack([known[i] for i in range(low, high + 1)]), frame - low))
