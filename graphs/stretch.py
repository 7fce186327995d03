"""Some consecutive frames of a video on their way through: taken, given people, swapped, written."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deployments.roles import FaceView, SwapInput, SwappedFace, face_from_landmarks
from graphs.base import VideoFile
from graphs.casting import yaw
from graphs.face_exchange import SMALLEST_FACE, mosaic, wanted_tone, with_skin
from graphs.face_paste import lay_back
from graphs.face_tracks import FaceTracker
from graphs.face_view import Cutting, cut_out
from graphs.impersonation import Part
from graphs.tracking import Sighting, Track
from modiste.geometry import Box, bounding_box, invert, transform
from modiste.image import Landmarks, Mask, RGBImage
from modiste.video import Picture
from modiste.video_writer import VideoWriter

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

_BYTES, _LONGEST = 32_000_000, 12
"""A stretch has 12 frames, or fewer where frames are large."""
_FURTHEST_TURN = 50.0
"""Degrees a head may be turned to the side: beyond, there is hardly a face to put another one on."""
_SOURCE_SIDES = (192, 256, 384, 512, 768, 1024)
_MARGIN, _SKIN_MARGIN, _LARGEST_SWAP = 1.2, 1.45, 512
"""Side of the crop that is swapped: over the size of the face, likewise where ears and neck are recoloured, and at
most, pixels."""
_MOSAIC_REACH = 1.5
"""No mosaic reaches further than this, over the size of the face."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """parts: pictures and sound packets in order; people: for each picture, who is where."""

    start: int
    parts: "list[Picture | Packet[AudioStream]]"
    people: list[list[tuple[Track, Sighting]]] = field(default_factory=list)

    @property
    def pictures(self) -> list[Picture]:
        return [part for part in self.parts if isinstance(part, Picture)]

    @property
    def images(self) -> list[RGBImage]:
        return [picture.image for picture in self.pictures]

    def image(self, frame: int) -> RGBImage:
        return self.images[frame - self.start]

    def after(self, other: "Stretch") -> "Stretch":
        return replace(self, start=other.start + len(other.images))

    def with_people(self, tracker: FaceTracker) -> "Stretch":
        frames = range(self.start, self.start + len(self.images))
        return replace(self, people=[tracker.at(frame) for frame in frames])

    def best_view(self, track: Track) -> tuple[int, Landmarks] | None:
        """Frame and landmarks in which a person is seen most from the front; None where no face is recognised."""
        views = [
            (abs(yaw(sighting.points)), frame, sighting.points)
            for frame, people in enumerate(self.people, self.start)
            for who, sighting in people
            if who is track and sighting.points is not None and can_be_swapped(sighting)
        ]
        best = min(views, key=lambda view: view[:2], default=None)
        return None if best is None else best[1:]

    def source_side(self, track: Track) -> int:
        """At what size to have a virtual face ready: half as large again as the person, who may come nearer."""
        box = max((s.face.box for people in self.people for who, s in people if who is track), key=lambda b: b.area)
        needed = 2.4 * max(box.width, box.height)
        return next((side for side in _SOURCE_SIDES if side >= needed), _SOURCE_SIDES[-1])


def can_be_swapped(sighting: Sighting) -> bool:
    """Is the face large enough, recognised by the mesh, and not turned away?"""
    box = sighting.face.box
    large = max(box.width, box.height) >= SMALLEST_FACE
    return sighting.points is not None and large and abs(yaw(sighting.points)) <= _FURTHEST_TURN


@dataclass(frozen=True, slots=True)
class Scene:
    """One face in one frame, ready to be swapped. index: of the picture in its stretch; points: in the picture."""

    frame: int
    index: int
    part: Part
    points: Landmarks
    crop: Cutting


def length_for(image: RGBImage) -> int:
    """How many frames of this size make a stretch."""
    return int(np.clip(_BYTES // image.nbytes, 2, _LONGEST))


def take(source: "Iterator[Picture | Packet[AudioStream]]", length: int) -> Stretch:
    """The next `length` pictures and the sound between them; fewer at the clip's end."""
    parts = []
    pictures = 0
    for part in source:
        parts.append(part)
        pictures += isinstance(part, Picture)
        if pictures == length:
            break
    return Stretch(0, parts)


def beside(video: VideoFile) -> Path:
    """A new name in the same folder."""
    return video.with_name(f"{video.stem}.anonymized-{secrets.token_hex(4)}{video.suffix}")


@dataclass(frozen=True, slots=True)
class Prepared:
    """images: with a mosaic where a face cannot be swapped; changed: where in each image; inputs: what the swap needs,
    one for each scene"""

    stretch: Stretch
    images: list[RGBImage]
    changed: list[list[Box]]
    scenes: list[Scene]
    inputs: list[SwapInput]


def prepare(stretch: Stretch, parts: dict[int, Part], skin: str, *, hide: bool) -> Prepared:
    """Cut out the faces that can be swapped, and lay a mosaic over those that cannot (where `hide` is set).

    skin: as the options have it
    """
    margin = _MARGIN if skin == "target" else _SKIN_MARGIN
    images, scenes = list(stretch.images), []
    changed: list[list[Box]] = [[] for _ in images]
    for index, people in enumerate(stretch.people):
        frame = stretch.start + index
        for track, sighting in people:
            part = parts[track.id]
            part.first, part.last = min(part.first, frame), max(part.last, frame)
            if part.face is not None and sighting.points is not None and can_be_swapped(sighting):
                face = face_from_landmarks(sighting.points)
                crop = cut_out(images[index], face, margin=margin, smallest=48, largest=_LARGEST_SWAP)
                scenes.append(Scene(frame, index, part, sighting.points, crop))
                changed[index].append(_reach(crop))
                part.swapped += 1
            elif hide:
                images[index] = mosaic(images[index], sighting.face)
                changed[index].append(sighting.face.box.scaled(_MOSAIC_REACH))
                part.mosaic += 1
            else:
                part.kept += 1
    return Prepared(stretch, images, changed, scenes, [_swap_input(scene, skin) for scene in scenes])


def _swap_input(scene: Scene, skin: str) -> SwapInput:
    face, looks = scene.part.face, scene.part.looks
    if face is None or looks is None:
        raise ValueError(f"expected a virtual face for track {scene.part.track}, got none")
    labels = scene.part.labels(scene.frame, scene.points, scene.crop)
    image, wanted = scene.crop.image, wanted_tone(skin, face)
    if wanted is not None:
        image = with_skin(image, labels, looks.tone, wanted)
    target = FaceView(image=image, landmarks=scene.crop.inward(scene.points), labels=labels)
    return SwapInput(source=face.view, target=target, quality="fast")


def paste(ready: Prepared, swapped: Sequence[SwappedFace]) -> list[Picture]:
    """The pictures with the swapped faces laid into them."""
    images = list(ready.images)
    for scene, before, face in zip(ready.scenes, ready.inputs, swapped, strict=True):
        mask = face.mask
        if before.target.image is not scene.crop.image:  # neck and ears were recoloured
            changed = (before.target.image != scene.crop.image).any(axis=2)
            mask = Mask(np.where(changed, 255, mask).astype(np.uint8))
        images[scene.index] = lay_back(images[scene.index], face.image, mask, scene.crop.matrix)
    return [
        picture.repainted(image, boxes)
        for picture, image, boxes in zip(ready.stretch.pictures, images, ready.changed, strict=True)
    ]


def _reach(crop: Cutting) -> Box:
    """Where in the picture a crop lies, and a pixel around."""
    height, width = crop.image.shape[:2]
    corners = np.array([[-1, -1], [width, -1], [width, height], [-1, height]], np.float32)
    return bounding_box(transform(corners, invert(crop.matrix))).shifted(0.5, 0.5)


def write(writer: VideoWriter, stretch: Stretch, pictures: Sequence[Picture]) -> None:
    """Encode the pictures, and copy the sound between them."""
    remaining = iter(pictures)
    for part in stretch.parts:
        if isinstance(part, Picture):
            writer.write(next(remaining))
        else:
            writer.copy(part)
