import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from compile import cache
from compile.cache import Built, cached_blob, engine_key
from compile.prune import prune
from compile.report import reports
from modiste.settings import settings
from modiste.spec import EngineSpec, TensorSpec
from weights.convert import CONVERTERS
from weights.manifest import entry

ROOT = Path(__file__).resolve().parents[2]
DAY = 24 * 60 * 60.0


def built(blob: bytes) -> Callable[[], Built]:
    return lambda: Built(blob=blob, report=b"{}")


def never() -> Built:
    raise AssertionError("built, where it was stored")


def test_a_blob_is_built_once_and_its_report_lies_beside_it(engines: Path) -> None:
    assert cached_blob("k", built(b"blob"), bytes.decode) == "blob"
    assert cached_blob("k", never, bytes.decode) == "blob"
    assert (engines / "k.json").read_bytes() == b"{}"


def _flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _flip_seal(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


@pytest.mark.parametrize(
    "damage",
    [
        _flip_last_byte,
        _flip_seal,
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, 20),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(b"\x80\x04cposix\nsystem\n" * 9),
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
    ],
    ids=["tampered", "other seal", "truncated", "within the seal", "empty", "foreign", "longer"],
)
def test_what_is_not_as_it_was_built_never_reaches_the_runtime(engines: Path, damage: Callable[[Path], None]) -> None:
    cached_blob("k", built(b"good"), bytes.decode)
    damage(engines / "k.blob")
    loaded: list[bytes] = []
    with capture_logs() as logs:
        cached_blob("k", built(b"again"), loaded.append)
    assert loaded[:1] == [b"again"]
    assert [line["event"] for line in logs] == ["engine_rebuilt"] * 2  # looked at before and within the lock
    assert cached_blob("k", never, bytes.decode) == "again"


def test_a_blob_under_another_key_is_built_again(engines: Path) -> None:
    """As if a plan for one GPU were renamed to pass for another's."""
    cached_blob("of-this-gpu", built(b"this"), bytes.decode)
    (engines / "of-this-gpu.blob").rename(engines / "of-that-gpu.blob")
    assert cached_blob("of-that-gpu", built(b"that"), bytes.decode) == "that"


def test_a_blob_of_another_secret_is_built_again(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_blob("k", built(b"without"), bytes.decode)
    monkeypatch.setenv("MODISTE_ENGINE_SECRET", "new")
    settings.cache_clear()
    assert cached_blob("k", built(b"with"), bytes.decode) == "with"
    assert cached_blob("k", never, bytes.decode) == "with"


def test_a_blob_that_the_runtime_refuses_is_built_again(engines: Path) -> None:
    cached_blob("k", built(b"of another version"), bytes.decode)

    def load(blob: bytes) -> str:
        if blob != b"of this version":
            raise RuntimeError("unsupported blob")
        return "loaded"

    with capture_logs() as logs:
        assert cached_blob("k", built(b"of this version"), load) == "loaded"
    assert logs[0]["reason"] == "unsupported blob"


def test_a_failed_build_leaves_nothing_to_open(engines: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cached_blob("k", lambda: Built(blob=bytes(1 // 0), report=b""), bytes.decode)
    assert [path.name for path in engines.iterdir()] == ["k.lock"]


def test_where_nothing_can_be_kept_the_engine_serves(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODISTE_CACHE", "/proc")  # nobody writes there, root neither
    settings.cache_clear()
    with capture_logs() as logs:
        assert cached_blob("k", built(b"served"), bytes.decode) == "served"
    assert [line["event"] for line in logs] == ["engine_not_locked", "engine_not_kept"]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond a megabyte, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_the_engine_serves_and_no_half_file_stays(engines: Path, full_disk: None) -> None:
    with capture_logs() as logs:
        assert cached_blob("k", built(bytes(2 << 20)), len) == 2 << 20
    assert [line["event"] for line in logs] == ["engine_not_kept"]
    assert not [path for path in engines.iterdir() if path.suffix in (".blob", ".part")]


def test_processes_of_one_machine_build_once(
    engines: Path, tmp_path: Path, build_in_processes: Callable[..., list[str]]
) -> None:
    assert build_in_processes(tmp_path, tmp_path) == ["built"]


def test_without_a_store_nothing_of_boto3_is_imported(engines: Path) -> None:
    script = "import sys, compile.build; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


SPEC = EngineSpec(
    weights="face_mesh",
    inputs=(TensorSpec(name="x", shape=("N", 3, 192, 192), range="[0, 1]", meaning="anything"),),
    outputs=(TensorSpec(name="y", shape=("N", 1), range="any", meaning="anything"),),
)
RUNTIME = {"tensorrt": "11.1", "gpu": "H200", "sm": "90"}


def test_a_key_tells_all_that_shapes_an_engine() -> None:
    key = engine_key(SPEC, judges="these", target="tensorrt", precision="float16", runtime=RUNTIME)
    others = [
        engine_key(
            replace(SPEC, weights="blazeface"), judges="these", target="tensorrt", precision="float16", runtime=RUNTIME
        ),
        engine_key(replace(SPEC, max_batch=8), judges="these", target="tensorrt", precision="float16", runtime=RUNTIME),
        engine_key(
            replace(SPEC, tolerance=0.01), judges="these", target="tensorrt", precision="float16", runtime=RUNTIME
        ),
        engine_key(SPEC, judges="others", target="tensorrt", precision="float16", runtime=RUNTIME),
        engine_key(SPEC, judges="these", target="cuda", precision="float16", runtime=RUNTIME),
        engine_key(SPEC, judges="these", target="tensorrt", precision="float32", runtime=RUNTIME),
        engine_key(
            SPEC, judges="these", target="tensorrt", precision="float16", runtime={**RUNTIME, "tensorrt": "11.2"}
        ),
        engine_key(SPEC, judges="these", target="tensorrt", precision="float16", runtime={**RUNTIME, "sm": "89"}),
    ]
    assert len({key, *others}) == 1 + len(others)


def test_a_key_tells_how_the_graph_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a converted file by its converter's version, of an exported network by that of the export."""

    def key() -> str:
        return engine_key(SPEC, judges="these", target="openvino", precision="float32", runtime={})

    keys = {key()}
    converter = entry(SPEC.weights).converter
    assert converter is not None
    monkeypatch.setitem(CONVERTERS, converter, replace(CONVERTERS[converter], version=99))
    keys.add(key())
    monkeypatch.setattr(cache, "GRAPH_VERSION", 99)
    keys.add(key())
    assert len(keys) == 3


def test_a_report_of_another_version_is_passed_over(engines: Path) -> None:
    cached_blob("k", built(b"blob"), bytes.decode)
    with capture_logs() as logs:
        assert reports() == []
    assert [line["event"] for line in logs] == ["engine_report_unreadable"]


def test_a_key_does_not_tell_which_precision_the_model_asks_for() -> None:
    """The same engine, whether it is built as the default or by an option."""
    keys = {
        engine_key(spec, judges="these", target="openvino", precision="bfloat16", runtime={})
        for spec in (SPEC, replace(SPEC, precision="bfloat16", gpu_precision="float16"))
    }
    assert len(keys) == 1


def _unused_for(path: Path, seconds: float) -> None:
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))


def test_prune_removes_what_was_not_opened_and_what_broke(engines: Path) -> None:
    for key in ("used", "unused"):
        cached_blob(key, built(b"0123456789"), bytes.decode)
        _unused_for(engines / f"{key}.blob", 31 * DAY)
    cached_blob("used", never, bytes.decode)
    for name, age in (("orphan.json", 2 * 60 * 60), (".broken.part", 2 * 60 * 60), (".written-now.part", 0)):
        (engines / name).write_bytes(b"12")
        _unused_for(engines / name, age)
    pruned = prune(30 * DAY)
    assert sorted(path.name for path in engines.iterdir()) == [
        ".written-now.part", "used.blob", "used.json", "used.lock",
    ]  # fmt: skip
    assert (pruned.files, pruned.bytes) == (5, (32 + 10) + 2 + 2 + 2)


def test_prune_leaves_what_is_being_built(engines: Path) -> None:
    def build() -> Built:
        prune(0)
        return Built(blob=b"blob", report=b"{}")

    cached_blob("k", build, bytes.decode)
    assert (engines / "k.lock").exists()
    assert prune(0).files == 3
    assert not list(engines.iterdir())


def test_prune_without_a_folder_finds_nothing(engines: Path) -> None:
    assert prune(0).files == 0
