"""Stored results."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.files import FileStore, media_type
from modiste.errors import NotFound


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def test_what_is_put_is_found_again(files: FileStore) -> None:
    file_id = files.put(b"abc", "png")
    assert files.path(file_id).read_bytes() == b"abc"
    assert media_type(file_id) == "image/png"
    assert files.put(b"abc", "png") != file_id


def test_a_file_is_moved_in(files: FileStore, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"abc")
    assert files.path(files.adopt(tmp_path / "clip.mp4")).read_bytes() == b"abc"
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("name", ["", "x", "../secret.png", "A" * 32 + ".png", "A" * 32 + ".sh", "/etc/passwd"])
def test_other_names_are_not_found(files: FileStore, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").touch()
    with pytest.raises(NotFound):
        files.path(name)


def test_old_files_go(files: FileStore) -> None:
    old, new = files.put(b"a", "png"), files.put(b"b", "png")
    os.utime(files.path(old), (0, 0))
    assert files.sweep(older_than_s=60) == 1
    assert files.path(new).exists()
    with pytest.raises(NotFound):
        files.path(old)


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """As a full disk would, the kernel takes the beginning of a file and no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_has_no_room_leaves_nothing_half_written(files: FileStore, tmp_path: Path) -> None:
    with no_file_over(1000), pytest.raises(OSError):
        files.put(b"x" * 5000, "png")
    assert list((tmp_path / "files").iterdir()) == []
