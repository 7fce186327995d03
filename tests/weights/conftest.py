"""A store of its own for every test that asks, and manifests made of small files."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from modiste.settings import settings
from weights import manifest, sources
from weights.manifest import WeightEntry, parse_manifest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, in the settings for the length of the test."""
    monkeypatch.setenv("MODISTE_CACHE", str(tmp_path / "cache"))
    settings.cache_clear()
    yield tmp_path / "cache"
    settings.cache_clear()


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, WeightEntry]]:
    """Puts another manifest in the place of the shipped one; file: sources are then relative to tmp_path."""

    def replace(text: str) -> dict[str, WeightEntry]:
        parsed = dict(parse_manifest(text))
        monkeypatch.setattr(manifest, "load_manifest", lambda: parsed)
        monkeypatch.setattr(sources, "REPOSITORY", tmp_path)
        return parsed

    return replace


class Table(Protocol):
    def __call__(
        self, identifier: str, url: str, content: bytes, *, name: str = ..., commercial: bool = ...
    ) -> str: ...


@pytest.fixture(scope="session")
def table() -> Table:
    """Writes one manifest table of one file."""

    def write(identifier: str, url: str, content: bytes, *, name: str = "net.onnx", commercial: bool = True) -> str:
        return f"""
[{identifier}]
licence = "MIT"
commercial = {str(commercial).lower()}
source = "made for a test"
trained_on = "nothing"
[{identifier}.files."{name}"]
url = "{url}"
sha256 = "{hashlib.sha256(content).hexdigest()}"
bytes = {len(content)}
"""

    return write
