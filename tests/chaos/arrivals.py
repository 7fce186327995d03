"""An open-loop client: requests leave when they are due, whatever became of those before.

Of its own and small, because it shares two cores with what it measures: requests are rendered once, and an answer is
read to the end of its connection.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import uuid4

import numpy as np

TIMEOUT_S = 120.0
LOST = 0
"""Status of a request whose connection broke, or that was not answered in time."""
PAUSE_S = 1.0
"""Before a request is sent again, where the answer names no time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and what came of it; `seconds` from when it was due to the last byte of its last answer.

    status: the last try's; code: of its problem document, "" where it has none; tries: how often it was sent
    """

    due: float
    seconds: float
    status: int
    code: str
    retry_after: float | None
    tries: int
    name: str
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Ask:
    """A rendered request. name: for the tally"""

    name: str
    content: bytes


def ask(flow: str, files: dict[str, bytes], options: dict[str, Any], accept: str = "application/json") -> Ask:
    """One call of a flow."""
    boundary = uuid4().hex
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), name.encode(), content)
        for name, content in files.items()
    ]
    parts.append(
        b'--%b\r\nContent-Disposition: form-data; name="options"\r\n\r\n%b\r\n'
        % (boundary.encode(), json.dumps(options).encode())
    )
    body = b"".join(parts) + b"--%b--\r\n" % boundary.encode()
    head = (
        f"POST /v1/flows/{flow} HTTP/1.1\r\nHost: modiste\r\nConnection: close\r\nAccept: {accept}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Ask(flow, head.encode() + body)


def look(path: str, method: str = "GET") -> Ask:
    return Ask(path, f"{method} {path} HTTP/1.1\r\nHost: modiste\r\nConnection: close\r\n\r\n".encode())


async def send(port: int, request: Ask, *, tries: int = 1, due: float | None = None) -> Sent:
    """Send a request; again where it was lost or the server was at fault, up to `tries` times in all."""
    due = perf_counter() if due is None else due
    for number in range(1, tries + 1):
        status, headers, body = await _exchange(port, request.content)
        after = headers.get("retry-after")
        if (0 < status < 500 and status != 429) or number == tries:
            break
        await asyncio.sleep(float(after) if after else PAUSE_S)
    code = json.loads(body)["code"] if headers.get("content-type", "").startswith("application/problem+json") else ""
    return Sent(due, perf_counter() - due, status, code, float(after) if after else None, number, request.name, body)


async def _exchange(port: int, content: bytes) -> tuple[int, dict[str, str], bytes]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(content)
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return LOST, {}, b""
    head, complete, body = answer.partition(b"\r\n\r\n")
    if not complete:
        return LOST, {}, b""
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    if "content-length" in headers and len(body) != int(headers["content-length"]):
        return LOST, {}, b""  # the connection broke in mid-answer
    return int(first.split()[1]), headers, body


async def steadily(port: int, requests: Sequence[Ask], *, rate: float, seconds: float, tries: int = 1) -> list[Sent]:
    """`rate` requests a second, taken in turns, for so long; returns when all are answered."""
    started, running = perf_counter(), []
    for number in range(round(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - perf_counter()))
        running.append(asyncio.create_task(send(port, requests[number % len(requests)], tries=tries, due=due)))
    return list(await asyncio.gather(*running))


async def at_once(port: int, request: Ask, count: int) -> list[Sent]:
    with _real_time():
        return list(await asyncio.gather(*(send(port, request) for _ in range(count))))


@contextmanager
def _real_time() -> Iterator[None]:
    """Inside the block, where the system allows it, this thread waits for nobody: what it sends at one moment keeps
    every core of the server busy, and this machine has no others."""
    usual = os.sched_getscheduler(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, usual, os.sched_param(0))


async def disconnect(port: int, request: Ask, *, after_s: float) -> None:
    """Send a whole request and hang up before its answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.content)
    await writer.drain()
    await asyncio.sleep(after_s)
    writer.close()


def failed(answers: Sequence[Sent]) -> list[str]:
    return [f"{sent.name}: {sent.status} {sent.code} {sent.body[:200]!r}" for sent in answers if not sent.ok]


def figures(answers: Sequence[Sent]) -> dict[str, Any]:
    """For the record: how many, how they ended, seconds of those that succeeded."""
    good = [sent.seconds for sent in answers if sent.ok]
    return {
        "requests": len(answers),
        "failed": len(answers) - len(good),
        "tried_again": sum(sent.tries > 1 for sent in answers),
        "outcomes": dict(Counter(f"{sent.status} {sent.code}".strip() for sent in answers)),
        "p50_s": quantile(good, 0.5),
        "p95_s": quantile(good, 0.95),
        "p99_s": quantile(good, 0.99),
        "max_s": quantile(good, 1.0),
    }


def quantile(seconds: Sequence[float], share: float) -> float | None:
    return round(float(np.quantile(seconds, share)), 3) if seconds else None


def stall(answers: Sequence[Sent], *, usual_s: float) -> float:
    """Seconds from the first to the last moment at which a request that took over three times the usual was waiting
    or had failed: how long a failure was felt."""
    felt = [sent for sent in answers if not sent.ok or sent.seconds > 3 * usual_s]
    if not felt:
        return 0.0
    return round(max(sent.due + sent.seconds for sent in felt) - min(sent.due for sent in felt), 2)
