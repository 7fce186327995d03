"""Video flows as jobs: followed, cancelled, and taken up again after the application ended."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx

Serving = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


async def submit(client: httpx.AsyncClient, samples: Path, **options: object) -> dict[str, Any]:
    files = {
        "video": ("clip.txt", (samples / "video" / "head_turn_one.mp4").read_bytes()),
        "options": (None, json.dumps(options)),
    }
    answer = await client.post("/v1/flows/tiny_clip", files=files)  # type: ignore[arg-type]
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


async def until(client: httpx.AsyncClient, job: dict[str, Any], *states: str) -> dict[str, Any]:
    for _ in range(200):
        found: dict[str, Any] = (await client.get(job["url"])).json()
        if found["state"] in states:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"not {states}: {found}")


async def test_a_job_succeeds_and_links_to_its_files(client: httpx.AsyncClient, samples: Path) -> None:
    job = await until(client, await submit(client, samples), "succeeded", "failed")
    assert job["progress"] == 1
    video = await client.get(job["result"]["video"]["url"])
    assert video.headers["content-type"] == "video/mp4"
    assert video.content == (samples / "video" / "head_turn_one.mp4").read_bytes()
    assert len(job["result"]["frames"]) == 2


async def test_events_tell_each_change_and_end(client: httpx.AsyncClient, samples: Path) -> None:
    job = await submit(client, samples, steps=4, seconds=0.3)
    events = []
    async with client.stream("GET", job["events_url"]) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                events.append(json.loads(line.removeprefix("data:")))
    assert events[-1]["state"] == "succeeded"
    progress = [event["progress"] for event in events]
    assert progress == sorted(progress)
    assert any(0 < value < 1 for value in progress)


async def test_delete_stops_the_work_and_the_next_job_runs(client: httpx.AsyncClient, samples: Path) -> None:
    job = await submit(client, samples, steps=1000, seconds=0.02)
    await until(client, job, "running")
    await asyncio.sleep(0.1)
    answer = await client.delete(job["url"])
    assert answer.json()["state"] == "cancelled"
    trace = Path(os.environ["TINY_TRACE"])
    stopped_at = await asyncio.to_thread(trace.read_text)
    await asyncio.sleep(0.15)
    assert await asyncio.to_thread(trace.read_text) == stopped_at
    await until(client, await submit(client, samples), "succeeded")


async def test_a_waiting_job_can_be_cancelled(client: httpx.AsyncClient, samples: Path) -> None:
    running = await submit(client, samples, steps=1000, seconds=0.02)
    await until(client, running, "running")
    waiting = await submit(client, samples)
    assert (await client.delete(waiting["url"])).json()["state"] == "cancelled"
    assert (await client.get(running["url"])).json()["state"] == "running"
    assert (await client.delete(waiting["url"])).status_code == 200


async def test_a_job_survives_the_end_of_the_application(serving: Serving, samples: Path) -> None:
    async with serving() as client:
        job = await submit(client, samples, steps=30, seconds=0.02)
        await until(client, job, "running")
    async with serving() as client:
        assert (await until(client, job, "succeeded", "failed"))["state"] == "succeeded"


async def test_a_file_that_is_no_video_is_refused_before_there_is_a_job(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/flows/tiny_clip", files={"video": b"no video"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type"), answer.text
