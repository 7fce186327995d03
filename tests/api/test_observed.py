"""What the ingress says of each request: an id, a line in the log, and counts under few labels."""

import io
import json
import logging
from collections.abc import Generator
from typing import Any

import httpx
import numpy as np
import pytest
import structlog

from modiste import logs
from modiste.image import RGBImage, encode
from modiste.metrics import export_to

PNG = encode(RGBImage(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + 1))
BLACK = encode(RGBImage(np.zeros((4, 4, 3), np.uint8)))
Records = list[tuple[str, dict[str, str]]]


@pytest.fixture
def records() -> Generator[Records, None, None]:
    found: Records = []
    export_to(lambda metric, _value, labels: found.append((metric.name, dict(labels))))
    yield found
    export_to(None)


@pytest.fixture
def log(small_flows: None) -> Generator[io.StringIO, None, None]:
    sink = io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    logs.configure("http", "r", sink)
    yield sink
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


async def post(client: httpx.AsyncClient, flow: str = "tiny", picture: bytes = PNG, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"/v1/flows/{flow}", files={"picture": ("a-name.png", picture)}, headers=named)


async def test_a_request_keeps_the_id_that_it_comes_with(client: httpx.AsyncClient) -> None:
    assert (await post(client, x_request_id="asked.by-me_1")).headers["modiste-request"] == "asked.by-me_1"
    assert (await client.get("/nothing", headers={"x-request-id": "12345678"})).headers["modiste-request"] == "12345678"


@pytest.mark.parametrize("wrong", ["short", "a" * 65, "with space1", '{"a":"b"}', "-begins-so", "ünicode-id".encode()])
async def test_an_id_that_is_none_is_replaced(client: httpx.AsyncClient, wrong: str | bytes) -> None:
    answer = await client.get("/healthz", headers={"x-request-id": wrong})  # type: ignore[dict-item]
    assert len(answer.headers["modiste-request"]) == 32


async def test_what_is_counted(client: httpx.AsyncClient, records: Records) -> None:
    await post(client)
    await post(client, picture=BLACK)
    await post(client, flow="no-such-flow-anna@example.org")
    await client.get("/healthz")
    counted = [labels for name, labels in records if name == "modiste_requests_total"]
    assert counted == [
        {"flow": "tiny", "tenant": "public", "status": "200"},
        {"flow": "tiny", "tenant": "public", "status": "422"},
        {"flow": "unknown", "tenant": "unknown", "status": "404"},
    ]
    assert [labels for name, labels in records if name == "modiste_failures_total"] == [
        {"flow": "tiny", "code": "no_face"},
        {"flow": "unknown", "code": "not_found"},
    ]
    assert [name for name, _ in records].count("modiste_in_flight") == 4


async def test_the_line_of_a_request(client: httpx.AsyncClient, log: io.StringIO) -> None:
    await post(
        client, x_request_id="asked-by-me-1", traceparent=f"00-{'a' * 32}-{'b' * 16}-01", authorization="Bearer my-key"
    )
    await client.get("/v1/jobs/an-id-that-opens-a-door")
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.getvalue().splitlines()]
    first, second = (line for line in lines if line["event"] == "request")
    assert first.pop("ms") > 0
    del first["timestamp"]
    assert first == {
        "event": "request", "level": "info", "deployment": "http", "replica": "r", "request": "asked-by-me-1",
        "trace": "a" * 32, "method": "POST", "route": "/v1/flows/tiny", "status": 200, "code": "ok", "flow": "tiny",
        "tenant": "public",
    }  # fmt: skip
    assert (second["route"], second["status"], second["code"]) == ("/v1/jobs/{job_id}", 404, "not_found")
    for secret in ("a-name", "my-key", "opens-a-door"):
        assert secret not in log.getvalue()
