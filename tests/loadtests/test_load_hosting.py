import subprocess
import sys
import time
from collections.abc import Generator

import httpx
import psutil
import pytest

from loadtests.load.hosting import Running, hosted

SERVER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
from http.server import ThreadingHTTPServer, SimpleHTTPRequestHandler
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def server(unused_tcp_port: int, tmp_path) -> Generator[Running, None, None]:
    """With a child that works all the time, and outlives its parent where nobody ends it."""
    address = f"http://127.0.0.1:{unused_tcp_port}"
    command = [sys.executable, "-c", SERVER, str(unused_tcp_port)]
    with hosted(command, {}, address, lambda: httpx.get(address).raise_for_status()) as running:
        yield running


def test_a_server_is_awaited_and_weighed(server):
    assert httpx.get(server.address).status_code == 200
    assert len(server.processes()) == 2
    assert 10 < server.memory_mb() < 300


def test_a_paused_server_works_on_nothing_and_goes_on_afterwards(server):
    with server.paused():
        before = server.cpu_s()
        time.sleep(0.5)
        assert server.cpu_s() == pytest.approx(before, abs=0.05)
    assert httpx.get(server.address).status_code == 200


def test_nothing_is_left_of_a_server(unused_tcp_port):
    address = f"http://127.0.0.1:{unused_tcp_port}"
    command = [sys.executable, "-c", SERVER, str(unused_tcp_port)]
    with hosted(command, {}, address, lambda: httpx.get(address).raise_for_status()) as running:
        family = running.processes()
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_server_that_ends_instead_is_told():
    with (
        pytest.raises(RuntimeError, match="stopped with exit code 3"),
        hosted(
            [sys.executable, "-c", "raise SystemExit(3)"],
            {},
            "http://127.0.0.1:9",
            lambda: httpx.get("http://127.0.0.1:9"),
        ),
    ):
        pass


def test_a_killed_generator_is_no_result():
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            [sys.executable, "-m", "loadtests.load.generator", "/nonexistent", "-"], check=True, capture_output=True
        )
