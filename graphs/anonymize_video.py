"""Every person in a video gets a virtual face of similar looks, the same one over the whole clip.

The clip flows through in stretches: while one is swapped and encoded, the next is decoded and searched, so that
a few stretches are all that is ever held.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import get_args

from pydantic import Field

from deployments.roles import FaceSeed, PartSwap, SwappedFace, face_from_landmarks
from graphs.base import VideoFile, uses
from graphs.casting import STRANGER, draw, load_cast, rank
from graphs.face_exchange import HEAD_MARGIN, AnonymizeOptions, FaceExchange, How, asked_faces
from graphs.face_token import encode
from graphs.face_tracks import FaceTracker
from graphs.face_view import cut_out
from graphs.impersonation import HeadView, Part
from graphs.pipeline import ahead, in_thread
from graphs.skin import as_hex
from graphs.stretch import Prepared, Scene, Stretch, beside, length_for, paste, prepare, take, write
from graphs.tracking import Track
from modiste.image import Landmarks, RGBImage
from modiste.metrics import FACES, record
from modiste.telemetry import progress, step
from modiste.video import Picture, VideoReader, probe
from modiste.video_writer import VideoWriter

_PARSE_SIDE = 320
_SEARCHED_AHEAD = 6
"""Stretches that may wait while virtual faces are generated."""
_BRIEF = 3
"""Frames up to which a track is covered by a mosaic: nobody sees a face that short."""


class AnonymizeVideoOptions(AnonymizeOptions):
    """As for a picture, and how often the detector looks."""

    interval: int = Field(default=12, ge=1, le=12, description="frames from one look of the face detector to the next")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymizeVideoRequest:
    """video: mp4, mov or webm; the result is written beside it"""

    video: VideoFile
    options: AnonymizeVideoOptions = field(default_factory=AnonymizeVideoOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackReport:
    """One person's appearance in the clip.

    first, last:   frames, from 0, both inclusive
    coverage:      share of these frames in which the face was swapped or covered, 0-1
    swapped, mosaic, kept: frames of each kind; kept only where the options ask for it
    token:         the virtual face, to use it again; None where no frame could be swapped
    offered:       tokens of the nine virtual faces that suit the person best, best first
    skin:          the person's skin tone, #rrggbb
    cosine_before: mean likeness of the identity embeddings of this track's original frames among each other
    cosine_after:  mean likeness of the original and the anonymized frames; None where no frame was swapped
    """

    first: int
    last: int
    coverage: float
    swapped: int
    mosaic: int
    kept: int
    token: str | None
    offered: tuple[str, ...]
    skin: str | None
    cosine_before: float | None
    cosine_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymizeVideoResult:
    """frames: how many were written; duration: seconds; width, height: pixels; tracks: by appearance"""

    video: VideoFile
    tracks: tuple[TrackReport, ...]
    frames: int
    fps: float
    duration: float
    width: int
    height: int


class AnonymizeVideo(FaceExchange[AnonymizeVideoRequest, AnonymizeVideoResult]):
    request = AnonymizeVideoRequest
    result = AnonymizeVideoResult

    swap = uses(PartSwap)

    async def __call__(self, request: AnonymizeVideoRequest) -> AnonymizeVideoResult:
        """raises: FileTooLarge, UnsupportedType, EmptyVideo, TooManyPixels, BrokenFile, UnknownFace"""
        asked = asked_faces(request.options)
        clip = await in_thread(probe, request.video)
        target = beside(request.video)
        parts: dict[int, Part] = {}
        frames = 0
        with VideoReader(request.video) as reader, VideoWriter(target, reader) as writer:
            searched = ahead(self.search(reader, request.options.interval), by=_SEARCHED_AHEAD)
            prepared = ahead(self._prepared(searched, parts, asked, request.options))
            swapped = ahead(self._swapped(prepared))
            async with aclosing(ahead(self._pasted(swapped))) as done:
                async for stretch, pictures in done:
                    with step("encode"):
                        await in_thread(write, writer, stretch, pictures)
                    frames += len(pictures)
                    progress(frames / clip.frames)
        tracks = tuple(_report(part) for part in parts.values())
        for how in get_args(How):
            if seen := sum(getattr(track, how) for track in tracks):
                record(FACES, seen, flow="anonymize_video", outcome=how)
        return AnonymizeVideoResult(
            video=VideoFile(target),
            tracks=tracks,
            frames=frames, fps=clip.fps, duration=clip.duration, width=clip.width, height=clip.height,
        )  # fmt: skip

    async def search(self, reader: VideoReader, interval: int) -> AsyncGenerator[Stretch, None]:
        """Decode and search; each stretch is given out when the one after it has been searched too."""
        length = length_for(reader.first.image)
        tracker = FaceTracker(self.detect.many, self.mesh.many, face_from_landmarks, min(interval, length))
        held: Stretch | None = None
        async with aclosing(ahead(self._taken(reader, length))) as taken:
            async for coming in taken:
                if coming.images:
                    await tracker.look(coming.images)
                if held is not None:
                    yield held.with_people(tracker)
                    tracker.forget(held.start + len(held.images))
                held = coming if held is None else coming.after(held)
        if held is not None:
            yield held.with_people(tracker)

    async def _taken(self, reader: VideoReader, length: int) -> AsyncGenerator[Stretch, None]:
        source = reader.parts()
        more = True
        while more:
            with step("decode"):
                stretch = await in_thread(take, source, length)
            yield stretch
            more = len(stretch.images) == length

    async def _prepared(
        self,
        searched: AsyncGenerator[Stretch, None],
        parts: dict[int, Part],
        asked: Sequence[FaceSeed],
        options: AnonymizeVideoOptions,
    ) -> AsyncGenerator[Prepared, None]:
        """Everybody cast, their heads parsed, their faces cut out; a mosaic over those that cannot be swapped."""
        async with aclosing(searched):
            async for stretch in searched:
                await self._cast(stretch, parts, asked, options.seed)
                await self._parse_heads(stretch, parts)
                yield await in_thread(prepare, stretch, parts, options.skin, hide=options.unswappable == "mosaic")

    async def _swapped(
        self, prepared: AsyncGenerator[Prepared, None]
    ) -> AsyncGenerator[tuple[Prepared, list[SwappedFace]], None]:
        async with aclosing(prepared):
            async for ready in prepared:
                yield ready, await self.swap.many(ready.inputs)

    async def _pasted(
        self, swapped: AsyncGenerator[tuple[Prepared, list[SwappedFace]], None]
    ) -> AsyncGenerator[tuple[Stretch, list[Picture]], None]:
        """The pictures with their new faces."""
        async with aclosing(swapped):
            async for ready, faces in swapped:
                with step("paste"):
                    pictures = await in_thread(paste, ready, faces)
                await self._sample(ready.stretch.pictures, pictures, ready.scenes)
                yield ready.stretch, pictures

    async def _cast(self, stretch: Stretch, parts: dict[int, Part], asked: Sequence[FaceSeed], seed: int) -> None:
        """Find a virtual face for everybody who is new."""
        newcomers: dict[int, Track] = {}
        for track, _ in (who for people in stretch.people for who in people):
            part = parts.setdefault(track.id, Part(track.id, track.first))
            if part.face is None and len(track.sightings) > _BRIEF and stretch.best_view(track) is not None:
                newcomers[track.id] = track
        await asyncio.gather(*(self._meet(stretch, track, parts[track.id]) for track in newcomers.values()))

        busy = list(dict.fromkeys(part.face.seed for part in parts.values() if part.face is not None))
        to_make: dict[int, FaceSeed] = {}
        for number in sorted(newcomers):
            part, person = parts[number], len(busy)
            part.face = part.seen_before(parts.values(), stretch.start)
            if part.face is None:
                to_make[number] = asked[person] if person < len(asked) else draw(part.offered, seed, person, set(busy))
                busy.append(to_make[number])
        made = await asyncio.gather(
            *(self.virtual_face(face, stretch.source_side(newcomers[number])) for number, face in to_make.items())
        )
        for number, face in zip(to_make, made, strict=True):
            parts[number].face = face

    async def _meet(self, stretch: Stretch, track: Track, part: Part) -> None:
        """Look at a person for the first time."""
        best = stretch.best_view(track)
        if best is not None:
            view = await self._head(stretch.image(best[0]), *best)
            part.remember(view)
            part.looks = await self.looks(view.crop, view.crop.inward(view.points), view.labels)
            part.offered = rank(part.looks, load_cast(), too_alike=STRANGER)

    async def _head(self, image: RGBImage, frame: int, points: Landmarks) -> HeadView:
        crop = cut_out(
            image, face_from_landmarks(points), margin=HEAD_MARGIN, smallest=_PARSE_SIDE, largest=_PARSE_SIDE
        )
        return HeadView(frame, points, crop, await self.parse(crop.image))

    async def _parse_heads(self, stretch: Stretch, parts: dict[int, Part]) -> None:
        """Parse each head once more where it has turned, or was not parsed for long."""
        wanted: dict[int, tuple[float, int, Landmarks]] = {}
        for frame, people in enumerate(stretch.people, stretch.start):
            for track, sighting in people:
                part = parts[track.id]
                if part.face is None or sighting.points is None:
                    continue
                need = part.wants_view(frame, sighting.points)
                if need > max(1.0, wanted.get(track.id, (1.0,))[0]):
                    wanted[track.id] = (need, frame, sighting.points)
        views = await asyncio.gather(*(self._head(stretch.image(f), f, points) for _, f, points in wanted.values()))
        for number, view in zip(wanted, views, strict=True):
            parts[number].remember(view)

    async def _sample(self, before: list[Picture], after: list[Picture], scenes: Sequence[Scene]) -> None:
        """Measure now and then who each person is taken for, before and after."""
        chosen: dict[int, Scene] = {}
        for scene in scenes:
            if scene.part.wants_sample(scene.frame):
                chosen.setdefault(scene.part.track, scene)
        faces = [(shown[s.index].image, s.points) for s in chosen.values() for shown in (before, after)]
        found = await self.identities(faces)
        for i, scene in enumerate(chosen.values()):
            scene.part.before.append(found[2 * i])
            scene.part.after.append(found[2 * i + 1])


def _report(part: Part) -> TrackReport:
    shown = part.swapped + part.mosaic + part.kept
    before = [float(a @ b) for i, a in enumerate(part.before) for b in part.before[:i]]
    after = [float(a @ b) for a in part.before for b in part.after]
    return TrackReport(
        first=part.first,
        last=part.last,
        coverage=round((shown - part.kept) / (part.last - part.first + 1), 4),
        swapped=part.swapped,
        mosaic=part.mosaic,
        kept=part.kept,
        token=None if part.face is None else encode(part.face.seed),
        offered=tuple(encode(face) for face in part.offered),
        skin=None if part.looks is None else as_hex(part.looks.tone),
        cosine_before=round(sum(before) / len(before), 4) if before else None,
        cosine_after=round(sum(after) / len(after), 4) if after else None,
    )
