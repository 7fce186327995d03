"""Whether the process lives, and whether users are served."""

import asyncio
from time import monotonic, perf_counter

import httpx
from fastapi import APIRouter

from api.deps import Deps, Services
from api.errors import NotReady
from modiste.telemetry import log

router = APIRouter(tags=["health"])

GOLDEN_FLOW = "virtual_faces"
GOLDEN_OPTIONS = '{"n": 1, "seed": 0}'
FRESH_S = 20.0
"""An answer this recent still says that users are served; probes do not add up to load."""
TIMEOUT_S = 20.0

_probing = asyncio.Lock()
_served_at = float("-inf")


@router.get("/healthz", summary="The server process lives")
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", summary="A real request is served")
async def readyz(services: Deps) -> dict[str, str]:
    """Generates one small face the way a user would: over HTTP, through the flow, to the model and back."""
    global _served_at  # noqa: PLW0603 - one server in a process
    async with _probing:
        if monotonic() - _served_at > FRESH_S:
            await _golden(services)
            _served_at = monotonic()
    return {"status": "ready"}


async def _golden(services: Services) -> None:
    started = perf_counter()
    url, key = f"/v1/flows/{GOLDEN_FLOW}", services.tenants.probe_key
    try:
        answer = await services.user.post(
            url,
            files={"options": (None, GOLDEN_OPTIONS)},
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        raise NotReady(f"expected an answer to the golden request, got {type(error).__name__}") from error
    if answer.status_code != 200:
        raise NotReady(f"expected 200 to the golden request, got {answer.status_code}: {answer.text[:200]}")
    log.info("golden_request", ms=round((perf_counter() - started) * 1e3))
