"""Jobs on disk."""

from pathlib import Path

import pytest

from api.jobs import ATTEMPTS, JobStore
from modiste.errors import NotFound

PROBLEM = {"code": "internal"}


@pytest.fixture
def jobs(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path)


def add(jobs: JobStore, flow: str = "clip") -> str:
    job_id = jobs.new_id()
    (jobs.inputs(job_id) / "video.mp4").touch()
    jobs.add(job_id, flow, '{"seed": 1}', "png")
    return job_id


def test_jobs_are_claimed_once_in_the_order_they_came(jobs: JobStore) -> None:
    first, second = add(jobs), add(jobs)
    claimed = [jobs.claim(), jobs.claim(), jobs.claim()]
    assert [job and job.id for job in claimed] == [first, second, None]
    assert claimed[0] is not None
    assert (claimed[0].state, claimed[0].options, claimed[0].attempts) == ("running", '{"seed": 1}', 1)


def test_progress_gives_a_time_to_go(jobs: JobStore) -> None:
    job_id = add(jobs)
    assert jobs.get(job_id).eta_s is None
    jobs.claim()
    jobs.report(job_id, 0.5)
    job = jobs.get(job_id)
    assert job.progress == 0.5
    assert job.eta_s is not None
    assert 0 <= job.eta_s < 5


def test_an_ended_job_keeps_its_result_and_loses_its_inputs(jobs: JobStore) -> None:
    job_id = add(jobs)
    jobs.claim()
    jobs.succeed(job_id, {"video": {"id": "x"}})
    jobs.cancel(job_id)  # too late
    job = jobs.get(job_id)
    assert (job.state, job.progress, job.result) == ("succeeded", 1.0, {"video": {"id": "x"}})
    assert not jobs.inputs(job_id).exists()


def test_what_ran_when_the_server_ended_is_queued_again(jobs: JobStore, tmp_path: Path) -> None:
    job_id = add(jobs)
    jobs.claim()
    again = JobStore(tmp_path)
    again.requeue(PROBLEM)
    assert again.get(job_id).state == "queued"
    assert (again.inputs(job_id) / "video.mp4").exists()


def test_a_job_that_always_ends_the_server_fails_at_last(jobs: JobStore) -> None:
    job_id = add(jobs)
    for _ in range(ATTEMPTS):
        assert jobs.get(job_id).state == "queued"
        jobs.claim()
        jobs.requeue(PROBLEM)
    job = jobs.get(job_id)
    assert (job.state, job.problem) == ("failed", PROBLEM)


def test_old_jobs_are_forgotten_and_open_ones_kept(jobs: JobStore) -> None:
    ended, waiting = add(jobs), add(jobs)
    jobs.claim()
    jobs.succeed(ended, {})
    jobs.sweep(older_than_s=-1)
    assert jobs.get(waiting).state == "queued"
    assert jobs.inputs(waiting).exists()
    with pytest.raises(NotFound):
        jobs.get(ended)
