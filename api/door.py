"""Where requests come in: in Serve's proxy, so that a refusal takes no replica."""

import asyncio
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Any

from starlette.datastructures import Headers, State
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission import Admission
from api.errors import Overloaded, Unauthorized, refuse
from api.observed import UNKNOWN, Observed, flow_of
from api.tenants import CurrentTenants, Tenant
from modiste.settings import settings

MOMENT_S = 0.1
"""For which, at most, one that is let in makes way for those of the same burst that are not."""
LINGER_S = 5.0
"""For which, at most, the rest of a refused request is still taken in, and thrown away."""


class Door:
    """Lets requests to flows in, or refuses them (api/admission.py). Those of nobody it knows it lets pass: whose a
    key is, the application decides, and answers that.

    raises: OSError, ValueError where the file of tenants is not as it should be
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tenants = CurrentTenants(settings().tenants)
        self._refused = 0
        self._admission = Admission(settings().concurrency, settings().deadline_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        flow = flow_of(scope) if scope["type"] == "http" and scope["method"] == "POST" else ""
        tenant = None if flow in ("", UNKNOWN) else self._tenant(scope)
        if tenant is None:
            await self._app(scope, receive, send)
            return
        with ExitStack() as place:
            try:
                place.enter_context(self._admission.admit(flow, tenant))
            except Overloaded as refusal:
                self._refused += 1
                state = scope.setdefault("state", {})
                state["tenant"] = tenant.name
                await _answered_early(Observed(refuse(State(state), refusal)), scope, receive, send)
                return
            await self._refusals_first()
            await self._app(scope, receive, send)

    async def _refusals_first(self) -> None:
        """Those of a burst that are refused take a fraction of the time of one that is let in; tell them first."""
        end, seen = monotonic() + MOMENT_S, -1
        while seen != self._refused and monotonic() < end:
            seen = self._refused
            await asyncio.sleep(0)

    def _tenant(self, scope: Scope) -> Tenant | None:
        try:
            return self._tenants().of(Headers(scope=scope).get("authorization"))
        except Unauthorized:
            return None


async def _answered_early(answer: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once; end when the body has come. A connection that is closed while its client still sends is reset,
    and the answer may be lost with it.
    """

    async def begin(message: Message) -> None:
        await send(message if message["type"] == "http.response.start" else {**message, "more_body": True})

    await answer(scope, receive, begin)
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (await receive()).get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def of_proxy() -> list[Any]:
    """For Serve's proxies, which call what RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names; where HAProxy stands in
    their place, for the replicas that it reaches."""
    from deployments.observed import start_proxy

    start_proxy()
    return [Middleware(Door)]
