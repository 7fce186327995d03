"""Video files in: what a clip is, and its pictures one after the other. Writing is in `modiste.video_writer`.

Uploaded files are hostile until read here: the type is read from the content and decides which demuxer may
open the file at all (no playlists, no references to other files), and size, pixel count and wholeness are
checked before any picture but the first is decoded. Memory does not grow with the clip's length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modiste.errors import BrokenFile, EmptyVideo, FileTooLarge, TooManyPixels, UnsupportedType
from modiste.geometry import Box
from modiste.image import RGBImage
from modiste.planes import Colours, Plane, Planes
from modiste.settings import settings

VideoContainer = Literal["mp4", "mov", "webm"]
VIDEO_MEDIA_TYPES: dict[VideoContainer, str] = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
}
CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1")
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_EXACT = 2 | 0x40000
"""libswscale's bilinear, accurate rounding: its fastest way that does not darken pictures by a level."""
_STORED = ("yuv420p", "yuvj420p")
_DEMUXERS: dict[VideoContainer, str] = {"mp4": "mov", "mov": "mov", "webm": "matroska"}


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture becomes upright: rows and columns exchanged first, then mirrored."""

    exchange: bool = False
    mirror_rows: bool = False
    mirror_columns: bool = False

    def apply(self, plane: Plane) -> Plane:
        turned = plane.swapaxes(0, 1) if self.exchange else plane
        rows, columns = (slice(None, None, -1 if m else 1) for m in (self.mirror_rows, self.mirror_columns))
        return np.ascontiguousarray(turned[rows, columns])


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """What a video file holds.

    width, height: of the upright picture, pixels; frames: how many will be shown; duration: seconds
    fps: average, of a clip that may have a variable rate; audio: codec of each sound track
    """

    container: VideoContainer
    codec: str
    width: int
    height: int
    frames: int
    duration: float
    fps: float
    audio: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One upright frame. image: as it was read; planes: as it is stored, and will be written; pts, duration: in units
    of the clip's time base."""

    image: RGBImage
    planes: Planes
    pts: int
    duration: int

    def repainted(self, image: RGBImage, boxes: Sequence[Box]) -> "Picture":
        """With what `image` shows inside the boxes; elsewhere it is not encoded from RGB, but left as it was stored."""
        return replace(self, image=image, planes=self.planes.repainted(image, boxes))


def sniff_container(head: bytes) -> VideoContainer | None:
    """The container that a file's first 64 bytes announce; None where it is none of ours."""
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm" if b"webm" in head else None
    if head[4:8] == b"ftyp":
        if head[8:12] in _STILL_BRANDS:
            return None
        return "mov" if head[8:12] == b"qt  " else "mp4"
    return "mov" if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip") else None


def probe(path: Path) -> Clip:
    """Look at a video file: reads it all, decodes its first picture only.

    raises: FileTooLarge, UnsupportedType, EmptyVideo, TooManyPixels, BrokenFile
    """
    with VideoReader(path) as reader:
        shown, end = 0, Fraction(0)
        try:
            for packet in reader.container.demux(reader.video):
                if packet.size and packet.pts is not None and not packet.is_discard:
                    shown += 1
                    end = max(end, (packet.pts + (packet.duration or 0)) * reader.time_base)
        except av.error.FFmpegError as error:
            raise BrokenFile(f"expected a whole video, but reading stopped: {error.strerror}") from error
        declared = reader.video.frames
        if shown == 0:
            raise EmptyVideo("expected a video with frames, got one whose picture track is empty")
        if declared > 0 and shown + 2 < declared and end < _length(reader.video) * Fraction(99, 100):
            raise BrokenFile(f"expected a whole video of {declared} frames, got one that is cut off after {shown}")
        first = reader.first
        height, width = first.image.shape[:2]
        start = first.pts * reader.time_base
        return Clip(
            container=reader.kind,
            codec=reader.codec,
            width=width,
            height=height,
            frames=shown,
            duration=round(float(end - start), 3),
            fps=round(float(reader.fps), 3),
            audio=tuple(stream.codec_context.name for stream in reader.sound),
        )


def _length(stream: VideoStream) -> Fraction:
    return (stream.duration or 0) * Fraction(stream.time_base or 0)


class VideoReader:
    """A video file open for reading, once. Use as a context manager.

    first: the first picture, decoded on opening; `parts` gives it again
    """

    def __init__(self, path: Path) -> None:
        """raises: FileTooLarge, UnsupportedType, EmptyVideo, TooManyPixels, BrokenFile"""
        with path.open("rb") as file:
            kind = sniff_container(file.read(64))
        if kind is None:
            raise UnsupportedType("expected an mp4, webm or mov video, got a file that is none of these")
        if path.stat().st_size > settings().max_video_bytes:
            raise FileTooLarge(f"expected at most {settings().max_video_bytes} bytes, got {path.stat().st_size}")
        self.kind, self.path = kind, path
        self.container = self._open()
        try:
            self.video = self._picture_track()
            self.first = next(part for part in self.parts() if isinstance(part, Picture))
            # The first picture is part of the stream that is handed out: start again.
            self.container.close()
            self.container = self._open()
            self.video = self._picture_track()
        except StopIteration:
            self.container.close()
            raise EmptyVideo("expected a video with frames, got one whose picture track is empty") from None
        except BaseException:
            self.container.close()
            raise
        self.sound: list[AudioStream] = list(self.container.streams.audio)
        self.time_base = Fraction(self.video.time_base or Fraction(1, 1000))
        self.fps = Fraction(self.video.average_rate or self.video.guessed_rate or 25)

    def _open(self) -> InputContainer:
        try:
            return av.open(str(self.path), "r", format=_DEMUXERS[self.kind])
        except av.error.FFmpegError as error:
            raise BrokenFile(
                f"expected a whole {self.kind} video, but it cannot be opened: {error.strerror}"
            ) from error

    def _picture_track(self) -> VideoStream:
        stream = self.container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise EmptyVideo("expected a video with a picture track, got a file without one")
        # Decoders may be named after their library (libdav1d); the codec is what the file holds.
        self.codec = stream.codec_context.codec.canonical_name
        if self.codec not in CODECS:
            raise UnsupportedType(f"expected a video codec of {', '.join(CODECS)}, got {self.codec}")
        if stream.width * stream.height > settings().max_pixels:
            limit = settings().max_pixels
            raise TooManyPixels(f"expected at most {limit} pixels, got {stream.width} x {stream.height}")
        stream.thread_type = "AUTO"
        return stream

    def parts(self) -> "Iterator[Picture | Packet[AudioStream]]":
        """Pictures in the order they are shown, and sound packets, interleaved as in the file.

        raises: BrokenFile
        """
        streams = [self.video, *self.container.streams.audio]
        try:
            for packet in self.container.demux(streams):
                if packet.stream is not self.video:
                    if packet.size:  # the demuxer ends each stream with an empty packet
                        yield cast("Packet[AudioStream]", packet)
                    continue
                for frame in self.video.decode(packet):
                    yield self._picture(frame)
        except av.error.FFmpegError as error:
            raise BrokenFile(f"expected a whole video, but decoding stopped: {error.strerror}") from error

    def _picture(self, frame: VideoFrame) -> Picture:
        if frame.pts is None:
            raise BrokenFile("expected a video whose frames say when they are shown, got one that does not")
        pts, duration, context = frame.pts, frame.duration or 0, self.video.codec_context
        upright = _orientation(frame)
        if frame.format.name not in _STORED:
            of = context.color_range
            frame = frame.reformat(format="yuv420p", interpolation=_EXACT, src_color_range=of, dst_color_range=of)
        y, u, v = (
            upright.apply(np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width])
            for plane in frame.planes
        )
        planes = Planes(y, u, v, Colours(context.colorspace, context.color_range))
        return Picture(planes.rgb(), planes, pts, duration)

    def close(self) -> None:
        self.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _orientation(frame: VideoFrame) -> Orientation:
    """The display matrix (QuickTime file format, `tkhd`) as exchange and mirrors; right angles only."""
    sides = cast("list[SideData]", list(frame.side_data))  # iterates over its values
    matrix = next((bytes(side) for side in sides if side.type == Type.DISPLAYMATRIX), None)
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix, dtype="<i4")[:5]
    if abs(int(a)) >= abs(int(b)):
        return Orientation(mirror_rows=d < 0, mirror_columns=a < 0)
    return Orientation(exchange=True, mirror_rows=b < 0, mirror_columns=c < 0)
