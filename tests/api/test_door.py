"""What is refused where requests come in, and how it is told."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import pytest

from api.door import Door
from api.tenants import CurrentTenants
from modiste.image import RGBImage, encode
from modiste.metrics import export_to
from modiste.settings import settings

Serving = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]

PNG = encode(RGBImage(np.full((8, 8, 3), 9, np.uint8)))


def entry(name: str, concurrency: int = 10) -> str:
    digest = sha256(f"{name} key".encode()).hexdigest()
    return f'[[tenant]]\nname = "{name}"\nkey_sha256 = ["{digest}"]\nconcurrency = {concurrency}\n'


def key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name} key"}


async def post(client: httpx.AsyncClient, seconds: float = 0.0, **headers: str) -> httpx.Response:
    options = f'{{"seconds": {seconds}}}'
    return await client.post("/v1/flows/tiny", files={"picture": PNG, "options": (None, options)}, headers=headers)


@pytest.fixture
def configure(small_flows: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_up(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"MODISTE_{name.upper()}", value)
        settings.cache_clear()

    return set_up


async def test_a_refusal_is_a_problem_document_under_an_id_and_counted(
    serving: Serving, configure: Callable[..., None]
) -> None:
    configure(concurrency='{"tiny": 1}')
    found: list[tuple[str, dict[str, str]]] = []
    export_to(lambda metric, _value, labels: found.append((metric.name, dict(labels))))
    try:
        async with serving() as client:
            inside = asyncio.create_task(post(client, 0.5))
            await asyncio.sleep(0.2)
            found.clear()
            refused = await post(client, **{"X-Request-ID": "asked.by-me"})
            counted = list(found)
            assert (await inside).status_code == 200
            assert (await post(client)).status_code == 200, "its place was not given back"
    finally:
        export_to(None)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["modiste-request"] == "asked.by-me"
    assert ("modiste_shed_total", {"flow": "tiny", "tenant": "public", "reason": "overloaded"}) in counted
    assert ("modiste_requests_total", {"flow": "tiny", "tenant": "public", "status": "503"}) in counted
    assert ("modiste_failures_total", {"flow": "tiny", "code": "overloaded"}) in counted


async def test_only_flows_are_held_at_the_door(serving: Serving, configure: Callable[..., None]) -> None:
    configure(concurrency='{"tiny": 1}')
    async with serving() as client:
        inside = asyncio.create_task(post(client, 0.5))
        await asyncio.sleep(0.2)
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/v1/flows/tiny")).status_code == 405
        assert (await client.post("/v1/flows/nothing")).status_code == 404
        assert (await inside).status_code == 200


async def test_a_tenant_has_its_own_limit_and_strangers_are_the_applications(
    serving: Serving, configure: Callable[..., None], tmp_path: Path
) -> None:
    table = tmp_path / "tenants.toml"
    table.write_text(entry("shop", 1) + entry("other"))
    configure(tenants=str(table))
    async with serving() as client:
        inside = asyncio.create_task(post(client, 0.5, **key("shop")))
        await asyncio.sleep(0.2)
        refused = await post(client, **key("shop"))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert (await post(client, **key("other"))).status_code == 200
        assert (await post(client, **key("nobody"))).status_code == 401
        assert (await inside).status_code == 200


async def test_a_refusal_comes_before_the_body_and_the_connection_ends_after_it(
    configure: Callable[..., None],
) -> None:
    configure(concurrency='{"tiny": 0}')
    events: list[str] = []

    async def receive() -> dict[str, object]:
        events.append("part")
        return {"type": "http.request", "body": b"x", "more_body": events.count("part") < 3}

    async def send(message: dict[str, object]) -> None:
        events.append(str(message.get("more_body", message["type"])))

    scope = {"type": "http", "method": "POST", "path": "/v1/flows/tiny", "headers": []}
    await Door(_endless)(scope, receive, send)  # type: ignore[arg-type]
    assert events == ["http.response.start", "True", "part", "part", "part", "False"]


async def test_of_a_burst_those_that_are_refused_are_told_first(configure: Callable[..., None]) -> None:
    configure(concurrency='{"tiny": 1}')
    order: list[str] = []

    async def app(*_: object) -> None:
        order.append("let in")

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            order.append("refused")

    door = Door(app)
    scope = {"type": "http", "method": "POST", "path": "/v1/flows/tiny", "headers": []}
    await asyncio.gather(*(door(dict(scope), receive, send) for _ in range(4)))  # type: ignore[arg-type]
    assert order == ["refused", "refused", "refused", "let in"]


async def _endless(*_: object) -> None:
    await asyncio.sleep(60)


async def test_the_place_of_a_caller_that_leaves_is_free_again(configure: Callable[..., None]) -> None:
    configure(concurrency='{"tiny": 1}')
    door, sent = Door(_endless), list[dict[str, object]]()
    scope = {"type": "http", "method": "POST", "path": "/v1/flows/tiny", "headers": []}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    for _ in range(2):
        caller = asyncio.create_task(door(dict(scope), None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert not caller.done()
        caller.cancel()
        await asyncio.wait([caller])
    assert sent == []


def test_keys_that_change_while_the_proxy_lives(tmp_path: Path) -> None:
    """A file that cannot be read leaves things as they are."""
    table = tmp_path / "tenants.toml"
    table.write_text(entry("shop"))
    tenants = CurrentTenants(table)
    assert tenants().of("Bearer shop key").name == "shop"
    for turn, content in enumerate([entry("shop") + entry("late"), "[[tenant]]\nname = 1", None]):
        table.unlink() if content is None else table.write_text(content)
        if content is not None:
            os.utime(table, ns=(turn, turn))
        assert tenants().of("Bearer late key").name == "late"


def test_a_table_that_is_broken_at_the_start_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "tenants.toml"
    table.write_text("[[tenant]]\nname = 1")
    with pytest.raises(ValueError, match="tenant"):
        CurrentTenants(table)
