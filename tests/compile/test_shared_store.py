"""Engines shared through S3, against a server that speaks its protocol over HTTP."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs
from tenacity import wait_none

from compile import cache, shared_store
from compile.cache import Built, cached_blob
from compile.shared_store import SharedStore
from modiste.errors import EngineStoreUnavailable
from modiste.settings import Settings, settings


def built(blob: bytes) -> Callable[[], Built]:
    return lambda: Built(blob=blob, report=b"{}")


def never() -> Built:
    raise AssertionError("built, where it was stored")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("get", "put", "_claim", "release"):
        monkeypatch.setattr(getattr(SharedStore, method).retry, "wait", wait_none())
    monkeypatch.setattr(cache, "POLL_S", 0.05)


def names(bucket: Any) -> list[str]:
    return [item.key for item in bucket.objects.all()]


def forget_locally(engines: Path) -> None:
    for path in engines.iterdir():
        path.unlink()


def test_what_one_machine_builds_another_fetches(engines: Path, bucket: Any) -> None:
    cached_blob("k", built(b"blob"), bytes.decode)
    assert names(bucket) == ["fleet/k.blob", "fleet/k.json"]
    forget_locally(engines)
    assert cached_blob("k", never, bytes.decode) == "blob"
    assert (engines / "k.json").read_bytes() == b"{}"


def test_what_is_here_is_not_asked_for(engines: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_blob("k", built(b"blob"), bytes.decode)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    cache._shared_store.cache_clear()
    assert cached_blob("k", never, bytes.decode) == "blob"


@pytest.mark.parametrize("content", [b"", b"x" * 99, None], ids=["empty", "foreign", "of another key"])
def test_a_bad_copy_is_built_again_and_replaced(engines: Path, bucket: Any, content: bytes | None) -> None:
    cached_blob("other", built(b"theirs"), bytes.decode)
    bucket.put_object(Key="fleet/k.blob", Body=content or (engines / "other.blob").read_bytes())
    loaded: list[bytes] = []
    with capture_logs() as logs:
        cached_blob("k", built(b"ours"), loaded.append)
    assert loaded[:1] == [b"ours"]
    assert [line["event"] for line in logs] == ["engine_rebuilt"]
    forget_locally(engines)
    assert cached_blob("k", never, bytes.decode) == "ours"


def test_a_copy_of_another_secret_is_built_again(engines: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_blob("k", built(b"theirs"), bytes.decode)
    forget_locally(engines)
    monkeypatch.setenv("MODISTE_ENGINE_SECRET", "not theirs")
    settings.cache_clear()
    assert cached_blob("k", built(b"ours"), bytes.decode) == "ours"


def test_machines_build_once(bucket: Any, tmp_path: Path, build_in_processes: Callable[..., list[str]]) -> None:
    assert build_in_processes(tmp_path / "one", tmp_path / "two") == ["built"]
    assert names(bucket) == ["fleet/k.blob", "fleet/k.json"]


def test_a_claim_is_ones_own_until_it_is_released(bucket: Any) -> None:
    ours, theirs = SharedStore("s3://engines/fleet/"), SharedStore("s3://engines/fleet")
    claim = ours.claim("k")
    assert claim
    assert theirs.claim("k") is None
    ours.release("k", claim)
    taken = theirs.claim("k")
    assert taken
    ours.release("k", claim)
    assert ours.claim("k") is None, "a claim was released by whom it did not belong to"
    theirs.release("k", taken)


def test_a_claim_whose_answer_was_lost_is_known_again(bucket: Any) -> None:
    store = SharedStore("s3://engines/fleet")
    first = store._claim("k.claim", b"ours")
    assert store._claim("k.claim", b"ours") == first


def test_a_stale_claim_is_taken_over_by_one(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SharedStore("s3://engines/fleet")
    dead = store.claim("k")
    assert dead
    monkeypatch.setattr(shared_store, "STALE_AFTER", timedelta(seconds=-1))
    with capture_logs() as logs:
        assert store.claim("k") not in (None, dead)
    assert [line["event"] for line in logs] == ["engine_claim_taken_over"]
    assert store._put_where("k.claim", b"late", IfMatch=dead) is None
    store.release("k", dead)
    assert names(bucket) == ["fleet/k.claim"]


def test_a_failed_build_gives_up_its_claim(engines: Path, bucket: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        cached_blob("k", lambda: Built(blob=bytes(1 // 0), report=b""), bytes.decode)
    assert names(bucket) == []


def test_waiting_ends(engines: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    SharedStore("s3://engines/fleet").claim("k")
    monkeypatch.setattr(cache, "PATIENCE_S", 0.2)
    with pytest.raises(EngineStoreUnavailable, match="its claim in the engine store is held"):
        cached_blob("k", never, bytes.decode)


@pytest.fixture
def refusing(engines: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A store that answers every request with 503; the methods that it was asked by."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.command)
            self.send_error(503)

        do_PUT = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{http.server_port}")
        cache._shared_store.cache_clear()
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield asked
        http.shutdown()
        thread.join()


def test_a_store_that_cannot_be_read_is_asked_again_then_an_error(refusing: list[str]) -> None:
    with pytest.raises(EngineStoreUnavailable, match="got 503"):
        cached_blob("k", never, bytes.decode)
    assert refusing == ["GET"] * 3


def test_a_store_that_goes_away_during_the_build_is_a_warning(
    engines: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> Built:
        store = cache._shared_store(settings().engine_store)
        assert store is not None
        monkeypatch.setattr(store, "_bucket", "gone")
        return Built(blob=b"blob", report=b"{}")

    with capture_logs() as logs:
        assert cached_blob("k", build, bytes.decode) == "blob"
    assert [line["event"] for line in logs] == ["engine_not_uploaded", "engine_not_released"]
    assert cached_blob("k", never, bytes.decode) == "blob"


def test_a_bucket_that_does_not_exist_is_told_at_once(bucket: Any) -> None:
    with pytest.raises(EngineStoreUnavailable, match="NoSuchBucket"):
        SharedStore("s3://nowhere").get("k.blob")


def test_a_store_is_refused_without_a_secret_offline_or_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="expected MODISTE_ENGINE_SECRET"):
        Settings(engine_store="s3://bucket")
    with pytest.raises(ValidationError, match="got both"):
        Settings(engine_store="s3://bucket", engine_secret="secret", offline=True)
    with pytest.raises(ValidationError, match="engine_store"):
        Settings(engine_store="https://bucket", engine_secret="secret")
    assert "hush" not in repr(Settings(engine_secret="hush"))
