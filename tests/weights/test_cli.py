"""The commands, called as `python -m weights` calls them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from weights import store
from weights.__main__ import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of one command."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["weights", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


@pytest.fixture
def two(cache: Path, tmp_path: Path, listed: Callable[[str], object], table: Callable[..., str]) -> Path:
    """A manifest of two, one of them not for commercial use; the files lie in the folder that is returned."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    listed(table("one", "file:one", b"one") + table("two", "file:two", b"two", commercial=False))
    return tmp_path


def test_fetch_list_verify_and_licences(two: Path, run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert out.split().count("no") == 3  # neither is in the store, one is not for commercial use
    code, out, _ = run("fetch")
    assert code == 0
    assert out.startswith("2 weights (0.0 MB) are in ")
    assert run("list")[1].split().count("no") == 1
    assert run("verify")[0] == 0
    code, out, _ = run("licences")
    assert code == 0
    assert "two: MIT  [NOT FOR COMMERCIAL USE]" in out


def test_fetch_of_some(two: Path, run: Run) -> None:
    assert run("fetch", "two")[0] == 0
    code, _, err = run("verify")
    assert code == 1
    assert "one: net.onnx is absent" in err
    assert run("verify", "two")[0] == 0


def test_damage_is_found_and_left_alone(two: Path, run: Run) -> None:
    run("fetch")
    opened = store.artefact("one")
    opened.write_text("eno")
    code, out, err = run("verify")
    assert code == 1
    assert err.startswith("one: net.onnx has sha256")
    assert "two" not in err + out
    assert opened.read_text() == "eno"


def test_failures_end_in_one_and_a_sentence(two: Path, run: Run) -> None:
    (two / "one").unlink()
    code, _, err = run("fetch")
    assert code == 1
    assert "Expected one in this repository; it is absent." in err
    code, _, err = run("fetch", "three")
    assert code == 1
    assert "got 'three'" in err
    code, _, err = run("convert", "two")
    assert code == 1
    assert "opened as published" in err
    assert run("convert")[0] == 0, "none of all needs it"
