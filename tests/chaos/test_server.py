"""`python -m api serve` on its own: jobs outlive what runs them, and a long load leaves nothing behind."""

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from arrivals import failed, figures, send, steadily
from conftest import Record
from processes import kill, until
from requests_of import CLIP, FACE, SKETCH, job_of
from servers import Server, served
from soaking import soak

pytestmark = [pytest.mark.chaos, pytest.mark.cluster, pytest.mark.weights, pytest.mark.long]

SOAK_MINUTES = float(os.environ.get("SOAK_MINUTES", "1"))
ENDED = ("succeeded", "failed", "cancelled")
JOBS_WITHIN_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, catalogued: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(catalogued, folder / "state")
    with served(folder, {}) as running:
        asyncio.run(steadily(running.port, [SKETCH, FACE], rate=1.0, seconds=10))
        yield running


def killed_flow(server: Server) -> None:
    kill(*server.replicas("anonymize_video"))


def killed_keeper(server: Server) -> None:
    kill(*server.replicas("jobs"))


def killed_server(server: Server) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("break_it", [killed_flow, killed_keeper, killed_server], ids=["flow", "jobs", "server"])
def test_jobs_resume(server: Server, record: Record, break_it: Callable[[Server], None]) -> None:
    """Three jobs, one running; each succeeds, stays so, and has one result."""
    before = len(videos(server))
    paths = [job_of(asyncio.run(send(server.port, CLIP)).body) for _ in range(3)]
    until(lambda: look(server, paths[0])["progress"] > 0, within_s=60, what="a job at work")
    states: dict[str, list[str]] = {path: [] for path in paths}
    started = monotonic()
    break_it(server)
    broken_s = monotonic() - started
    while not all(seen and seen[-1] in ENDED for seen in states.values()):
        assert monotonic() - started < JOBS_WITHIN_S, states
        for path, seen in states.items():
            state = look(server, path).get("state", "unavailable")
            if not seen or seen[-1] != state:
                seen.append(state)
        sleep(0.2)
    took_s = monotonic() - started
    sleep(2)  # for a second result, if one came
    record(
        f"jobs_{break_it.__name__.removeprefix('killed_')}",
        jobs=len(paths), ended=dict(Counter(seen[-1] for seen in states.values())), states=list(states.values()),
        until_it_answered_s=round(broken_s, 1), all_done_after_s=round(took_s, 1),
        results=len(videos(server)) - before,
    )  # fmt: skip
    assert all(seen[-1] == "succeeded" for seen in states.values()), states
    assert all(look(server, path)["result"]["frames"] == 100 for path in paths)
    assert len(videos(server)) - before == len(paths)
    assert list((server.state / "jobs").iterdir()) == []


def look(server: Server, path: str) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get(path).json()
    return found


def videos(server: Server) -> set[str]:
    return {path.name for path in (server.state / "files").glob("[!.]*.mp4")}


async def test_a_long_load_leaves_nothing_behind(server: Server, record: Record) -> None:
    """Minutes by SOAK_MINUTES. First a short load, after which every model that it uses is open."""
    await soak(server, 0.5)
    answers, measured = await soak(server, SOAK_MINUTES)
    jobs = [job_of(sent.body) for sent in answers if sent.name == CLIP.name and sent.ok]
    until(lambda: all(look(server, path)["state"] == "succeeded" for path in jobs), within_s=60, what="all jobs done")
    await asyncio.sleep(5)
    half_written = [str(path) for path in server.state.rglob(".*")]
    record("soak", **figures(answers), **measured, jobs=len(jobs), half_written=half_written)
    assert not failed(answers)
    assert measured["zombies"] == 0
    assert half_written == []
    assert list((server.state / "jobs").iterdir()) == []
    assert measured["level_after_mb"] < 1.05 * measured["level_before_mb"] + 50
