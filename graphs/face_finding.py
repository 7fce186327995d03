"""All faces of a picture, each cut out upright and understood: mesh and parsing on its crop."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.roles import Face, FaceMesh, FaceView, IdentityInput, LandmarksInput
from graphs.base import Step
from graphs.casting import yaw
from graphs.face_view import Cutting, cut_out
from modiste.geometry import Box, bounding_box
from modiste.image import Embedding, LabelMap, Landmarks, RGBImage

Detect = Step[RGBImage, tuple[Face, ...]]
Mesh = Step[LandmarksInput, FaceMesh]
Parse = Step[RGBImage, LabelMap]
Identify = Step[IdentityInput, Embedding]

SURE = 0.5
"""Mesh score under which what was detected is not taken for a face that shows eyes, nose and mouth."""
_SAME = 0.3
"""Overlap from which on two detectors mean the same face."""
_INSIDE = 0.7
"""Share of a box inside another from which on they mean the same face, however different their sizes."""
_FIRST_MARGIN, _FIRST_SIDE = 2.2, 256
"""The first crop is generous, as detectors disagree on what belongs to a face."""
_RIGHT_EYE, _LEFT_EYE = (33, 133), (362, 263)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """face: in the picture, as the mesh outlines it; sureness: the mesh's score; turn: to the side, degrees;
    inside: share of the mesh that lies in the picture, 0-1."""

    face: Face
    sureness: float
    turn: float
    inside: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeup:
    """A face on its own crop; view: in the crop's coordinates."""

    cutting: Cutting
    view: FaceView


async def find(picture: RGBImage, near: Detect, small: Detect, mesh: Mesh) -> list[Sight]:
    """Every face of a picture, once each, from left to right, placed by a mesh on a first, generous crop.

    What only the detector for near faces sees, and the mesh does not confirm, is no face. What the detector for
    small ones sees is kept: it knows heads from the side, too, on which no mesh fits.
    """
    # What takes longest is asked first: each call's departure holds up the next.
    rest, close = await asyncio.gather(small(picture), near(picture))
    found: list[tuple[Face, bool]] = []
    for face, sure in sorted([*((f, True) for f in rest), *((f, False) for f in close)], key=lambda f: -f[0].score):
        twin = next((i for i, (other, _) in enumerate(found) if _same(face.box, other.box)), None)
        if twin is None:
            found.append((face, sure))
        else:
            found[twin] = (found[twin][0], found[twin][1] or sure)
    cuttings = [cut_out(picture, f, margin=_FIRST_MARGIN, smallest=_FIRST_SIDE, largest=_FIRST_SIDE) for f, _ in found]
    meshes = await fit([face for face, _ in found], cuttings, mesh)
    sights = [
        Sight(
            # Where no mesh fits, its points say nothing about the place.
            face=outline(cutting.outward(fitted.points), face.score) if fitted.score >= SURE else face,
            sureness=fitted.score,
            turn=yaw(fitted.points),
            inside=_share_inside(cutting.outward(fitted.points), picture),
        )
        for (face, sure), cutting, fitted in zip(found, cuttings, meshes, strict=True)
        if sure or fitted.score >= SURE
    ]
    return sorted(sights, key=lambda sight: sight.face.box.centre[0])


async def recognise(
    picture: RGBImage,
    faces: Sequence[Face],
    mesh: Mesh,
    parse: Parse,
    identify: Identify,
    *,
    margin: float,
    smallest: int,
    largest: int,
) -> list[tuple[Closeup, Embedding]]:
    """Cut each face out upright, understand it there, and tell who it is.

    Identity takes the mesh alone, so it is found while the parsing still runs.
    """
    cuttings = cut_upright(picture, faces, margin=margin, smallest=smallest, largest=largest)
    images = [cutting.image for cutting in cuttings]

    async def fit_and_identify() -> tuple[list[FaceMesh], list[Embedding]]:
        meshes = await fit(faces, cuttings, mesh)
        return meshes, await identify.many(
            [IdentityInput(image=image, landmarks=m.points) for image, m in zip(images, meshes, strict=True)]
        )

    labels, (meshes, embeddings) = await asyncio.gather(parse.many(images), fit_and_identify())
    return [
        (Closeup(cutting=c, view=FaceView(image=c.image, landmarks=m.points, labels=parts)), embedding)
        for c, m, parts, embedding in zip(cuttings, meshes, labels, embeddings, strict=True)
    ]


def cut_upright(
    picture: RGBImage, faces: Sequence[Face], *, margin: float, smallest: int, largest: int
) -> list[Cutting]:
    return [cut_out(picture, face, margin=margin, smallest=smallest, largest=largest, upright=True) for face in faces]


async def fit(faces: Sequence[Face], cuttings: Sequence[Cutting], mesh: Mesh) -> list[FaceMesh]:
    """The mesh of each face of a picture on its own crop, in the crop's coordinates."""
    return await mesh.many(
        [
            LandmarksInput(image=cutting.image, face=cutting.face_inward(face))
            for face, cutting in zip(faces, cuttings, strict=True)
        ]
    )


def _same(one: Box, other: Box) -> bool:
    if one.iou(other) > _SAME:
        return True
    union = one.area + other.area
    overlap = one.iou(other) * union / (1 + one.iou(other))
    return overlap > _INSIDE * min(one.area, other.area)


def _share_inside(points: Landmarks, picture: RGBImage) -> float:
    height, width = picture.shape[:2]
    x, y = points[:, 0], points[:, 1]
    return float(((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)).mean())


def outline(points: Landmarks, score: float) -> Face:
    """The face that a mesh lies on."""
    eyes = np.stack([points[list(corners), :2].mean(axis=0) for corners in (_RIGHT_EYE, _LEFT_EYE)])
    return Face(box=bounding_box(points), score=score, eyes=eyes[np.argsort(eyes[:, 0])].astype(np.float32))
