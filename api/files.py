"""Results on disk, under names that cannot be guessed, for a limited time."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modiste.errors import NotFound

MEDIA_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "json": "application/json",
}
_ID = re.compile(rf"[A-Za-z0-9_-]{{32}}\.({'|'.join(MEDIA_TYPES)})")


class FileStore:
    """Files by id, in one flat folder. An id is 192 random bits and the type."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes, suffix: str) -> str:
        """Store `content`, whole or not at all; returns its id."""
        file_id = _new_id(suffix)
        with _aside(self._folder / f".{file_id}") as side:
            side.write_bytes(content)
            side.replace(self._folder / file_id)
        return file_id

    def adopt(self, source: Path) -> str:
        """Move a file into the store; returns its id. The type is that of the source's suffix."""
        file_id = _new_id(source.suffix.removeprefix("."))
        with _aside(self._folder / f".{file_id}") as side:
            shutil.move(source, side)
            side.replace(self._folder / file_id)
        os.utime(self._folder / file_id)
        return file_id

    def path(self, file_id: str) -> Path:
        """Where the file lies.

        raises: NotFound for an id that was never given out, or has expired
        """
        if not _ID.fullmatch(file_id) or not (path := self._folder / file_id).is_file():
            raise NotFound(f"there is no file {file_id[:60]!r}; files are kept for a limited time")
        return path

    def sweep(self, older_than_s: float) -> int:
        """Delete what was stored longer ago; returns how many."""
        limit = time.time() - older_than_s
        expired = [path for path in self._folder.iterdir() if path.stat().st_mtime < limit]
        for path in expired:
            path.unlink(missing_ok=True)
        return len(expired)


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Where a file is written before it has its name; nothing is left there if that fails."""
    try:
        yield path
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def media_type(file_id: str) -> str:
    return MEDIA_TYPES[file_id.rpartition(".")[2]]


def _new_id(suffix: str) -> str:
    if suffix not in MEDIA_TYPES:
        raise ValueError(f"expected one of {sorted(MEDIA_TYPES)}, got {suffix!r}")
    return f"{secrets.token_urlsafe(24)}.{suffix}"
