from pathlib import Path

import pytest

from compile.cache import cached_blob
from modiste.settings import settings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODISTE_CACHE", str(tmp_path))
    settings.cache_clear()
    yield tmp_path / "engines"
    settings.cache_clear()


def test_a_blob_is_built_once(cache: Path) -> None:
    built = []

    def build() -> bytes:
        built.append(1)
        return b"blob"

    assert [cached_blob("k", build, bytes.decode) for _ in range(3)] == ["blob"] * 3
    assert len(built) == 1


def test_a_damaged_blob_is_built_again(cache: Path) -> None:
    cached_blob("k", lambda: b"good", bytes.decode)
    path = cache / "k.blob"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert cached_blob("k", lambda: b"again", bytes.decode) == "again"
    path.write_bytes(b"")
    assert cached_blob("k", lambda: b"once more", bytes.decode) == "once more"


def test_a_blob_that_the_runtime_refuses_is_built_again(cache: Path) -> None:
    cached_blob("k", lambda: b"of another version", bytes.decode)

    def load(blob: bytes) -> str:
        if blob != b"of this version":
            raise RuntimeError("unsupported blob")
        return "loaded"

    assert cached_blob("k", lambda: b"of this version", load) == "loaded"


def test_a_failed_build_leaves_nothing(cache: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cached_blob("k", lambda: bytes(1 // 0), bytes.decode)
    assert not list(cache.glob("*"))
