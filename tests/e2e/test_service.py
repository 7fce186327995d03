"""The server over HTTP, with the default weights: every flow, every bad input, jobs across a crash, a clean end."""

import io
import json
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from graphs import GRAPHS
from graphs.signature import signature
from loadtests.cases import cases
from modiste.image import RGBImage, decode, encode

pytestmark = [pytest.mark.weights, pytest.mark.cluster]


def ask(service: Any, flow: str, files: Mapping[str, Any], options: object, **headers: str) -> httpx.Response:
    text = options if isinstance(options, str) else json.dumps(options)
    answer: httpx.Response = service.client.post(
        f"/v1/flows/{flow}", files={**files, "options": (None, text)}, headers=headers
    )
    return answer


def until(service: Any, url: str, reached: Callable[[dict[str, Any]], bool], timeout_s: float = 150) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        job: dict[str, Any] = service.client.get(url).json()
        if reached(job):
            return job
        time.sleep(0.2)
    raise AssertionError(job)


def ended(job: dict[str, Any]) -> bool:
    return job["state"] in ("succeeded", "failed", "cancelled")


@pytest.mark.parametrize("flow", [name for name in GRAPHS if not name.endswith("_video")])
def test_flow(service: Any, flow: str) -> None:
    case = cases()[flow]
    answer = ask(service, flow, case.read(), case.options, accept="application/json")
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert result["report"]["flow"] == flow
    assert {use["role"] for use in result["report"]["models"]} == set(signature(flow).graph.roles())
    links: list[dict[str, Any]] = []
    for slot in signature(flow).results:
        found = result[slot.name]
        if slot.kind != "json" and found is not None:
            links += found if slot.many else [found]
    assert links
    for link in links:
        picture = decode(service.client.get(link["url"]).content)
        assert picture.shape == (link["height"], link["width"], 3)
        assert picture.std() > 1


def test_same_request_same_pixels(service: Any) -> None:
    case = cases()["virtual_model"]
    first, second = (
        service.client.post(
            "/v1/flows/virtual_model",
            params={"format": "png"},
            files={**case.read(), "options": (None, json.dumps(dict(case.options)))},
            headers={"accept": "image/png"},
        )
        for _ in range(2)
    )
    assert first.headers["content-type"] == "image/png"
    assert first.content == second.content


def test_no_metadata_goes_out(service: Any, samples: Path) -> None:
    with Image.open(samples / "persons" / "ana.jpg") as picture:
        exif = picture.getexif()
        exif[0x010E] = "the photographer's secret"
        sink = io.BytesIO()
        picture.save(sink, "JPEG", exif=exif)
    answer = ask(service, "anonymize", {"image": sink.getvalue()}, {}, accept="image/*")
    assert answer.status_code == 200, answer.text
    assert b"secret" not in answer.content
    with Image.open(io.BytesIO(answer.content)) as out:
        assert not out.getexif()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def animated(image_format: str) -> bytes:
    sink = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(sink, image_format, save_all=True, append_images=frames[1:])
    return sink.getvalue()


def grey() -> bytes:
    return encode(RGBImage(np.full((256, 256, 3), 128, np.uint8)))


def sample(path: str) -> Callable[[Path], bytes]:
    return lambda samples: (samples / path).read_bytes()


def cut(path: str, share: float) -> Callable[[Path], bytes]:
    return lambda samples: (whole := (samples / path).read_bytes())[: int(len(whole) * share)]


def made(content: bytes) -> Callable[[Path], bytes]:
    return lambda _: content


PERSON = sample("persons/ana.jpg")
GARMENT = sample("garments/g03_tee_coral_women.jpg")
LARGE = b"\xff\xd8" + b"x" * 21_000_000
CLIP = "video/head_turn_one.mp4"

BAD = {
    "text named as a picture": ("anonymize", {"image": made(b"no picture")}, {}, 415, "unsupported_type"),
    "empty file": ("anonymize", {"image": made(b"")}, {}, 415, "unsupported_type"),
    "cut off": ("anonymize", {"image": cut("persons/ana.jpg", 0.5)}, {}, 422, "broken_file"),
    "over 20 MB": ("anonymize", {"image": made(LARGE)}, {}, 413, "file_too_large"),
    "garment over 20 MB": ("try_on", {"person": PERSON, "garment": made(LARGE)}, {}, 413, "file_too_large"),
    "over 40 megapixels": ("anonymize", {"image": made(bomb(20_000, 20_000))}, {}, 413, "too_many_pixels"),
    "just over 40 megapixels": ("anonymize", {"image": made(bomb(8000, 5001))}, {}, 413, "too_many_pixels"),
    "animated gif": ("anonymize", {"image": made(animated("GIF"))}, {}, 415, "unsupported_type"),
    "animated webp": ("anonymize", {"image": made(animated("WEBP"))}, {}, 422, "animated_image"),
    "animated png": ("anonymize", {"image": made(animated("PNG"))}, {}, 422, "animated_image"),
    "video as a person": ("try_on", {"person": sample(CLIP), "garment": GARMENT}, {}, 415, "unsupported_type"),
    "nobody to anonymize": ("anonymize", {"image": made(grey())}, {}, 422, "no_face"),
    "nobody to dress": ("try_on", {"person": made(grey()), "garment": GARMENT}, {}, 422, "no_person"),
    "no garment": ("try_on", {"person": PERSON, "garment": made(grey())}, {}, 422, "no_garment"),
    "no face for an ID photo": ("id_photo", {"portrait": made(grey())}, {}, 422, "no_face"),
    "nothing drawn": ("sketch_search", {"sketch": made(grey())}, {}, 422, "no_sketch"),
    "unknown face token": ("virtual_model", {"photo": PERSON}, {"face": "AAAAAAAAAAAAAAAA"}, 422, "unknown_face"),
    "no face token": ("virtual_model", {"photo": PERSON}, {}, 422, "invalid_option"),
    "out of range": ("virtual_faces", {}, {"n": 1000}, 422, "invalid_option"),
    "unknown option": ("virtual_faces", {}, {"colour": "red"}, 422, "invalid_option"),
    "options that are no JSON": ("virtual_faces", {}, "{n: 1", 422, "invalid_option"),
    "missing file": ("try_on", {"person": PERSON}, {}, 422, "missing_file"),
    "file under a wrong name": ("try_on", {"human": PERSON, "garment": GARMENT}, {}, 422, "unexpected_field"),
    "unknown flow": ("levitate", {"image": PERSON}, {}, 404, "not_found"),
    "picture where a video is wanted": ("anonymize_video", {"video": PERSON}, {}, 415, "unsupported_type"),
    "video cut off": ("anonymize", {"image": cut(CLIP, 0.5)}, {}, 422, "broken_file"),
    "video header only": ("anonymize", {"video": cut(CLIP, 0.0005)}, {}, 422, "empty_video"),
    "bad options for a video": ("anonymize", {"video": sample(CLIP)}, {"seed": -1}, 422, "invalid_option"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(service: Any, samples: Path, name: str) -> None:
    flow, files, options, status, code = BAD[name]
    answer = ask(service, flow, {field: ("picture.png", make(samples)) for field, make in files.items()}, options)
    assert answer.headers["content-type"] == "application/problem+json", answer.text[:300]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert problem["status"] == status
    assert len(problem["detail"]) > 15


def test_bad_addresses(service: Any) -> None:
    for method, path, status in (
        ("GET", "/v1/jobs/unknown", 404),
        ("DELETE", "/v1/jobs/unknown", 404),
        ("GET", "/v1/files/unknown.png", 404),
        ("GET", "/v1/files/..%2f..%2fjobs.sqlite", 404),
        ("GET", "/v1/flows/try_on", 405),
        ("GET", "/elsewhere", 404),
    ):
        answer = service.client.request(method, path)
        assert answer.headers["content-type"] == "application/problem+json", path
        assert answer.status_code == status, path


def test_a_body_far_over_the_limit_is_not_held_in_memory(service: Any) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="person"; filename="a"\r\n\r\n'
        for _ in range(1000):
            yield b"x" * 1_000_000

    way = [
        process
        for process in service.family()
        if any(part in " ".join(process.cmdline()) for part in ("ProxyActor", "ServeReplica:http:"))
    ]
    assert len(way) >= 2, "expected the proxy and an ingress replica"
    before = sum(process.memory_info().rss for process in way)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = service.client.post("/v1/flows/try_on", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert sum(process.memory_info().rss for process in way) < before + 300_000_000


def test_documentation(service: Any) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    assert {path.removeprefix("/v1/flows/") for path in paths if path.startswith("/v1/flows/")} == set(GRAPHS)
    assert service.client.get("/docs").status_code == 200


def test_ready_says_that_users_are_served(service: Any) -> None:
    assert service.client.get("/readyz").json() == {"status": "ready"}


def test_a_video_job_outlives_a_crash_and_nothing_is_lost(service: Any, samples: Path) -> None:
    kept = ask(service, "virtual_faces", {}, {"n": 1}, accept="application/json").json()["faces"][0]
    before = service.client.get(kept["url"]).content
    job = ask(service, "anonymize", {"image": (samples / CLIP).read_bytes()}, {}).json()
    until(service, job["url"], lambda found: found["progress"] > 0 or ended(found))
    service.kill()
    service.start()
    assert service.client.get(kept["url"]).content == before
    finished = until(service, job["url"], ended)
    assert finished["state"] == "succeeded", finished
    video = service.client.get(finished["result"]["video"]["url"])
    assert video.headers["content-type"] == "video/mp4"
    assert video.content[4:8] == b"ftyp"
    assert finished["result"]["frames"] == 100


def repeated(clip: Path, times: int) -> bytes:
    """The clip again and again, its packets as they are."""
    longer = io.BytesIO()
    with av.open(longer, "w", format="mp4") as out:
        stream, ended_at = None, 0
        for _ in range(times):
            with av.open(clip) as source:
                (video,) = source.streams.video
                stream = stream or out.add_stream_from_template(video)
                packets = [packet for packet in source.demux(video) if packet.dts is not None]
                behind = ended_at - packets[0].dts
                for packet in packets:
                    packet.pts, packet.dts, packet.stream = packet.pts + behind, packet.dts + behind, stream
                    ended_at = packet.dts + packet.duration
                    out.mux(packet)
    return longer.getvalue()


def test_delete_stops_the_work(service: Any, samples: Path) -> None:
    """Of a clip that takes far longer than this test looks."""
    job = ask(service, "anonymize", {"video": repeated(samples / CLIP, 40)}, {}).json()
    until(service, job["url"], lambda found: found["progress"] > 0 or ended(found))

    def used(seconds: float) -> float:
        before = {p.pid: p.cpu_times() for p in service.family()}
        time.sleep(seconds)
        now = {p.pid: p.cpu_times() for p in service.family()}
        return sum(t.user + t.system - before[pid].user - before[pid].system for pid, t in now.items() if pid in before)

    at_work = used(2)
    started = time.monotonic()
    assert service.client.delete(job["url"]).json()["state"] == "cancelled"
    assert time.monotonic() - started < 10
    assert not (service.state / "jobs" / job["id"]).exists()
    time.sleep(5)  # for stretches that were begun
    assert used(2) < at_work / 2


def test_a_second_server_on_the_same_state_is_refused(service: Any) -> None:
    second = subprocess.run(
        service.command("api", "serve"),
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr.strip().splitlines()[-1].startswith("already_serving: ")


def test_commercial_only_names_what_it_refuses(service: Any) -> None:
    environment = service.environment | {"MODISTE_COMMERCIAL_ONLY": "1"}
    refused = subprocess.run(
        service.command("api", "serve"), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 1
    assert "licence_refused" in refused.stderr
    assert "mobile_stylegan" in refused.stderr


def test_the_server_ends_without_leftovers(service: Any) -> None:
    left = service.stop()
    assert left == []
    assert not (service.state / "ray-folder").exists()
    with pytest.raises(httpx.ConnectError):
        service.client.get("/healthz")
