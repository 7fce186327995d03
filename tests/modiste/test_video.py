"""Round trips through real files made on the spot: times, sound, orientation, colour, refusals."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from modiste.errors import BrokenFile, EmptyVideo, UnsupportedType
from modiste.video import Orientation, Picture, VideoReader, probe
from modiste.video_writer import VideoWriter

SIZE = (96, 64)  # width, height
UNEVEN = tuple(int(t) for t in np.cumsum([0, 40, 40, 120, 40, 7, 200, 33, 33, 33, 90, 40, 61, 19]))


def paint(i: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """A smooth picture with one red corner (top left) and a green one (top right), so that turning shows."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([80 + x // 2, 90 + y // 2, np.full_like(x, 60 + 5 * i)], axis=-1).astype(np.uint8)
    image[: height // 3, : width // 3] = (220, 30, 30)
    image[: height // 3, -width // 3 :] = (30, 200, 30)
    return image


def make(path: Path, *, codec: str = "libx264", sound: str | None = None, times: tuple[int, ...] = UNEVEN,
         degrees: float = 0, size: tuple[int, int] = SIZE) -> Path:  # fmt: skip
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": "0"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if degrees:
            stream.set_display_rotation(degrees)
        track = container.add_stream(sound, rate=48000) if sound else None
        for i, pts in enumerate(times):
            frame = VideoFrame.from_ndarray(paint(i, *size), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            tone = (np.sin(np.arange(960 * 40) / 20) * 0.3).astype(np.float32)
            for i in range(40):
                block = AudioFrame.from_ndarray(tone[None, i * 960 : (i + 1) * 960], format="flt", layout="mono")
                block.sample_rate, block.pts = 48000, i * 960
                container.mux(track.encode(block))
            container.mux(track.encode(None))
    return path


def rewrite(source: Path, target: Path) -> None:
    with VideoReader(source) as reader, VideoWriter(target, reader) as writer:
        for part in reader.parts():
            if isinstance(part, Picture):
                writer.write(part)
            else:
                writer.copy(part)


def pictures(path: Path) -> list[Picture]:
    with VideoReader(path) as reader:
        return [part for part in reader.parts() if isinstance(part, Picture)]


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(audio=0) if p.size and p.pts is not None]


@pytest.mark.parametrize(
    ("suffix", "codec", "sound", "becomes"),
    [
        (".mp4", "libx264", "aac", "h264"),
        (".mov", "libx264", "aac", "h264"),
        (".webm", "libvpx-vp9", "libopus", "vp9"),
        (".mp4", "libsvtav1", "aac", "h264"),
    ],
)
def test_times_frames_sound_and_colour_survive(
    tmp_path: Path, suffix: str, codec: str, sound: str, becomes: str
) -> None:
    source = make(tmp_path / f"in{suffix}", codec=codec, sound=sound)
    target = tmp_path / f"out{suffix}"
    rewrite(source, target)

    before, after = probe(source), probe(target)
    assert after.codec == becomes
    assert (after.frames, after.width, after.height, after.audio) == (14, *SIZE, before.audio)
    assert after.duration == pytest.approx(before.duration, abs=0.002)
    old, new = pictures(source), pictures(target)
    with VideoReader(source) as a, VideoReader(target) as b:
        shown = [round(p.pts * a.time_base * 1000) for p in old]
        assert shown == [round(p.pts * b.time_base * 1000) for p in new]
        assert shown == list(UNEVEN)
    assert sound_packets(target) == sound_packets(source)
    assert len(sound_packets(source)) >= 38
    for x, y in zip(old, new, strict=True):
        difference = x.image.astype(float) - y.image
        assert np.abs(difference).mean() < 4
        assert abs(difference.mean()) < 0.5
        assert np.abs(difference.mean(axis=(0, 1))).max() < 1.5


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, -1), (180, 2)])
def test_a_turned_clip_is_read_upright_and_written_upright(tmp_path: Path, degrees: int, turns: int) -> None:
    source, target = make(tmp_path / "in.mp4", degrees=degrees), tmp_path / "out.mp4"
    upright = np.rot90(paint(3), turns)
    assert np.abs(pictures(source)[3].image.astype(float) - upright).mean() < 8

    rewrite(source, target)

    clip = probe(target)
    assert (clip.height, clip.width) == upright.shape[:2]
    written = pictures(target)[3].image
    assert np.abs(written.astype(float) - upright).mean() < 8
    with av.open(str(target)) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_orientation_exchanges_before_it_mirrors() -> None:
    image = paint(0)
    turned = Orientation(exchange=True, mirror_columns=True).apply(image)
    np.testing.assert_array_equal(turned, np.rot90(image, -1))


def test_odd_sides_grow_by_one_pixel(tmp_path: Path) -> None:
    source = make(tmp_path / "in.webm", codec="libvpx-vp9", size=(97, 65))
    rewrite(source, tmp_path / "out.webm")
    clip = probe(tmp_path / "out.webm")
    assert (clip.width, clip.height) == (98, 66)


def test_a_failed_or_cancelled_write_leaves_nothing(tmp_path: Path) -> None:
    source, target = make(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    with (
        pytest.raises(KeyboardInterrupt),
        VideoReader(source) as reader,
        VideoWriter(target, reader) as writer,
    ):
        writer.write(reader.first)
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.mp4"
    text.write_bytes(b"#EXTM3U\nhttp://example.org/secret.mp4\n")
    with pytest.raises(UnsupportedType):
        probe(text)
    heif = tmp_path / "b.mp4"
    heif.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    with pytest.raises(UnsupportedType):
        probe(heif)


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=48000)
        block = AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="flt", layout="mono")
        block.sample_rate = 48000
        container.mux([*track.encode(block), *track.encode(None)])
    with pytest.raises(EmptyVideo):
        probe(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    """The index is at the front here, so that the file opens and only its pictures are missing."""
    whole = make(tmp_path / "whole.mp4", times=tuple(range(0, 2400, 40)))
    fast, cut = tmp_path / "fast.mp4", tmp_path / "cut.mp4"
    rewrite(whole, fast)
    encoded = fast.read_bytes()
    cut.write_bytes(encoded[: int(len(encoded) * kept)])
    with pytest.raises(BrokenFile):
        probe(cut)
    encoded = whole.read_bytes()
    cut.write_bytes(encoded[: int(len(encoded) * kept)])
    with pytest.raises(BrokenFile):
        probe(cut)
