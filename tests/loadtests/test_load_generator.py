"""The generator against a small HTTP server that does as it is told."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtests.load.plan import Arrival, Call, Plan, Row, read_rows, write_plan
from loadtests.load.tenancy import make_tenants


class Answers(BaseHTTPRequestHandler):
    """The body of a request says what to do: seconds to wait, statuses one after the other."""

    protocol_version = "HTTP/1.1"
    asked: dict[str, int]

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(told.get("seconds", 0))
        turn = self.asked.setdefault(told["name"], 0)
        self.asked[told["name"]] += 1
        statuses = told.get("statuses", [200])
        self._answer(
            statuses[min(turn, len(statuses) - 1)], {"code": "overloaded", "key": self.headers["Authorization"]}
        )

    def do_GET(self) -> None:
        turn = self.asked.setdefault(self.path, 0)
        self.asked[self.path] += 1
        self._answer(200, {"state": "running" if not turn else self.path.rpartition("/")[2]})

    def _answer(self, status: int, content: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        if status == 202:
            self.send_header("Location", "/v1/jobs/7/succeeded")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Listening(ThreadingHTTPServer):
    request_queue_size = 64


@pytest.fixture
def address() -> Generator[str, None, None]:
    handler = type("Handler", (Answers,), {"asked": {}})
    with Listening(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def sent(address: str, folder: Path, bodies: list[dict[str, object]], times: list[float], **plan: object) -> list[Row]:
    calls = tuple(
        Call(flow=f"flow{i}", tenant="t", path="/", headers={"Content-Type": "application/json"}, body=f"{i}.body")
        for i in range(len(bodies))
    )
    arrivals = tuple(Arrival(at=at, call=i % len(bodies)) for i, at in enumerate(times))
    written = Plan(address=address, calls=calls, arrivals=arrivals, **{"timeout_s": 10.0} | plan)
    path = write_plan(written, [json.dumps({"name": str(i)} | body).encode() for i, body in enumerate(bodies)], folder)
    subprocess.run([sys.executable, "-m", "loadtests.load.generator", str(path), str(folder / "rows")], check=True)
    return read_rows(folder / "rows")


def test_a_slow_answer_delays_no_other_request(address, tmp_path):
    """Users who wait for answers would have sent three, and reported three slow ones."""
    rows = sent(address, tmp_path, [{"seconds": 1.0}], [i * 0.1 for i in range(30)])
    assert len(rows) == 30
    assert all(row.good and row.seconds >= 1.0 for row in rows)
    assert sorted(row.late for row in rows)[25] < 0.2
    in_flight = max(sum(other.sent <= row.sent < other.done for other in rows) for row in rows)
    assert in_flight >= 6


def test_a_refusal_is_met_with_one_more_request_where_the_plan_says_so(address, tmp_path):
    refused = {"statuses": [503, 200]}
    (row,) = sent(address, tmp_path, [refused], [0.0], retries=1)
    assert (row.status, row.retries, row.code) == (200, 1, "")
    assert row.seconds >= 1.0  # Retry-After


def test_a_refusal_stays_one_otherwise(address, tmp_path):
    (row,) = sent(address, tmp_path, [{"statuses": [503, 200]}], [0.0])
    assert (row.status, row.retries, row.code, row.retry_after, row.shed) == (503, 0, "overloaded", 1.0, True)


def test_a_job_is_followed_to_its_end(address, tmp_path):
    (row,) = sent(address, tmp_path, [{"statuses": [202]}], [0.0])
    assert row.status == 202
    assert row.good
    assert row.job_s is not None
    assert row.job_s > 1.9 > row.seconds


def test_no_answer_is_a_failure(tmp_path):
    (row,) = sent("http://127.0.0.1:9", tmp_path, [{}], [0.0])
    assert (row.status, row.good) == (0, False)
    assert row.code == "ConnectionRefusedError"


def test_tenants_are_as_the_server_reads_them(tmp_path):
    from api.tenants import load_tenants

    keys = make_tenants(["shop", "batch"], tmp_path / "tenants.toml")
    tenants = load_tenants(tmp_path / "tenants.toml")
    assert {name: tenants.of(f"Bearer {key}").tier for name, key in keys.items()} == {
        "shop": "interactive",
        "batch": "batch",
    }
