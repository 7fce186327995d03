"""Prometheus as `make tools` gets it; one real server with its own Prometheus and trace receiver, and what it told."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from collected import Receiver

from k8s.monitoring.__main__ import FOLDER
from k8s.monitoring.scrape import RULES, TARGETS, prometheus

TOOLS = Path(__file__).parents[2] / ".tools" / "prometheus" / "usr" / "bin"
READY_WITHIN_S = 200
SCRAPES_S = 2


def _tool(name: str) -> Path:
    if not (TOOLS / name).exists():
        pytest.skip("Prometheus is not here: run `make tools` on a Debian machine")
    return TOOLS / name


@pytest.fixture(scope="session")
def promtool() -> Path:
    return _tool("promtool")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """log: what the server's processes wrote to standard error; asked: of the scraping Prometheus"""

    client: httpx.Client
    asked: httpx.Client
    receiver: Receiver
    log: Path
    server: psutil.Process

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log that are JSON."""
        found = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in found]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """raises: AssertionError for an expression that Prometheus cannot evaluate"""
        answer = self.asked.get("/api/v1/query", params={"query": expr})
        assert answer.status_code == 200, f"{expr}: {answer.text[:400]}"
        assert not answer.json().get("warnings"), expr
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def names(self) -> set[str]:
        return set(self.asked.get("/api/v1/label/__name__/values").json()["data"])

    def replica(self, deployment: str) -> psutil.Process:
        title = f"ray::ServeReplica:{deployment}:"
        return next(p for p in self.server.children(recursive=True) if p.cmdline() and p.cmdline()[0].startswith(title))


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Generator[Watched, None, None]:
    """`python -m api serve` with the default weights, told where to send spans, and scraped by a Prometheus."""
    binary, folder = _tool("prometheus"), tmp_path_factory.mktemp("watched")
    port, metrics_port = free_port(), free_port()
    with Receiver() as receiver:
        environment = os.environ | {
            "MODISTE_STATE": str(folder / "state"),
            "MODISTE_PORT": str(port),
            "MODISTE_METRICS_PORT": str(metrics_port),
            "MODISTE_CONCURRENCY": '{"sketch_search": 1}',
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }
        (folder / "state").mkdir()
        feed = ["api.catalogue", "import", str(samples / "catalogue" / "feed.csv")]
        subprocess.run([sys.executable, "-m", *feed], env=environment, check=True, capture_output=True)
        scraping = _scrape(binary, folder, metrics_port)
        log = folder / "server.log"
        with log.open("wb") as sink:
            started = subprocess.Popen(
                [sys.executable, "-m", "api", "serve"], env=environment, stdout=sink, stderr=sink
            )
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        asked = httpx.Client(base_url=str(scraping.args[-1]).partition("=")[2], timeout=30)  # type: ignore[index]
        try:
            wait = [sys.executable, "-m", "api", "wait", "--timeout", str(READY_WITHIN_S)]
            waited = subprocess.run(wait, env=environment, capture_output=True, text=True, check=False)
            assert waited.returncode == 0, waited.stderr + log.read_text()[-3000:]
            yield Watched(
                client=client,
                asked=asked,
                receiver=receiver,
                log=log,
                server=psutil.Process(started.pid),
            )
        finally:
            client.close()
            asked.close()
            scraping.terminate()
            scraping.wait(timeout=20)
            family = psutil.Process(started.pid).children(recursive=True)
            started.send_signal(signal.SIGTERM)
            started.wait(timeout=60)
            for process in psutil.wait_procs(family, timeout=10)[1]:
                process.kill()
            time.sleep(0.5)


def _scrape(binary: Path, folder: Path, metrics_port: int) -> "subprocess.Popen[bytes]":
    """Prometheus with the generated configuration, only more often; its last argument tells its address."""
    configuration: dict[str, Any] = prometheus()
    every: Mapping[str, str] = {"scrape_interval": f"{SCRAPES_S}s", "evaluation_interval": f"{SCRAPES_S}s"}
    configuration["global"] |= every
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    shutil.copy(FOLDER / RULES, folder / RULES)
    (folder / TARGETS).write_text(json.dumps([{"targets": [f"127.0.0.1:{metrics_port}"]}]))
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(binary),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'samples'}",
        "--log.level=warn",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
    ]
    with (folder / "prometheus.log").open("wb") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=sink)
