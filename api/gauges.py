"""What is measured every few seconds, by the one replica that keeps the jobs."""

import asyncio
import shutil
import sqlite3
import time

from api.jobs import JobStore
from modiste.metrics import DISK_FREE, JOBS_NOW, OLDEST_JOB, record
from modiste.settings import settings
from modiste.telemetry import log

EVERY_S = 10.0


async def measure(store: JobStore) -> None:
    """Until cancelled: jobs by state, how long the oldest has waited, and what is left of the disks."""
    while True:
        try:
            await asyncio.to_thread(_measure_once, store)
        except (OSError, sqlite3.Error) as error:  # for a moment; what is missing shows it
            log.warning("not_measured", reason=type(error).__name__)
        await asyncio.sleep(EVERY_S)


def _measure_once(store: JobStore) -> None:
    counts, oldest = store.standing()
    for state, count in counts.items():
        record(JOBS_NOW, count, state=state)
    record(OLDEST_JOB, max(0.0, time.time() - oldest))
    for name, folder in (("state", settings().state), ("cache", settings().cache)):
        usage = shutil.disk_usage(folder)
        record(DISK_FREE, usage.free / usage.total, folder=name)
