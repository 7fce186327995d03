"""One real server with the default weights, started as its users start it, for the whole suite."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import psutil
import pytest

READY_WITHIN_S = 180


class Service:
    """`python -m api serve` with its own state; can be killed and started again."""

    def __init__(self, state: Path) -> None:
        self.state = state
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.environment = os.environ | {"MODISTE_STATE": str(state), "MODISTE_PORT": str(self.port)}
        self.log = state / "server.log"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=180)
        self.start()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", *arguments]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("api", "serve"), env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        waiting = self.command("api", "wait", "--timeout", str(READY_WITHIN_S))
        with subprocess.Popen(waiting, env=self.environment, stderr=subprocess.PIPE, text=True) as waited:
            while waited.poll() is None:
                if self.process.poll() is not None:
                    waited.kill()
                time.sleep(0.2)
            assert waited.stderr is not None
            if waited.returncode:
                self.kill()  # or it would outlive the tests
                raise AssertionError(waited.stderr.read() + self.log.read_text()[-4000:])

    def family(self) -> list[psutil.Process]:
        """All processes of the server."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def kill(self) -> None:
        family = self.family() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=30)

    def stop(self) -> list[psutil.Process]:
        """Ask the server to end; returns those of its processes that did not."""
        family = self.family()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return psutil.wait_procs(family, timeout=10)[1]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Generator[Service, None, None]:
    state = tmp_path_factory.mktemp("state")
    command = [sys.executable, "-m", "api.catalogue", "import", str(samples / "catalogue" / "feed.csv")]
    subprocess.run(command, env=os.environ | {"MODISTE_STATE": str(state)}, check=True, capture_output=True)
    running = Service(state)
    try:
        yield running
    finally:
        running.client.close()
        if running.process.poll() is None:
            running.stop()
