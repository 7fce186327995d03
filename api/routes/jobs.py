"""Long work: look, follow, cancel."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.deps import Caller, Deps, Services
from api.errors import Problem
from api.jobs import ENDED, Job, State, no_such_job
from api.tenants import Tenant

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

LOOK_EVERY_S = 0.5


class JobView(BaseModel):
    """A job as its owner sees it."""

    id: str
    flow: str
    state: State
    progress: float = Field(description="0-1")
    eta_s: float | None = Field(description="seconds until done by the pace so far; null while that is unknown")
    result: dict[str, Any] | None = Field(description="the flow's response, once succeeded")
    problem: Problem | None = Field(description="what went wrong, once failed")
    url: str
    events_url: str


def view(job: Job) -> JobView:
    return JobView(
        id=job.id,
        flow=job.flow,
        state=job.state,
        progress=round(job.progress, 4),
        eta_s=job.eta_s,
        result=job.result,
        problem=None if job.problem is None else Problem(**job.problem),
        url=f"/v1/jobs/{job.id}",
        events_url=f"/v1/jobs/{job.id}/events",
    )


@router.get("/{job_id}", summary="State and progress of a job")
async def get_job(job_id: str, services: Deps, tenant: Caller) -> JobView:
    return view(await _own(job_id, services, tenant))


@router.delete("/{job_id}", summary="Cancel a job")
async def delete_job(job_id: str, services: Deps, tenant: Caller) -> JobView:
    """Stops the work and deletes the uploaded files. A job that has ended stays as it is."""
    await _own(job_id, services, tenant)
    return view(await services.jobs.cancel(job_id))


@router.get("/{job_id}/events", response_class=EventSourceResponse, summary="Progress as server-sent events")
async def job_events(job_id: str, services: Deps, tenant: Caller) -> EventSourceResponse:
    """Sends the job as JSON at once, at each change, and last when it has ended."""
    return EventSourceResponse(_events(await _own(job_id, services, tenant), services))


async def _own(job_id: str, services: Services, tenant: Tenant) -> Job:
    job = await services.jobs.get(job_id)
    if job.tenant != tenant.name:
        raise no_such_job(job_id)
    return job


async def _events(job: Job, services: Services) -> AsyncGenerator[ServerSentEvent, None]:
    sent: JobView | None = None
    while True:
        now = view(job)
        if now != sent:
            yield ServerSentEvent(now.model_dump_json(), event=now.state)
            sent = now
        if job.state in ENDED:
            return
        await asyncio.sleep(LOOK_EVERY_S)
        job = await services.jobs.get(job.id)
