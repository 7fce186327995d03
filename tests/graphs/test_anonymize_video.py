"""Anonymizing video, on the default models and the sample clips, whose faces are known frame by frame."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from graphs.anonymize_video import (
    AnonymizeVideoOptions,
    AnonymizeVideoRequest,
    AnonymizeVideoResult,
)
from graphs.base import VideoFile
from graphs.local import LocalRunner
from graphs.report import run
from modiste.errors import EmptyVideo, UnknownFace, UnsupportedType
from modiste.image import RGBImage
from modiste.telemetry import Trace
from modiste.video import Picture, VideoReader, probe

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner() as opened:
        yield opened


@pytest.fixture(scope="module")
def clip(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoFile:
    """Two people, 48 frames, with sound."""
    path = tmp_path_factory.mktemp("clip") / "two.mp4"
    images = pictures(samples / "video" / "head_turn_two.mp4")[:48]
    write(path, images, sound=True)
    return VideoFile(path)


@pytest.fixture(scope="module")
def done(runner: LocalRunner, clip: VideoFile) -> AnonymizeVideoResult:
    return runner.run("anonymize_video", request(clip)).result


def request(video: Path, **options: object) -> AnonymizeVideoRequest:
    return AnonymizeVideoRequest(video=VideoFile(video), options=AnonymizeVideoOptions.model_validate(options))


def pictures(path: Path) -> list[RGBImage]:
    with VideoReader(path) as reader:
        return [part.image for part in reader.parts() if isinstance(part, Picture)]


def write(path: Path, images: list[RGBImage], *, sound: bool = False) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "16"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        track = container.add_stream("aac", rate=48000) if sound else None
        for number, image in enumerate(images):
            frame = VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            tone = np.sin(np.arange(1024 * 90) / 15).astype(np.float32) * np.float32(0.3)
            for number, part in enumerate(tone.reshape(90, 1, 1024)):
                block = AudioFrame.from_ndarray(part, format="flt", layout="mono")
                block.sample_rate, block.pts = 48000, number * 1024
                container.mux(track.encode(block))
            container.mux(track.encode(None))


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def truth(samples: Path, frame: int) -> list[np.ndarray]:
    known = json.loads((samples / "video" / "head_turn_two.faces.json").read_text())["frames"][frame]
    return [np.array(face["nose_reye_leye_rear_lear"][:3]) for face in known["faces"]]


def test_both_people_are_replaced_in_every_frame(done: AnonymizeVideoResult, clip: VideoFile) -> None:
    assert [(t.first, t.last, t.swapped, t.coverage) for t in done.tracks] == [(0, 47, 48, 1.0)] * 2
    assert done.tracks[0].token != done.tracks[1].token
    assert all(len(track.offered) == 9 for track in done.tracks)
    before, after = probe(clip), probe(done.video)
    assert (after.frames, after.duration, after.fps) == (before.frames, before.duration, before.fps)
    assert done.video.parent == clip.parent
    assert sound_packets(done.video) == sound_packets(clip)
    assert len(sound_packets(clip)) >= 90


def test_nobody_is_recognised(done: AnonymizeVideoResult) -> None:
    for track in done.tracks:
        assert track.cosine_before is not None
        assert track.cosine_after is not None
        assert track.cosine_before > 0.96
        assert track.cosine_after < track.cosine_before - 0.03


def test_every_known_face_is_changed_and_the_rest_is_not(
    done: AnonymizeVideoResult, clip: VideoFile, samples: Path
) -> None:
    far = 0.0
    for number, (old, new) in enumerate(zip(pictures(clip), pictures(done.video), strict=True)):
        change = np.abs(old.astype(int) - new).max(axis=2)
        elsewhere = np.ones(change.shape, bool)
        for points in truth(samples, number):
            x, y = points.mean(axis=0).astype(int)
            eyes = np.linalg.norm(points[1] - points[2])
            reach = int(0.5 * eyes)
            assert change[y - reach : y + reach, x - reach : x + reach].mean() > 4, f"frame {number}"
            low, high = int(max(0, y - 3 * eyes)), int(y + 3 * eyes)
            elsewhere[low:high, int(max(0, x - 3 * eyes)) : int(x + 3 * eyes)] = False
        far = max(far, float(change[elsewhere].mean()))
    assert far < 4  # what encoding anew costs


def test_the_new_face_does_not_flicker(done: AnonymizeVideoResult, clip: VideoFile, samples: Path) -> None:
    """Second differences over time, in a patch that goes with the face: no more than the original's, plus a little."""
    for person in range(2):
        unrest = []
        for images in (pictures(clip), pictures(done.video)):
            patches = []
            for number, image in enumerate(images):
                x, y = truth(samples, number)[person].mean(axis=0)
                corner = [round(v) - 16 for v in (x, y)]
                patches.append(image[corner[1] : corner[1] + 32, corner[0] : corner[0] + 32].mean(axis=(0, 1)))
            unrest.append(np.abs(np.diff(np.array(patches), n=2, axis=0)).mean())
        assert unrest[1] < unrest[0] + 0.6


def test_progress_rises_to_one(runner: LocalRunner, clip: VideoFile) -> None:
    heard: list[float] = []
    graph = runner.graph("anonymize_video")
    outcome = asyncio.run(run("anonymize_video", graph, request(clip), Trace(on_progress=heard.append)))
    outcome.result.video.unlink()
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) >= 3


def test_tokens_are_taken_in_order_of_appearance(
    runner: LocalRunner, clip: VideoFile, done: AnonymizeVideoResult
) -> None:
    wanted = [track.offered[4] for track in done.tracks]
    result = runner.run("anonymize_video", request(clip, tokens=wanted)).result
    result.video.unlink()
    assert [track.token for track in result.tracks] == wanted


def test_cancelling_stops_and_leaves_no_file(runner: LocalRunner, clip: VideoFile) -> None:
    before = sorted(clip.parent.iterdir())

    async def cancelled() -> None:
        stop = asyncio.Event()
        trace = Trace(on_progress=lambda _: stop.set())
        task = asyncio.create_task(run("anonymize_video", runner.graph("anonymize_video"), request(clip), trace))
        await stop.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert sorted(clip.parent.iterdir()) == before


def test_a_face_too_small_to_swap_is_covered(runner: LocalRunner, clip: VideoFile, tmp_path: Path) -> None:
    frames = [cv2.resize(image, (80, 48), interpolation=cv2.INTER_AREA) for image in pictures(clip)[:24]]
    write(tmp_path / "small.mp4", [RGBImage(np.asarray(frame, np.uint8)) for frame in frames])
    result = runner.run("anonymize_video", request(tmp_path / "small.mp4")).result
    assert result.tracks
    assert all(track.swapped == 0 and track.token is None and track.mosaic > 0 for track in result.tracks)
    kept = runner.run("anonymize_video", request(tmp_path / "small.mp4", unswappable="keep")).result
    assert all(track.kept > 0 and track.coverage == 0 for track in kept.tracks)


def test_what_cannot_be_done_is_refused_before_any_work(runner: LocalRunner, clip: VideoFile, tmp_path: Path) -> None:
    with pytest.raises(UnknownFace):
        runner.run("anonymize_video", request(clip, tokens=["nonsense"]))
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 20)
    with pytest.raises(UnsupportedType):
        runner.run("anonymize_video", request(tmp_path / "a.mp4"))
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        track = container.add_stream("aac", rate=48000)
        container.mux(track.encode(None))
        container.start_encoding()
    with pytest.raises(EmptyVideo):
        runner.run("anonymize_video", request(tmp_path / "b.mp4"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


_PEAK = """
import resource, sys
from pathlib import Path
from graphs.anonymize_video import *
from graphs.local import LocalRunner
with LocalRunner() as runner:
    runner.open(AnonymizeVideo)
    runner.run("anonymize_video", AnonymizeVideoRequest(video=VideoFile(Path(sys.argv[1])))).result.video.unlink()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_clip(clip: VideoFile, tmp_path: Path) -> None:
    images = pictures(clip)
    peaks = []
    for times in (1, 4):
        path = tmp_path / f"{times}.mp4"
        write(path, [image for turn in range(times) for image in (images if turn % 2 == 0 else images[::-1])])
        ended = subprocess.run([sys.executable, "-c", _PEAK, str(path)], check=True, capture_output=True, text=True)
        peaks.append(int(ended.stdout))
    assert peaks[1] < peaks[0] * 1.1
