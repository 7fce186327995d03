"""What the engine folder of this machine no longer needs."""

from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import time

from filelock import FileLock, Timeout

from compile.cache import folder

ABANDONED_S = 60 * 60.0
"""What is still being written is younger."""


@dataclass(slots=True)
class Pruned:
    files: int = 0
    bytes: int = 0


def prune(unused_s: float) -> Pruned:
    """Remove engines that were not opened for that many seconds with their reports, reports without an engine, and
    what broken writes left. The shared store is left to its bucket's lifecycle rules."""
    pruned, now = Pruned(), time()

    def remove(path: Path, older_than: float) -> bool:
        with suppress(FileNotFoundError):  # another process prunes, too
            found = path.stat()
            if now - found.st_mtime >= older_than:
                path.unlink()
                pruned.files += 1
                pruned.bytes += found.st_size
                return True
        return False

    for blob in folder().glob("*.blob"):
        if remove(blob, unused_s):
            remove(blob.with_suffix(".json"), 0)
    for report in folder().glob("*.json"):
        if not report.with_suffix(".blob").exists():
            remove(report, ABANDONED_S)
    for left in folder().glob(".*.part"):
        remove(left, ABANDONED_S)
    for lock in folder().glob("*.lock"):
        if not lock.with_suffix(".blob").exists():
            with suppress(Timeout), FileLock(lock, timeout=0):  # one that is held has an engine coming
                remove(lock, -inf)  # to hold it has renewed it
    return pruned
