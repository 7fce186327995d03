"""Keys, and what they open."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from api.errors import Unauthorized
from api.tenants import PROBE, PUBLIC, load_tenants
from modiste.image import encode
from modiste.settings import settings

Serving = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.toml"
    path.write_text(f"""
[[tenant]]
name = "shop"
key_sha256 = ["{digest("old key")}", "{digest("new key")}"]
concurrency = 2

[[tenant]]
name = "night"
key_sha256 = ["{digest("night key")}"]
tier = "batch"
concurrency = 1
""")
    return path


def test_both_keys_are_good_while_one_replaces_the_other(table: Path) -> None:
    tenants = load_tenants(table)
    assert tenants.of("Bearer old key").name == tenants.of("bearer new key").name == "shop"
    assert tenants.of("Bearer night key").tier == "batch"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic old key", "old key"])
def test_nothing_else_opens(table: Path, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        load_tenants(table).of(header)


def test_without_a_table_everybody_is_welcome() -> None:
    assert load_tenants(None).of(None) == PUBLIC


def test_all_replicas_know_the_key_of_golden_requests(table: Path) -> None:
    tenants = load_tenants(table)
    assert tenants.probe_key == load_tenants(table).probe_key
    assert tenants.of(f"Bearer {tenants.probe_key}") == PROBE


@pytest.mark.parametrize(
    "broken",
    ["", "[[tenant]]\nname = 'a'\nkey_sha256 = []\nconcurrency = 1", "[[tenant]]\nname = 'A B'\nconcurrency = 1"],
)
def test_a_broken_table_is_refused(tmp_path: Path, broken: str) -> None:
    (tmp_path / "tenants.toml").write_text(broken)
    with pytest.raises(ValidationError):
        load_tenants(tmp_path / "tenants.toml")


async def test_requests_need_a_key_and_jobs_are_their_owners(
    serving: Serving, table: Path, monkeypatch: pytest.MonkeyPatch, samples: Path
) -> None:
    monkeypatch.setenv("MODISTE_TENANTS", str(table))
    settings.cache_clear()
    import numpy as np

    from modiste.image import RGBImage

    picture = encode(RGBImage(np.full((8, 8, 3), 9, np.uint8)))
    async with serving() as client:
        refused = await client.post("/v1/flows/tiny", files={"picture": picture})
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        shop, night = ({"Authorization": f"Bearer {key} key"} for key in ("new", "night"))
        done = await client.post("/v1/flows/tiny", files={"picture": picture}, headers=shop)
        assert done.status_code == 200
        clip = {"video": (samples / "video" / "head_turn_one.mp4").read_bytes()}
        job = (await client.post("/v1/flows/tiny_clip", files=clip, headers=shop)).json()
        assert (await client.get(job["url"], headers=shop)).status_code == 200
        for method in ("GET", "DELETE"):
            assert (await client.request(method, job["url"], headers=night)).status_code == 404
        assert (await client.get("/healthz")).status_code == 200
