"""Long work: what was asked, how far it is, what came of it. Survives the server in SQLite.

    <state>/jobs.sqlite          one row for each job
    <state>/jobs/<id>/<field>.*  its uploaded files, deleted when it ends

Who runs a job holds a lease on it and renews it; a job whose lease has run out is anybody's. So a server that is
killed loses none, and during an upgrade two servers share one store. The journal is the one that works across
machines, on file systems with locks.

Calls are short and synchronous; the event loop runs them on threads.
"""

import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from modiste.errors import NotFound

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
ATTEMPTS = 3
"""A job whose lease ran out goes back to the queue; after this many starts it has failed, so that a job which brings
the server down does not do so for ever."""
LEASE_S = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, flow TEXT NOT NULL, options TEXT NOT NULL, format TEXT NOT NULL,
    state TEXT NOT NULL, progress REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, started REAL, ended REAL, result TEXT, problem TEXT,
    tenant TEXT NOT NULL DEFAULT '', lease REAL NOT NULL DEFAULT 0
) STRICT
"""
_LATER = {"tenant": "TEXT NOT NULL DEFAULT ''", "lease": "REAL NOT NULL DEFAULT 0"}
"""Columns that databases of earlier versions lack."""


def new_folder(state: Path) -> Path:
    """A new job's folder, to put its inputs into before the job is added; its name is the job's id."""
    folder = state / "jobs" / secrets.token_urlsafe(24)
    folder.mkdir(parents=True)
    return folder


def no_such_job(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id[:60]!r}; ended jobs are kept for a limited time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """progress: 0-1. created, started, ended, lease (its end): seconds since 1970. result, problem: JSON, of jobs that
    ended. attempts: starts so far; who began an earlier one has lost the job."""

    id: str
    flow: str
    options: str
    format: str
    state: State
    progress: float
    attempts: int
    created: float
    started: float | None
    ended: float | None
    result: dict[str, Any] | None
    problem: dict[str, Any] | None
    tenant: str
    lease: float

    @property
    def eta_s(self) -> float | None:
        """Seconds until done, by the pace so far; None while there is none."""
        if self.state != "running" or self.started is None or self.progress <= 0:
            return None
        return round((time.time() - self.started) * (1 - self.progress) / self.progress, 1)


class JobStore:
    """Jobs by id."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "jobs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._database = state / "jobs.sqlite"
        with closing(self._open()) as database:
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute(_SCHEMA)
            there = {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}
            for column in _LATER.keys() - there:
                database.execute(f"ALTER TABLE jobs ADD COLUMN {column} {_LATER[column]}")

    def inputs(self, job_id: str) -> Path:
        """Folder of the job's uploaded files, each named for its field."""
        return self._folder / job_id

    def add(self, job_id: str, flow: str, options: str, image_format: str, tenant: str) -> Job:
        """Queue a job; adding it again changes nothing."""
        self._write(
            "INSERT INTO jobs (id, flow, options, format, tenant, state, created) VALUES (?, ?, ?, ?, ?, 'queued', ?) "
            "ON CONFLICT DO NOTHING",
            (job_id, flow, options, image_format, tenant, time.time()),
        )
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """raises: NotFound"""
        rows = self._read("SELECT * FROM jobs WHERE id = ?", (job_id,))
        if not rows:
            raise no_such_job(job_id)
        return rows[0]

    def claim(self) -> Job | None:
        """The job that has waited longest, now running; None where none waits."""
        now = time.time()
        rows = self._read(
            "UPDATE jobs SET state = 'running', started = ?, lease = ?, progress = 0, attempts = attempts + 1 "
            "WHERE id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY created LIMIT 1) RETURNING *",
            (now, now + LEASE_S),
        )
        return rows[0] if rows else None

    def renew(self, job: Job) -> bool:
        """Keep the lease; False where the job was cancelled or is another's by now."""
        return bool(
            self._write(
                "UPDATE jobs SET lease = ? WHERE id = ? AND attempts = ? AND state = 'running'",
                (time.time() + LEASE_S, job.id, job.attempts),
            )
        )

    def report(self, job: Job, progress: float) -> None:
        self._write(
            "UPDATE jobs SET progress = ? WHERE id = ? AND attempts = ? AND state = 'running'",
            (progress, job.id, job.attempts),
        )

    def succeed(self, job: Job, result: Mapping[str, Any]) -> None:
        self._end(job.id, "succeeded", "progress = 1, result", result, job.attempts)

    def fail(self, job: Job, problem: Mapping[str, Any]) -> None:
        self._end(job.id, "failed", "problem", problem, job.attempts)

    def cancel(self, job_id: str) -> None:
        """Mark as cancelled, unless it has ended."""
        self._end(job_id, "cancelled", "problem", None)

    def release(self, job: Job) -> None:
        """Put a job back whose work was stopped."""
        self._write(
            "UPDATE jobs SET state = 'queued' WHERE id = ? AND attempts = ? AND state = 'running'",
            (job.id, job.attempts),
        )

    def reap(self, problem: Mapping[str, Any]) -> None:
        """Put back what nobody holds a lease on; what was tried too often has failed with `problem`."""
        for job in self._read("SELECT * FROM jobs WHERE state = 'running' AND lease < ?", (time.time(),)):
            if job.attempts >= ATTEMPTS:
                self.fail(job, problem)
            else:
                self.release(job)

    def sweep(self, older_than_s: float) -> None:
        """Forget jobs that ended longer ago, and inputs that belong to no job."""
        limit = time.time() - older_than_s
        self._write("DELETE FROM jobs WHERE ended < ?", (limit,))
        known = {job.id for job in self._read("SELECT * FROM jobs WHERE ended IS NULL")}
        for folder in self._folder.iterdir():
            if folder.name not in known and folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)

    def standing(self) -> tuple[dict[State, int], float]:
        """How many jobs are in each state, and since when the one waits that has waited longest (seconds since 1970;
        now where none waits)."""
        counts = dict.fromkeys(get_args(State), 0)
        with closing(self._open()) as database:
            for row in database.execute("SELECT state, COUNT(*) AS many FROM jobs GROUP BY state").fetchall():
                counts[row["state"]] = row["many"]
            (oldest,) = database.execute("SELECT MIN(created) FROM jobs WHERE state = 'queued'").fetchone()
        return counts, time.time() if oldest is None else oldest

    def _end(
        self, job_id: str, state: State, column: str, content: Mapping[str, Any] | None, attempts: int | None = None
    ) -> None:
        encoded = None if content is None else json.dumps(content)
        ended = self._write(
            f"UPDATE jobs SET state = ?, ended = ?, {column} = ? "  # noqa: S608 - columns are ours
            "WHERE id = ? AND state IN ('queued', 'running') AND attempts = coalesce(?, attempts)",
            (state, time.time(), encoded, job_id, attempts),
        )
        if ended:
            shutil.rmtree(self.inputs(job_id), ignore_errors=True)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._database, timeout=10, isolation_level=None)
        database.row_factory = sqlite3.Row
        return database

    def _write(self, statement: str, values: tuple[object, ...] = ()) -> int:
        """Returns how many rows it changed."""
        with closing(self._open()) as database:
            return database.execute(statement, values).rowcount

    def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[Job]:
        with closing(self._open()) as database:
            return [_job(row) for row in database.execute(statement, values).fetchall()]


def _job(row: sqlite3.Row) -> Job:
    content = dict(row)
    for name in ("result", "problem"):
        content[name] = None if content[name] is None else json.loads(content[name])
    return Job(**content)
