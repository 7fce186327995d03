"""`python -m loadtests.load.generator plan.json rows.jsonl`: sends every request of a plan at its moment, whatever the
answers do.

Locust's users wait for an answer before they go on, so that a slow server is asked less (coordinated omission). Here
one Locust user keeps the timetable and starts a greenlet for each request; response times count from the timetable.
Locust gives the client, the runner and the events; it patches the standard library, hence the process of its own.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import cast

import gevent
from gevent.pool import Group
from locust import FastHttpUser, task
from locust.contrib.fasthttp import FastResponse
from locust.env import Environment

from loadtests.load.plan import Arrival, Call, Plan, Row

POLL_JOBS_S = 1.0
SOCKETS = 10_000
"""More than requests can be in flight: the generator never makes one wait for a connection."""
REAL_TIME = os.sched_param(1)
"""Where the system allows it: a server on the same machine keeps every core busy, and must not delay the timetable.
Niceness would not do: Linux weighs sessions against each other first, and the server has one of its own."""


class Timetable(FastHttpUser):
    """The one user: all of a plan's requests, each at its moment."""

    concurrency = SOCKETS
    plan: Plan
    bodies: tuple[bytes, ...]
    rows: list[Row]

    @task
    def keep(self) -> None:
        group, started = Group(), perf_counter()
        for arrival in self.plan.arrivals:
            gevent.sleep(max(0.0, arrival.at - (perf_counter() - started)))
            group.spawn(self._request, arrival, started)
        group.join()
        if self.environment.runner is not None:
            self.environment.runner.quit()

    def _request(self, arrival: Arrival, started: float) -> None:
        call = self.plan.calls[arrival.call]
        body = self.bodies[arrival.call]
        sent = perf_counter() - started
        answer, retries = self._send(call, body, arrival.at, started), 0
        if answer.status_code == 503 and retries < self.plan.retries and (wait := _retry_after(answer)) is not None:
            retries += 1
            gevent.sleep(wait)
            answer = self._send(call, body, arrival.at, started)
        done = perf_counter() - started
        row = Row(
            flow=call.flow, tenant=call.tenant, at=arrival.at, sent=sent, done=done, status=answer.status_code or 0,
            code=_code(answer), size=len(answer.content or b""), retry_after=_retry_after(answer), retries=retries,
        )  # fmt: skip
        if answer.status_code == 202:
            code = self._follow(_header(answer, "Location") or "", call, done + started)
            row = row.model_copy(update={"job_s": perf_counter() - started - arrival.at, "code": code})
        self.rows.append(row)

    def _send(self, call: Call, body: bytes, at: float, started: float) -> FastResponse:
        with self.client.request(
            "POST",
            call.path,
            name=call.flow,
            data=body,  # type: ignore[arg-type]
            headers=call.headers,
            catch_response=True,
        ) as response:
            response.request_meta["response_time"] = (perf_counter() - started - at) * 1e3
        return cast(FastResponse, response)

    def _follow(self, location: str, call: Call, begun: float) -> str:
        """Wait for the end of a job; what went wrong, or nothing."""
        headers = {name: value for name, value in call.headers.items() if name == "Authorization"}
        while perf_counter() - begun < self.plan.job_timeout_s:
            gevent.sleep(POLL_JOBS_S)
            with self.client.get(location, name=f"{call.flow}: job", headers=headers, catch_response=True) as response:
                if response.status_code != 200:
                    return _code(response)
                state = response.json()["state"]
            if state not in ("queued", "running"):
                return "" if state == "succeeded" else f"job_{state}"
        return "job_timeout"


def _header(answer: FastResponse, name: str) -> str | None:
    return cast(str | None, (answer.headers or {}).get(name))  # type: ignore[call-overload]


def _retry_after(answer: FastResponse) -> float | None:
    """Seconds; ours never sends a date."""
    said = _header(answer, "Retry-After")
    return None if said is None else float(said)


def _code(answer: FastResponse) -> str:
    if answer.status_code and answer.status_code < 400:
        return ""
    if not answer.status_code:
        return type(getattr(answer, "error", None)).__name__
    try:
        return str(json.loads(answer.content)["code"])
    except (ValueError, KeyError, TypeError):
        return f"http_{answer.status_code}"


def main(plan_path: Path, rows_path: Path) -> None:
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, REAL_TIME)
    plan = Plan.model_validate_json(plan_path.read_text())
    Timetable.plan = plan
    Timetable.bodies = tuple((plan_path.parent / call.body).read_bytes() for call in plan.calls)
    Timetable.rows = []
    Timetable.host = plan.address
    Timetable.network_timeout = Timetable.connection_timeout = plan.timeout_s
    environment = Environment(user_classes=[Timetable])
    runner = environment.create_local_runner()
    runner.start(1, spawn_rate=1)
    runner.greenlet.join()
    rows = sorted(Timetable.rows, key=lambda row: row.at)
    rows_path.write_text("".join(f"{row.model_dump_json()}\n" for row in rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
