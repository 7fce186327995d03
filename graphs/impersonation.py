"""One person in a video and the virtual face that plays them: what was seen of the head, and the account of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from deployments.roles import FaceSeed
from graphs.casting import Look, yaw
from graphs.face_shelf import VirtualFace
from graphs.face_view import Cutting
from modiste.geometry import invert
from modiste.image import Embedding, LabelMap, Landmarks
from modiste.labels import FacePart

_TURNED = 27.0
"""Degrees from the nearest parsed view from which on a head is parsed anew."""
_STALE = 125
"""Frames after which a parsed view says little about hair and hands."""
_VIEWS = 12
_SAMPLE_EVERY, _SAMPLES = 40, 12
"""Frames from one sample of a person's identity to the next, and how many are taken at most."""
_SAME_PERSON = 0.96
"""Cosine of embeddings from which on a new track is somebody who was seen before."""


@dataclass(frozen=True, slots=True)
class HeadView:
    """A head as it was parsed once. points: in the picture; labels: of the crop."""

    frame: int
    points: Landmarks
    crop: Cutting
    labels: LabelMap


@dataclass(slots=True)
class Part:
    """face: None as long as nobody plays the person; before, after: identity embeddings of the sampled frames."""

    track: int
    first: int
    last: int = 0
    face: VirtualFace | None = None
    looks: Look | None = None
    offered: list[FaceSeed] = field(default_factory=list)
    views: list[HeadView] = field(default_factory=list)
    swapped: int = 0
    mosaic: int = 0
    kept: int = 0
    before: list[Embedding] = field(default_factory=list)
    after: list[Embedding] = field(default_factory=list)

    def seen_before(self, others: Iterable["Part"], now: int) -> VirtualFace | None:
        """Who plays this person already, under a track that ended before frame `now`; None where nobody does."""
        if self.looks is None:
            return None
        own = self.looks.embedding
        likeness = [
            (float(own @ other.looks.embedding), other.face)
            for other in others
            if other.face is not None and other.looks is not None and other.last < now
        ]
        best, face = max(likeness, key=lambda pair: pair[0], default=(0.0, None))
        return face if best > _SAME_PERSON else None

    def wants_sample(self, frame: int) -> bool:
        return len(self.before) < _SAMPLES and frame >= self.first + _SAMPLE_EVERY * len(self.before)

    def wants_view(self, frame: int, points: Landmarks) -> float:
        """How badly the head should be parsed in this frame: over 1 it must be."""
        return min(
            (max(_apart(view.points, points) / _TURNED, abs(frame - view.frame) / _STALE) for view in self.views),
            default=float("inf"),
        )

    def remember(self, view: HeadView) -> None:
        self.views = [*self.views, view][-_VIEWS:]

    def labels(self, frame: int, points: Landmarks, crop: Cutting) -> LabelMap:
        """The labels of a crop: those of the most similar view of the head, moved along with the face."""
        view = min(self.views, key=lambda v: _apart(v.points, points) / _TURNED + abs(frame - v.frame) / _STALE)
        # Affine, so that the labels narrow as the head turns.
        before = np.column_stack([view.points[:, :2], np.ones(len(points))])
        affine = np.linalg.lstsq(before, points[:, :2].astype(np.float64), rcond=None)[0].T
        moved = np.vstack([affine, [0, 0, 1]])
        matrix = crop.matrix @ moved @ np.vstack([invert(view.crop.matrix), [0, 0, 1]])
        size = (crop.image.shape[1], crop.image.shape[0])
        warped = cv2.warpAffine(
            view.labels, matrix, size, flags=cv2.INTER_NEAREST, borderValue=int(FacePart.BACKGROUND)
        )
        return LabelMap(np.asarray(warped, np.uint8))


def _apart(a: Landmarks, b: Landmarks) -> float:
    """Difference of two heads' pose: the larger of turn and nod, degrees."""
    return max(abs(yaw(a) - yaw(b)), abs(_nod(a) - _nod(b)))


def _nod(points: Landmarks) -> float:
    down = points[152] - points[10]
    return float(np.degrees(np.arctan2(down[2], np.hypot(down[0], down[1]))))
