"""Servers under test, started as processes of their own: killed, started again, and never left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Self

import httpx
import psutil
from processes import called, family, kill, replicas

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PORTS = range(8400, 8500)
READY_WITHIN_S, STOP_WITHIN_S = 240.0, 60.0
_QUIET = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent / "tiny", ROOT)))}


class Server:
    """A server with a state folder of its own. Use as a context manager.

    command: after the interpreter; "{ray}" in it stands for a short-lived folder that Ray may use
    ready:   path that answers 200 once users are served
    wrapped: what the command is run under
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        ready: str = "/readyz",
        wrapped: Sequence[str] = (),
    ) -> None:
        self.folder, self.log, self.faults = folder, folder / "server.log", folder / "faults"
        for needed in (folder / "state", self.faults):
            needed.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self._command, self._ready, self._wrapped = command, ready, wrapped
        self._environment = os.environ | _QUIET | {
            "MODISTE_STATE": str(folder / "state"),
            "MODISTE_PORT": str(self.port),
            "CHAOS_FAULTS": str(self.faults),
            "TINY_TRACE": str(folder / "trace"),
            **environment,
        }  # fmt: skip
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)

    @property
    def root(self) -> int:
        return self._process.pid

    @property
    def state(self) -> Path:
        return self.seen(Path(self._environment["MODISTE_STATE"]))

    def seen(self, path: Path) -> Path:
        """What the server sees under that path, which may lie on a file system of its own."""
        return Path("/proc", str(self.root), "root", path.relative_to("/")) if self._wrapped else path

    def start(self) -> float:
        """Seconds until users are served."""
        started = monotonic()
        self._ray = tempfile.mkdtemp(prefix="chaos-")
        command = [part.format(ray=self._ray) for part in self._command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapped, sys.executable, *command],
                env=self._environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        while not self.answers(self._ready):
            if self._process.poll() is not None or monotonic() - started > READY_WITHIN_S:
                self.stop()
                raise RuntimeError(f"the server does not get ready: {self.log.read_text()[-4000:]}")
            sleep(0.2)
        return monotonic() - started

    def answers(self, path: str) -> bool:
        try:
            return self.client.get(path).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """kill -9 the server's own process, and wait until the others have ended for want of it."""
        started = family(self.root)
        self._process.kill()
        self._process.wait()
        left = psutil.wait_procs(started, timeout=30)[1]
        kill(*left)

    def stop(self) -> None:
        started = family(self.root)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        kill(*psutil.wait_procs(started, timeout=5)[1])
        shutil.rmtree(self._ray, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()

    # Parts of it, by what they do.

    def replicas(self, name: str) -> list[psutil.Process]:
        return replicas(self.root, name)

    def controller(self) -> list[psutil.Process]:
        return called(self.root, "ServeController")

    def workers(self) -> list[psutil.Process]:
        """Raylets other than the head's, which started first."""
        return sorted(called(self.root, "/raylet"), key=lambda found: found.create_time())[1:]

    def said(self, event: str) -> int:
        """How many lines of the server's log, which those of its replicas are in, hold it."""
        return sum(event in line for line in self.log.read_text(errors="replace").splitlines())


def served(folder: Path, environment: Mapping[str, str], *, wrapped: Sequence[str] = ()) -> Server:
    """`python -m api serve`, as users start it."""
    return Server(folder, ("-m", "api", "serve"), environment, wrapped=wrapped)


def clustered(folder: Path, environment: Mapping[str, str], *, nodes: int, flows: Sequence[str]) -> Server:
    """These flows on a cluster of so many raylets."""
    command = (str(HERE / "cluster_server.py"), str(nodes), "{ray}")
    return Server(folder, command, {"CHAOS_FLOWS": " ".join(flows), **environment})


def small(folder: Path, environment: Mapping[str, str]) -> Server:
    """The small model and flows, which are ready in seconds."""
    command = (str(HERE / "cluster_server.py"), "1", "{ray}")
    return Server(folder, command, {"CHAOS_FLOWS": "small", **environment}, ready="/healthz")


def _free_port() -> int:
    used = {connection.laddr.port for connection in psutil.net_connections("tcp") if connection.laddr}
    return next(port for port in PORTS if port not in used)
