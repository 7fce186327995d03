"""Video files out: pictures encoded anew, sound copied packet by packet.

mp4 and mov become H.264 (libx264), webm becomes VP9 (libvpx). Times of the pictures are those of the
original, also where its rate varies. Titles, places, subtitles and other tracks are left out on purpose.
"""

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modiste.planes import Plane
from modiste.video import Picture, VideoReader

# One thread takes a fifth less work than several, and pictures are made more slowly than it encodes them.
# Without B-frames an mp4 sample lasts exactly as long as its picture is shown: the length is kept to the tick.
_H264 = ("libx264", {"preset": "veryfast", "crf": "18", "bf": "0", "threads": "1"})
_ENCODERS = {
    "mp4": _H264,
    "mov": _H264,
    "webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "7", "crf": "20", "b": "0", "row-mt": "1"}),
}


class VideoWriter:
    """A video beside `path` that takes its name only when it is complete. Use as a context manager.

    An exception inside the block, cancellation included, leaves no file behind.
    """

    def __init__(self, path: Path, like: VideoReader) -> None:
        """like: the original, which gives container, time base, rate, colour description and sound tracks."""
        self.path = path
        handle, side = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        self._side = Path(side)
        # The index goes to the front, so that a browser can start before it has the whole file.
        options = {} if like.kind == "webm" else {"movflags": "faststart"}
        self._container = av.open(side, "w", format=like.kind, options=options)
        encoder, settings = _ENCODERS[like.kind]
        height, width = like.first.image.shape[:2]
        self._stream = cast(VideoStream, self._container.add_stream(encoder, rate=like.fps, options=dict(settings)))
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        source, context = like.video.codec_context, self._stream.codec_context
        context.time_base = like.time_base
        context.color_range, context.colorspace = source.color_range, source.colorspace
        context.color_primaries, context.color_trc = source.color_primaries, source.color_trc
        self._sound = {s.index: self._container.add_stream_from_template(s) for s in like.sound}
        self._time_base = like.time_base
        self._durations: dict[int, int] = {}

    def write(self, picture: Picture) -> None:
        """Encode one upright picture; they come in the order they are shown."""
        planes = [_even(picture.planes.y), picture.planes.u, picture.planes.v]
        stored = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, planes[0].shape[1])
        frame = VideoFrame.from_ndarray(stored, format="yuv420p")
        frame.colorspace, frame.color_range = self._stream.colorspace, self._stream.color_range
        frame.pts, frame.time_base = picture.pts, self._time_base
        self._durations[picture.pts] = picture.duration
        self._mux(self._stream.encode(frame))

    def copy(self, packet: "Packet[AudioStream]") -> None:
        """Lay a sound packet of the original into the file, bytes unchanged."""
        packet.stream = self._sound[packet.stream_index]
        self._container.mux_one(packet)

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration or 0)
            self._container.mux_one(packet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                self._side.replace(self.path)
        finally:
            self._side.unlink(missing_ok=True)


def _even(plane: Plane) -> Plane:
    """Colour is stored at half size, which needs even sides: odd ones repeat their last row or column."""
    height, width = plane.shape
    if height % 2 == 0 and width % 2 == 0:
        return plane
    return np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
