"""Every request under an id: context, span, a line in the log, metrics, and the header `Modiste-Request`."""

import asyncio
import re
from contextlib import AbstractContextManager, nullcontext
from secrets import token_hex
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graphs import GRAPHS
from modiste.metrics import FAILURES, REQUEST_SECONDS, REQUESTS, record
from modiste.spans import annotate, failed, span
from modiste.telemetry import Context, log, within

HEADER = "Modiste-Request"
FLOWS = "/v1/flows/"
PROBES = ("/healthz", "/readyz")
UNKNOWN = "unknown"
GONE = 499
"""As proxies log it: the caller went away before the answer."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Observed:
    """The application, observed. Takes over the caller's `X-Request-ID` and `traceparent` where they are well-formed.

    What only routes know they leave in the request's state: `tenant`, its name; `code`, the problem's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked, parent = headers.get("x-request-id", ""), headers.get("traceparent", "")
        request = asked if _REQUEST_ID.fullmatch(asked) else token_hex(16)
        given = Context(request=request, traceparent=parent if _TRACEPARENT.fullmatch(parent) else "")
        scope.setdefault("state", {})["request"] = request
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request
            await send(message)

        started = perf_counter()
        traced: AbstractContextManager[None] = nullcontext()
        if scope["path"] not in PROBES:
            traced = span("http", parent=given.traceparent, serves=True, request=request)
        with within(given), traced:
            try:
                await self._app(scope, receive, answer)
            except asyncio.CancelledError:
                status = GONE
                raise
            except Exception as error:
                log.error("request_failed", exc_info=error)
                raise
            finally:
                _tell(scope, status, perf_counter() - started)


def flow_of(scope: Scope) -> str:
    """The flow that is asked for; "unknown" where it is none of ours, "" where it is something else."""
    if not scope["path"].startswith(FLOWS):
        return ""
    flow: str = scope["path"].removeprefix(FLOWS)
    return flow if flow in GRAPHS else UNKNOWN


def _tell(scope: Scope, status: int, seconds: float) -> None:
    tenant = scope["state"].get("tenant", UNKNOWN)
    code = scope["state"].get("code", "internal" if status >= 500 else "")
    flow = flow_of(scope)
    # With the names of its parameters, not their values; the door refuses before there is one.
    route = f"{FLOWS}{flow}" if flow in GRAPHS else getattr(scope.get("route"), "path", UNKNOWN)
    if flow:
        record(REQUESTS, flow=flow, tenant=tenant, status=str(status))
        record(REQUEST_SECONDS, seconds, tenant=tenant)
        if code:
            record(FAILURES, flow=flow, code=code)
    annotate(method=scope["method"], route=route, status=status, tenant=tenant)
    if status >= 500:
        failed(code)
    told = {"method": scope["method"], "route": route, "status": status, "code": code or "ok"}
    told |= {"flow": flow, "tenant": tenant} if flow else {}
    say = log.debug if route in PROBES else log.info
    say("request", ms=round(seconds * 1e3, 1), **told)
