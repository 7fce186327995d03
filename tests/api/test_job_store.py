"""Jobs on disk."""

import sqlite3
from pathlib import Path

import pytest

from api import jobs as module
from api.jobs import ATTEMPTS, Job, JobStore, new_folder
from modiste.errors import NotFound

PROBLEM = {"code": "internal"}


@pytest.fixture
def jobs(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path)


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have run out when they are given."""
    monkeypatch.setattr(module, "LEASE_S", -1.0)


def add(jobs: JobStore, flow: str = "clip") -> str:
    folder = new_folder(jobs.inputs("").parent)
    (folder / "video.mp4").touch()
    jobs.add(folder.name, flow, '{"seed": 1}', "png", "public")
    return folder.name


def claimed(jobs: JobStore) -> Job:
    job = jobs.claim()
    assert job is not None
    return job


def test_jobs_are_claimed_once_in_the_order_they_came(jobs: JobStore) -> None:
    first, second = add(jobs), add(jobs)
    job = claimed(jobs)
    assert (job.id, job.state, job.options, job.attempts) == (first, "running", '{"seed": 1}', 1)
    assert claimed(jobs).id == second
    assert jobs.claim() is None


def test_adding_a_job_again_changes_nothing(jobs: JobStore) -> None:
    job_id = add(jobs)
    claimed(jobs)
    assert jobs.add(job_id, "clip", "{}", "png", "public").state == "running"


def test_progress_gives_a_time_to_go(jobs: JobStore) -> None:
    job_id = add(jobs)
    assert jobs.get(job_id).eta_s is None
    jobs.report(claimed(jobs), 0.5)
    job = jobs.get(job_id)
    assert job.progress == 0.5
    assert job.eta_s is not None
    assert 0 <= job.eta_s < 5


def test_an_ended_job_keeps_its_result_and_loses_its_inputs(jobs: JobStore) -> None:
    job_id = add(jobs)
    jobs.succeed(claimed(jobs), {"video": {"id": "x"}})
    jobs.cancel(job_id)  # too late
    job = jobs.get(job_id)
    assert (job.state, job.progress, job.result) == ("succeeded", 1.0, {"video": {"id": "x"}})
    assert not jobs.inputs(job_id).exists()


def test_a_job_with_a_good_lease_is_nobody_elses(jobs: JobStore, tmp_path: Path) -> None:
    job_id = add(jobs)
    job = claimed(jobs)
    another = JobStore(tmp_path)
    another.reap(PROBLEM)
    assert another.claim() is None
    assert jobs.renew(job)
    jobs.release(job)
    assert (another.get(job_id).state, claimed(another).id) == ("queued", job_id)


def test_who_loses_a_lease_has_lost_the_job(jobs: JobStore, short_leases: None) -> None:
    job_id = add(jobs)
    lost = claimed(jobs)
    jobs.reap(PROBLEM)
    assert (jobs.inputs(job_id) / "video.mp4").exists()
    kept = claimed(jobs)
    assert (jobs.renew(lost), jobs.renew(kept)) == (False, True)
    jobs.report(lost, 0.9)
    jobs.succeed(lost, {"by": "the first"})
    assert (jobs.get(job_id).state, jobs.get(job_id).progress) == ("running", 0)
    jobs.succeed(kept, {"by": "the second"})
    assert jobs.get(job_id).result == {"by": "the second"}


def test_a_job_that_always_ends_the_server_fails_at_last(jobs: JobStore, short_leases: None) -> None:
    job_id = add(jobs)
    for _ in range(ATTEMPTS):
        assert jobs.get(job_id).state == "queued"
        jobs.claim()
        jobs.reap(PROBLEM)
    job = jobs.get(job_id)
    assert (job.state, job.problem) == ("failed", PROBLEM)


def test_a_cancelled_job_is_not_renewed(jobs: JobStore) -> None:
    add(jobs)
    job = claimed(jobs)
    jobs.cancel(job.id)
    assert not jobs.renew(job)


def test_jobs_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute(module._SCHEMA.partition(",\n    tenant")[0] + ") STRICT")
        database.execute(
            "INSERT INTO jobs (id, flow, options, format, state, created) "
            "VALUES ('a', 'clip', '{}', 'png', 'queued', 1)"
        )
    assert claimed(JobStore(tmp_path)).id == "a"


def test_old_jobs_are_forgotten_and_open_ones_kept(jobs: JobStore) -> None:
    ended, waiting = add(jobs), add(jobs)
    jobs.succeed(claimed(jobs), {})
    jobs.sweep(older_than_s=-1)
    assert jobs.get(waiting).state == "queued"
    assert jobs.inputs(waiting).exists()
    with pytest.raises(NotFound):
        jobs.get(ended)
