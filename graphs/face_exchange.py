"""What replacing people's faces by virtual ones takes, in a picture or a video."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from deployments.roles import (
    Face,
    FaceGeneration,
    FaceLandmarks,
    FaceParsing,
    FaceSeed,
    FaceView,
    IdentityEmbedding,
    IdentityInput,
    LandmarksInput,
    SmallFaceDetection,
    face_from_landmarks,
)
from graphs import face_shelf
from graphs.base import Graph, Request, Result, uses
from graphs.casting import Look, yaw
from graphs.face_shelf import VirtualFace
from graphs.face_token import decode
from graphs.face_view import Cutting, cut_out, shrunk
from graphs.skin import Tone, measure, parse_hex, recolour
from modiste.face_mesh import LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_EYE
from modiste.geometry import Box
from modiste.image import Embedding, LabelMap, Landmarks, Mask, RGBImage
from modiste.labels import FacePart

Unswappable = Literal["mosaic", "keep"]
How = Literal["swapped", "mosaic", "kept"]
HEAD_MARGIN = 2.2
"""Side of a crop over the size of the face, so that hair, ears and neck are in it."""
FULL = 1024
"""Side of a virtual face's crop, pixels, at most: as large as it is generated."""
SMALLEST_FACE = 20
"""Longer side of a face, pixels, under which there is nothing to swap."""
FFHQ_FACE = Face(box=Box(262, 330, 762, 900), score=1.0, eyes=np.array([[390, 480], [634, 480]], np.float32))
"""Where the face lies in every generated picture of 1024 pixels (the FFHQ template)."""
_BLOCKS = 6
_SKIN = (FacePart.SKIN, FacePart.NOSE)
_BARE = (*_SKIN, FacePart.LEFT_EAR, FacePart.RIGHT_EAR, FacePart.NECK)


class AnonymizeOptions(BaseModel):
    """How people are made unrecognisable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="which of the suitable virtual faces are drawn")
    tokens: tuple[str, ...] = Field(
        default=(),
        max_length=64,
        description="face tokens to use, one per person: left to right in a picture, by appearance in a video; "
        "who has none is given a face drawn by seed",
    )
    skin: str = Field(
        default="target",
        pattern=r"^(target|source|#[0-9a-fA-F]{6})$",
        description="skin tone of face, ears and neck: the person's own (target), the virtual face's (source), "
        "or a colour (#rrggbb)",
    )
    unswappable: Unswappable = Field(
        default="mosaic",
        description="what happens to a face that is found but cannot be swapped (profile, back, too blurred): "
        "a strong mosaic, or left as it is",
    )


class FaceExchange(Graph[Request, Result]):
    detect = uses(SmallFaceDetection)
    mesh = uses(FaceLandmarks)
    parse = uses(FaceParsing)
    identify = uses(IdentityEmbedding)
    generate = uses(FaceGeneration)

    async def virtual_face(self, seed: FaceSeed, side: int = FULL) -> VirtualFace:
        """A face, generated and looked at once. side: of its crop, pixels, at most"""
        face = await asyncio.to_thread(face_shelf.take, seed)
        if face is None:
            image = await self.generate(seed)
            rough = await self.mesh(LandmarksInput(image=image, face=FFHQ_FACE))
            crop = cut_out(image, face_from_landmarks(rough.points), margin=1.6, smallest=32, largest=FULL)
            outline = face_from_landmarks(crop.inward(rough.points))
            exact, labels = await asyncio.gather(
                self.mesh(LandmarksInput(image=crop.image, face=outline)), self.parse(crop.image)
            )
            view = FaceView(image=crop.image, landmarks=exact.points, labels=labels)
            face = VirtualFace(seed, view, await self.looks(crop, exact.points, labels))
            await asyncio.to_thread(face_shelf.keep, face)
        return replace(face, view=shrunk(face.view, side))

    async def looks(self, crop: Cutting, points: Landmarks, labels: LabelMap) -> Look:
        """points, labels: in the crop's coordinates"""
        embedding = await self.identify(IdentityInput(image=crop.image, landmarks=points))
        return look_at(FaceView(image=crop.image, landmarks=points, labels=labels), embedding)

    async def identities(self, faces: Sequence[tuple[RGBImage, Landmarks]]) -> list[Embedding]:
        """faces: pictures with landmarks in their coordinates"""
        crops = []
        for image, points in faces:
            crop = cut_out(image, face_from_landmarks(points), margin=1.8, smallest=64, largest=256)
            crops.append(IdentityInput(image=crop.image, landmarks=crop.inward(points)))
        return await self.identify.many(crops)


def asked_faces(options: AnonymizeOptions) -> tuple[FaceSeed, ...]:
    """The faces that were asked for by token. raises: UnknownFace"""
    return tuple(decode(token) for token in options.tokens)


def look_at(view: FaceView, embedding: Embedding) -> Look:
    tone = measure(view.image, skin_of(view.labels, view.landmarks))
    return Look(tone=tone, yaw=yaw(view.landmarks), embedding=embedding)


def skin_of(labels: LabelMap, points: Landmarks) -> Mask:
    """Bare skin of the face: where the parsing says so, inside the mesh, without eyes and lips."""
    shape = (labels.shape[0], labels.shape[1])
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [_loop(points, OVAL)], 255)
    for part in (LEFT_EYE, RIGHT_EYE, LIPS_OUTER):
        cv2.fillPoly(inside, [_loop(points, part)], 0)
    seen = inside * np.isin(labels, [int(p) for p in _SKIN])
    # A face whose skin the parsing does not see at all is still skin to the mesh.
    return Mask(seen if np.count_nonzero(seen) > 50 else inside)


def with_skin(image: RGBImage, labels: LabelMap, tone: Tone, wanted: Tone) -> RGBImage:
    """Bring all bare skin of a head to a tone, softly at its edges."""
    bare = np.isin(labels, [int(p) for p in _BARE]).astype(np.uint8) * 255
    soft = cv2.GaussianBlur(bare, (0, 0), max(0.8, labels.shape[0] / 120))
    return recolour(image, Mask(np.minimum(soft, cv2.dilate(bare, None))), tone, wanted)


def wanted_tone(skin: str, face: VirtualFace) -> Tone | None:
    """The tone that skin shall have; None where it stays the person's own."""
    if skin == "target":
        return None
    return face.look.tone if skin == "source" else parse_hex(skin)


def mosaic(image: RGBImage, face: Face) -> RGBImage:
    """A new picture in which an ellipse around the face is six coarse blocks long."""
    box = face.box.scaled(1.35).clipped(*image.shape[:2])
    rows, columns = slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right))
    result = image.copy()
    patch = image[rows, columns]
    if patch.size == 0:
        return RGBImage(result)
    height, width = patch.shape[:2]
    blocks = [max(1, round(_BLOCKS * side / max(height, width))) for side in (width, height)]
    coarse = cv2.resize(patch, blocks, interpolation=cv2.INTER_AREA)
    flat = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    shape = np.zeros((height, width), np.uint8)
    cv2.ellipse(shape, (width // 2, height // 2), (max(1, width // 2), max(1, height // 2)), 0, 0, 360, 255, -1)
    result[rows, columns] = np.where(shape[..., None] > 0, flat, patch)
    return RGBImage(result)


def _loop(points: Landmarks, indices: tuple[int, ...]) -> NDArray[np.int32]:
    return np.rint(points[list(indices), :2]).astype(np.int32)
