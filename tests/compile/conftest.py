"""An engine folder of the test's own, and a server that speaks S3."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from compile import cache as engine_cache
from modiste.settings import settings

ROOT = Path(__file__).resolve().parents[2]
SECRET = "of this fleet"
BUILD_SLOWLY = """
import sys, time, pathlib
from compile import cache

def build():
    pathlib.Path(sys.argv[1]).open("a").write("built\\n")
    time.sleep(0.5)
    return cache.Built(blob=b"blob", report=b"{}")

cache.POLL_S = 0.1
assert cache.cached_blob("k", build, bytes.decode) == "blob"
"""


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that engines are kept in."""
    monkeypatch.setenv("MODISTE_CACHE", str(tmp_path))
    settings.cache_clear()
    yield tmp_path / "engines"
    settings.cache_clear()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(engines: Path, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket that the settings name as the engine store, as boto3's resource."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MODISTE_ENGINE_STORE", "s3://engines/fleet")
    monkeypatch.setenv("MODISTE_ENGINE_SECRET", SECRET)
    settings.cache_clear()
    engine_cache._shared_store.cache_clear()
    bucket = boto3.resource("s3").create_bucket(Bucket="engines")
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    engine_cache._shared_store.cache_clear()


@pytest.fixture
def build_in_processes(tmp_path: Path) -> Callable[..., list[str]]:
    """Call with the cache folder of each process: all build the same key at once; returns a line for each build."""
    noted = tmp_path / "noted"

    def build(*caches: Path) -> list[str]:
        started = [
            subprocess.Popen(
                [sys.executable, "-c", BUILD_SLOWLY, noted], cwd=ROOT, env={**os.environ, "MODISTE_CACHE": str(cache)}
            )
            for cache in caches
        ]
        assert [process.wait(timeout=60) for process in started] == [0] * len(started)
        return noted.read_text().splitlines()

    return build
