"""Whatever goes wrong is answered with a problem document that says what to change."""

import errno
import io
import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from api.errors import describe
from modiste.image import RGBImage, encode
from modiste.settings import settings

PNG = encode(RGBImage(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)))
BLACK = encode(RGBImage(np.zeros((4, 4, 3), np.uint8)))


def animated(image_format: str) -> bytes:
    sink = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(sink, image_format, save_all=True, append_images=frames[1:])
    return sink.getvalue()


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"urn:modiste:problem:{problem['code']}"
    assert problem["title"]
    assert len(problem["detail"]) > 10
    return answer.status_code, problem["code"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"plain text", (415, "unsupported_type")),
        (b"\x89PNG\r\n\x1a\n", (415, "unsupported_type")),
        (PNG[: len(PNG) // 2], (422, "broken_file")),
        (animated("PNG"), (422, "animated_image")),
        (animated("WEBP"), (422, "animated_image")),
        (animated("GIF"), (415, "unsupported_type")),
        (BLACK, (422, "no_face")),
    ],
    ids=["text", "header only", "truncated", "apng", "animated webp", "gif", "refused by the model"],
)
async def test_pictures(client: httpx.AsyncClient, content: bytes, expected: tuple[int, str]) -> None:
    answer = await client.post("/v1/flows/tiny", files={"picture": ("picture.png", content, "image/png")})
    assert code_of(answer) == expected


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ("{", "options"),
        ("[]", "options"),
        ('{"steps": 0}', "steps"),
        ('{"steps": "many"}', "steps"),
        ('{"stepps": 1}', "stepps"),
    ],
)
async def test_options(client: httpx.AsyncClient, options: str, field: str) -> None:
    answer = await client.post("/v1/flows/tiny", files={"picture": PNG, "options": (None, options)})
    assert code_of(answer) == (422, "invalid_option")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_fields(client: httpx.AsyncClient) -> None:
    url = "/v1/flows/tiny"
    assert code_of(await client.post(url)) == (422, "missing_file")
    assert code_of(await client.post(url, files={"extra": PNG})) == (422, "missing_file")
    assert code_of(await client.post(url, files={"picture": PNG, "other": PNG})) == (422, "unexpected_field")
    twice = [("picture", PNG), ("picture", PNG)]
    assert code_of(await client.post(url, files=twice)) == (422, "unexpected_field")
    text = {"picture": (None, "text")}
    assert code_of(await client.post(url, files=text)) == (422, "unexpected_field")
    assert code_of(await client.post(url, files={"picture": PNG}, params={"format": "bmp"})) == (422, "invalid_option")


async def test_bodies(client: httpx.AsyncClient) -> None:
    url = "/v1/flows/tiny"
    assert code_of(await client.post(url, json={})) == (415, "unsupported_type")
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert code_of(await client.post(url, content=b"nonsense", headers=headers)) == (400, "broken_request")
    headers = {"content-type": "multipart/form-data"}
    assert code_of(await client.post(url, content=b"nonsense", headers=headers)) == (400, "broken_request")
    long: dict[str, Any] = {"picture": PNG, "options": (None, json.dumps({"steps": "9" * 70_000}))}
    assert code_of(await client.post(url, files=long)) == (400, "broken_request")


async def test_nothing_there(client: httpx.AsyncClient) -> None:
    assert code_of(await client.get("/nothing")) == (404, "not_found")
    assert code_of(await client.post("/v1/flows/unheard_of")) == (404, "not_found")
    assert code_of(await client.get("/v1/flows/tiny")) == (405, "method_not_allowed")
    assert code_of(await client.get("/v1/jobs/unknown")) == (404, "not_found")
    assert code_of(await client.get("/v1/jobs/unknown/events")) == (404, "not_found")
    assert code_of(await client.delete("/v1/jobs/unknown")) == (404, "not_found")
    assert code_of(await client.get("/v1/files/unknown")) == (404, "not_found")


async def test_a_large_file_is_refused_by_its_announced_size(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/flows/tiny", files={"picture": b"x" * 50_000_000})
    assert code_of(answer) == (413, "file_too_large")


async def test_a_large_file_is_refused_while_it_arrives(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "__dict__", settings().__dict__ | {"max_upload_bytes": 1_000_000})
    sent = 0

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        for _ in range(100):
            sent += 100_000
            yield b"x" * 100_000

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await client.post("/v1/flows/tiny", content=body(), headers=headers)
    assert code_of(answer) == (413, "file_too_large")
    assert sent < 1_500_000


async def test_a_failure_of_ours_says_nothing_of_its_inside(client: httpx.AsyncClient) -> None:
    files: dict[str, Any] = {"picture": PNG, "options": (None, '{"seconds": 0.001, "die_once": "\\u0000"}')}
    answer = await client.post("/v1/flows/tiny", files=files)
    assert code_of(answer) == (500, "internal")
    assert "null" not in answer.text
    assert "Traceback" not in answer.text


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    document = describe(OSError(errno.ENOSPC, "No space left on device"))
    assert (document.status, document.code) == (507, "storage_full")
    assert describe(OSError(errno.EACCES, "Permission denied")).status == 500
    with closing(sqlite3.connect(tmp_path / "small.sqlite")) as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE rows (content TEXT)")
        with pytest.raises(sqlite3.OperationalError) as full:
            database.execute("INSERT INTO rows VALUES (?)", ("x" * 100_000,))
    assert describe(full.value).code == "storage_full"
