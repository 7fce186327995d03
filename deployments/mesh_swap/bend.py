"""The source bent onto the target's mesh, and what of it can be used there."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.mesh_swap import region
from deployments.roles import FaceView
from modiste.face_mesh import OVAL, mirror, triangles, with_ring
from modiste.image import LabelMap, Landmarks, RGBImage
from modiste.labels import FacePart as F
from modiste.mesh_warp import inverse_map, resample, shrunk

_HAIR_MARGIN, _MARGIN = 0.03, 0.015
"""What is this near to hair, or to anything else that is no face, is not used; in widths of the face."""


@dataclass(frozen=True, slots=True)
class Bent:
    """A picture on another's mesh. clean: a face, nothing in front of it; skin: bare."""

    image: RGBImage
    clean: NDArray[np.bool_]
    skin: NDArray[np.bool_]


def bent(source: FaceView, points: NDArray[np.float32], shape: tuple[int, int]) -> Bent:
    """source: its picture; points: [468, 3], where its mesh goes in a picture of `shape` (height, width)."""
    oval = list(OVAL)
    factor = float(np.ptp(points[oval, 1]) / np.ptp(source.landmarks[oval, 1]))
    image, landmarks = source.image, source.landmarks
    labels = np.asarray(source.labels)
    if factor < 0.8:
        smaller, flat = shrunk(image, landmarks[:, :2], factor)
        image = RGBImage(smaller)
        labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        landmarks = Landmarks(np.column_stack([flat, landmarks[:, 2] * np.float32(factor)]))
    where, inside = inverse_map(with_ring(points), with_ring(landmarks), triangles(), *shape)
    kinds = LabelMap(cv2.remap(labels, where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT))
    foreign = ~region.is_any(kinds, (*region.FACE, F.GLASSES))
    face_width = float(np.ptp(points[oval, 0]))
    hair = region.grown(region.is_any(kinds, (F.HAIR, F.HAT)), face_width * _HAIR_MARGIN)
    clean = inside & ~region.grown(foreign, face_width * _MARGIN) & ~hair
    return Bent(
        image=RGBImage(resample(image, where)),
        clean=clean,
        skin=region.is_any(kinds, region.SKIN) & clean,
    )


def mirrored(view: FaceView) -> FaceView:
    """The face as in a mirror, its points renumbered: its left side stands in for a right side that hair covers."""
    points = view.landmarks[mirror()].copy()
    points[:, 0] = view.image.shape[1] - 1 - points[:, 0]
    return FaceView(
        image=RGBImage(np.ascontiguousarray(view.image[:, ::-1])),
        landmarks=Landmarks(points),
        labels=LabelMap(np.ascontiguousarray(view.labels[:, ::-1])),
    )


def own(target: FaceView, points: NDArray[np.float32]) -> RGBImage:
    """The target itself on the destination's mesh."""
    shape = (target.image.shape[0], target.image.shape[1])
    where, _ = inverse_map(with_ring(points), with_ring(target.landmarks), triangles(), *shape)
    return RGBImage(resample(target.image, where))
