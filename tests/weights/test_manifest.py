import hashlib
from collections.abc import Callable

import pytest

from deployments.networks import NETWORKS
from modiste.errors import NotFound, WeightsUnavailable
from weights.convert import CONVERTERS
from weights.convert.official import OFFICIAL
from weights.manifest import digest, entry, files_digest, listed_manifest, load_manifest, parse_manifest, select
from weights.sources import REPOSITORY

DEFAULT = {
    *("blazeface", "centerface", "face_mesh", "bisenet_v2", "dlib_resnet", "mobile_stylegan", "real_esrgan"),
    *("selfie_multiclass", "blazepose_detector", "blazepose_landmark", "u2net", "efficientnet_lite0"),
    *("sketch_to_garment", "latent_encoder"),
}
Table = Callable[..., str]


def test_the_default_set_is_listed() -> None:
    assert {of.id for of in select(())} == DEFAULT


def test_official_checkpoints_belong_to_networks_and_are_never_fetched_unasked() -> None:
    official = [of for of in listed_manifest().values() if of.network is not None]
    assert {of.network for of in official} == set(NETWORKS) == set(OFFICIAL)
    assert not {of.id for of in official} & DEFAULT
    for file in (file for of in official for file in of.files.values()):
        assert file.scheme in ("https", "http", "page")
    for of in official:
        if any(word in of.licence for word in ("non-commercial", "-NC", "none", "research")):
            assert not of.commercial, of.id


def test_what_derives_from_non_commercial_sources_says_so() -> None:
    restricted = {of.id for of in select(()) if not of.commercial}
    assert restricted == {"bisenet_v2", "mobile_stylegan", "latent_encoder"}
    assert all(load_manifest()[identifier].note for identifier in restricted)


@pytest.mark.parametrize("identifier", sorted(DEFAULT))
def test_every_entry_is_exact(identifier: str) -> None:
    of = entry(identifier)
    for file in of.files.values():
        assert file.sha256 and len(set(file.sha256)) > 4, "a placeholder, not a digest"
        if file.scheme == "file":
            content = (REPOSITORY / file.url.removeprefix("file:")).read_bytes()
            assert len(content) == file.bytes
            assert hashlib.sha256(content).hexdigest() == file.sha256
        if file.scheme == "pypi":
            assert file.python is not None, "the wheel would depend on the interpreter that asks"


def test_files_of_one_archive_agree_on_it() -> None:
    archives: dict[tuple[str, str | None, str | None], set[int | None]] = {}
    for of in load_manifest().values():
        for file in of.files.values():
            archives.setdefault((file.url, file.python, file.platform), set()).add(file.archive_bytes)
    assert all(len(sizes) == 1 for sizes in archives.values())
    assert len({url for url, _, _ in archives}) == len(archives), "one archive, asked for in two ways"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("licence =", "license ="), "license"),
        (('licence = "MIT"', ""), "licence"),
        (("commercial = true", 'commercial = "yes"'), "commercial"),
        (("bytes = 3", "bytes = 0"), "bytes"),
        (("bytes = 3", "bytes = 3\ncolour = 1"), "colour"),
        (("sha256 = ", 'sha256 = "abc" #'), "sha256"),
        (("file:one.onnx", "ftp:one.onnx"), "url"),
        (("file:one.onnx", "pypi:one"), "url"),
        (("file:one.onnx", "pypi:one==1.0"), "member"),
        (("bytes = 3", 'bytes = 3\nmember = "a"\narchive_bytes = 9'), "member"),
        (("bytes = 3", 'bytes = 3\npython = "3.11"'), "python and platform"),
        (("[one]", '[one]\nconverter = "magic"'), "converter"),
        (("[one]", '[one]\nparts = { mapping = "other.xml" }'), "other.xml"),
        (("[one]", "[One]"), "id"),
        (('"net.onnx"', '"../net.onnx"'), "net.onnx"),
    ],
)
def test_anything_inexact_is_refused(change: tuple[str, str], expected: str, table: Table) -> None:
    valid = table("one", "file:one.onnx", b"one")
    assert list(parse_manifest(valid)) == ["one"]
    assert change[0] in valid
    with pytest.raises(WeightsUnavailable, match=expected):
        parse_manifest(valid.replace(*change))


@pytest.mark.parametrize("text", ["one = 2", "[one", "[one]\nfiles = 3"])
def test_anything_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(WeightsUnavailable, match="malformed"):
        parse_manifest(text)


def test_several_files_need_a_converter_or_parts(table: Table) -> None:
    first = table("one", "file:one.onnx", b"one")
    second = first.partition("[one.files")[2].replace("net.onnx", "other.onnx")
    with pytest.raises(WeightsUnavailable, match="several files"):
        parse_manifest(f"{first}[one.files{second}")


def test_digests_change_with_files_and_with_the_converter(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    of = load_manifest()["real_esrgan"]
    before = digest(of)
    assert before != files_digest(of)
    newer = type(CONVERTERS["ncnn"])(module="weights.convert.ncnn", version=CONVERTERS["ncnn"].version + 1)
    monkeypatch.setitem(CONVERTERS, "ncnn", newer)
    assert digest(of) != before
    one, other = (parse_manifest(table("one", "file:one.onnx", content))["one"] for content in (b"1", b"2"))
    assert digest(one) == files_digest(one)
    assert digest(one) != digest(other)


def test_unknown_ids_are_named() -> None:
    with pytest.raises(NotFound, match="got 'face_net'"):
        select(["face_mesh", "face_net"])
