"""Every face of a video, frame by frame: a detector looks now and then, a mesh looks always.

The detector sees every few frames. Where two of its looks agree on who is there, the frames between get
their faces by interpolation; where they do not, it looks halfway, again and again, until the frame is found
at which somebody came or went. From there the mesh follows the face further, forwards and backwards, for as
long as it recognises one. Only the current and the previous stretch of frames are held.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deployments.roles import Face, FaceMesh, LandmarksInput
from graphs.face_view import Cutting, cut_out
from graphs.tracking import (
    FILL,
    Sighting,
    Track,
    affinity,
    between,
    calm,
    is_cut,
    is_cut_off,
    match,
    share_inside,
    steady,
    thumbnail,
)
from modiste.image import Landmarks, RGBImage

Detect = Callable[[Sequence[RGBImage]], Awaitable[list[tuple[Face, ...]]]]
Mesh = Callable[[Sequence[LandmarksInput]], Awaitable[list[FaceMesh]]]

SURE = 0.5
"""Mesh score from which on its points are a face."""
_REACH = 0.7
"""How far a face may move between two looks and still be taken for the same one, in widths of the face."""
_HARDLY, _MOSTLY = 0.1, 0.6
"""Share of a face inside the picture from which on it is followed at all, and by its mesh."""
_UNSEEN = 3
"""For how many frames a face that is leaving the picture is kept covered where the mesh has lost it."""
_CLOSEUP = 256
"""Longer side of the crop that the mesh gets, pixels: more than it resolves, less to carry."""


class FaceTracker:
    """Feed consecutive stretches with `look`; ask `at` for frames of the stretch before the latest one."""

    def __init__(self, detect: Detect, mesh: Mesh, outline: Callable[[Landmarks], Face], interval: int) -> None:
        """outline: the face that landmarks lie on; interval: frames between looks of the detector."""
        self._detect, self._mesh, self._outline, self._interval = detect, mesh, outline, interval
        self._frames: dict[int, RGBImage] = {}
        self._looks: dict[int, list[Sighting]] = {}
        self._cuts: set[int] = set()
        self._thumbnail: NDArray[np.float32] | None = None
        self._next = 0
        self._born = 0
        self._planned: list[tuple[Track, int]] = []
        self.tracks: list[Track] = []

    async def look(self, frames: Sequence[RGBImage]) -> None:
        """Take in the next frames and settle who is in them."""
        start, self._next = self._next, self._next + len(frames)
        floor = min(self._frames, default=start)
        for index, frame in enumerate(frames, start):
            self._frames[index] = frame
            small = thumbnail(frame)
            if self._thumbnail is not None and is_cut(self._thumbnail, small):
                self._cuts.add(index)
            self._thumbnail = small
        before = max(self._looks, default=None)
        ends = {i for cut in self._cuts if cut >= start for i in (cut - 1, cut)}
        regular = range(start + self._interval - 1, self._next, self._interval)
        keys = sorted({*regular, self._next - 1, *(ends - self._looks.keys()), *([start] if start == 0 else [])})
        await self._see([key for key in keys if key >= start or key not in self._looks])
        while middles := self._unsettled(start if before is None else before):
            await self._see(middles)
        looks = sorted(k for k in self._looks if k >= (start if before is None else before))
        newborn = [] if before is not None else [self._open(looks[0], s) for s in self._looks[looks[0]]]
        for a, b in pairwise(looks):
            newborn += await self._advance(a, b)
        await self._measure()
        for track in newborn:
            await self._reach_back(track, floor)
        self._looks = {self._next - 1: self._looks[self._next - 1]}

    def forget(self, before: int) -> list[Track]:
        """Let go of frames that are done; returns the tracks that ended among them."""
        keep = before - FILL
        self._frames = {i: frame for i, frame in self._frames.items() if i >= before}
        self._cuts = {cut for cut in self._cuts if cut >= keep}
        gone = []
        for track in self.tracks:
            track.sightings = {i: s for i, s in track.sightings.items() if i >= keep or i == track.last}
            if track.ended and track.last < before:
                gone.append(track)
        self.tracks = [track for track in self.tracks if track not in gone]
        return gone

    def at(self, frame: int) -> list[tuple[Track, Sighting]]:
        """Who is in a frame, with calm landmarks."""
        found = []
        for track in self.tracks:
            sighting = track.sightings.get(frame)
            if sighting is not None:
                found.append((track, replace(sighting, points=calm(track, frame))))
        return found

    def _unsettled(self, since: int) -> list[int]:
        """Frames halfway between neighbouring looks that disagree."""
        looks = sorted(k for k in self._looks if k >= since)
        middles = []
        for a, b in pairwise(looks):
            if b - a < 2 or b in self._cuts:
                continue
            left, right = self._looks[a], self._looks[b]
            pairs = match([s.face for s in left], [s.face for s in right], reach=_REACH)
            if not len(pairs) == len(left) == len(right):
                middles.append((a + b) // 2)
        return middles

    async def _see(self, frames: Sequence[int]) -> None:
        """Let the detector look at frames, and the mesh at the faces it finds."""
        found = await self._detect([self._frames[i] for i in frames]) if frames else []
        # From left to right, so that tokens are dealt in an order that can be foreseen.
        where = [
            (i, f) for i, faces in zip(frames, found, strict=True) for f in sorted(faces, key=lambda f: f.box.left)
        ]
        for i in frames:
            self._looks[i] = []
        for (i, face), points in zip(where, await self._points(where), strict=True):
            # On half a face the mesh slips off to where it finds room.
            if points is None or is_cut_off(face.box, self._frames[i].shape):
                self._looks[i].append(Sighting(face, None))
            else:
                self._looks[i].append(Sighting(self._outline(points), points))

    async def _advance(self, a: int, b: int) -> list[Track]:
        """Carry the open tracks from one look to the next; returns the tracks that begin there."""
        right = self._looks[b]
        alive = [track for track in self.tracks if not track.ended]
        if b in self._cuts:
            for track in alive:
                track.ended = True
            return [self._open(b, sighting) for sighting in right]
        pairs = match([t.sightings[a].face for t in alive], [s.face for s in right], reach=_REACH)
        for i, j in pairs:
            here, there = alive[i].sightings[a].face, right[j].face
            for frame in range(a + 1, b):
                self._plan(alive[i], frame, between(here, there, (frame - a) / (b - a)))
            alive[i].sightings[b] = right[j]
        free = [s for j, s in enumerate(right) if j not in {j for _, j in pairs}]
        lonely = [t for i, t in enumerate(alive) if i not in {i for i, _ in pairs}]
        for track in lonely:
            track.ended = not await self._follow(track, range(a + 1, b + 1))
        followed = [t for t in lonely if not t.ended]
        again = match([t.sightings[b].face for t in followed], [s.face for s in free], reach=_REACH)
        for i, j in again:
            followed[i].sightings[b] = free[j]
        return [self._open(b, s) for j, s in enumerate(free) if j not in {j for _, j in again}]

    def _open(self, frame: int, sighting: Sighting) -> Track:
        track = Track(self._born, frame, {frame: sighting})
        self._born += 1
        self.tracks.append(track)
        return track

    async def _follow(self, track: Track, frames: Iterable[int]) -> bool:
        """Let the mesh lead from frame to frame; False where it loses the face, or runs into another one."""
        unseen = 0
        for frame in frames:
            side = -1 if frame - 1 in track.sightings else 1
            known = track.sightings[frame + side]
            points = (await self._points([(frame, known.face)]))[0]
            shape = self._frames[frame].shape[:2]
            if points is None or not self._plausible(known, points, shape):
                # Half a face at the picture's edge is no matter for a mesh, but still somebody's.
                before = track.sightings.get(frame + 2 * side, known)
                there = between(before.face, known.face, 2.0) if known.points is not None else known.face
                unseen += 1
                if unseen > _UNSEEN or not _HARDLY < share_inside(there.box.scaled(1.1), shape) < 1:
                    return False
                sighting = Sighting(there, None)
            else:
                sighting = Sighting(self._outline(points), points)
            others = [t.sightings[frame].face for t in self.tracks if t is not track and frame in t.sightings]
            if match([sighting.face], others, reach=_REACH / 2):
                return False
            track.sightings[frame] = sighting
        return True

    def _plausible(self, known: Sighting, points: Landmarks, shape: tuple[int, ...]) -> bool:
        """Is a mesh that was led on from the frame beside still on the face?"""
        inside = share_inside(known.face.box.scaled(1.1), shape)
        if known.points is None or share_inside(self._outline(points).box, shape) < _MOSTLY:
            return known.points is None and inside == 1
        return steady(known.points, points, strict=inside < 1)

    def _plan(self, track: Track, frame: int, face: Face) -> None:
        track.sightings[frame] = Sighting(face, None)
        self._planned.append((track, frame))

    async def _measure(self) -> None:
        """Landmarks for the frames between looks, all at once."""
        planned, self._planned = self._planned, []
        points = await self._points([(i, track.sightings[i].face) for track, i in planned])
        for (track, i), found in zip(planned, points, strict=True):
            there = track.sightings[i].face
            if found is not None and affinity(self._outline(found), there, reach=_REACH) > 0:
                track.sightings[i] = Sighting(there, found)

    async def _reach_back(self, track: Track, floor: int) -> None:
        """Join a new track to one that was lost shortly before, or follow it back to where it came from."""
        scene = max((cut for cut in self._cuts if cut <= track.first), default=0)
        lost = [
            t for t in self.tracks
            if t.ended and max(floor - 1, scene) <= t.last < track.first - 1 and t is not track
        ]  # fmt: skip
        face = track.sightings[track.first].face
        joined = match([t.sightings[t.last].face for t in lost], [face], reach=_REACH * 1.5)
        if not joined:
            await self._follow(track, range(track.first - 1, max(floor, scene) - 1, -1))
            track.first = min(track.sightings)
            return
        earlier = lost[joined[0][0]]
        a, b = earlier.last, track.first
        for frame in range(a + 1, b):
            self._plan(earlier, frame, between(earlier.sightings[a].face, face, (frame - a) / (b - a)))
        earlier.sightings |= track.sightings
        earlier.ended = track.ended
        self.tracks.remove(track)
        await self._measure()

    async def _points(self, where: Sequence[tuple[int, Face]]) -> list[Landmarks | None]:
        """The mesh at faces of frames, in the frames' coordinates."""
        views = [closeup(self._frames[i], face) for i, face in where]
        meshes = await self._mesh([view for view, _ in views]) if views else []
        return [
            crop.outward(mesh.points) if mesh.score >= SURE else None
            for mesh, (_, crop) in zip(meshes, views, strict=True)
        ]


def closeup(image: RGBImage, face: Face) -> tuple[LandmarksInput, Cutting]:
    """A face with its margin, small enough to send around, and how it was cut out."""
    crop = cut_out(image, face, margin=2.0, smallest=1, largest=_CLOSEUP)
    return LandmarksInput(image=crop.image, face=crop.face_inward(face)), crop
