"""Servers under test: started, awaited until they answer a real request, weighed, stopped."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter

import httpx
import psutil
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from loadtests.load.scenarios import message, requests

START_TIMEOUT_S, STOP_TIMEOUT_S, FAMILY_TIMEOUT_S = 300.0, 60.0, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """ready_s: from the command to its first answer."""

    address: str
    pid: int
    ready_s: float

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stands still inside the block, so that it costs others nothing."""
        stopped = self.processes()
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in reversed(stopped):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def memory_mb(self) -> int:
        """Of all its processes; pages that several share count once (proportional set size)."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return round(total / 2**20)

    def cpu_s(self) -> float:
        """CPU time that its processes have used so far."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:2])
        return total


@contextmanager
def hosted(
    command: Sequence[str], environment: Mapping[str, str], address: str, check: Callable[[], object]
) -> Iterator[Running]:
    """Runs a server until the block ends.

    check: asks it for what it is for; raises where it does not answer well
    raises: RuntimeError where it ends instead, httpx.HTTPError where it does not answer in time
    """
    started = perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True)

    def answers() -> None:
        if process.poll() is not None:
            raise RuntimeError(f"the server stopped with exit code {process.returncode}: {' '.join(command)}")
        check()

    try:
        Retrying(
            retry=retry_if_exception_type(httpx.HTTPError),
            wait=wait_fixed(0.25), stop=stop_after_delay(START_TIMEOUT_S), reraise=True,
        )(answers)  # fmt: skip
        yield Running(address=address, pid=process.pid, ready_s=round(perf_counter() - started, 1))
    finally:
        _stop(process)


def ask(address: str, flow: str, number: int, key: str | None = None) -> httpx.Response:
    """One of a flow's requests, sent and answered."""
    sent = message(flow, requests()[flow][number])
    headers = {"Content-Type": sent.content_type, "Accept": "image/jpeg, */*;q=0.5"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{address}{sent.path}", content=sent.body, headers=headers, timeout=120)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Its whole family, even where this is interrupted: hosts' workers outlive a parent that is killed."""
    family = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_TIMEOUT_S)
        psutil.wait_procs(family, timeout=FAMILY_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
        for left in family:
            with suppress(psutil.NoSuchProcess):
                left.kill()
        psutil.wait_procs(family, timeout=FAMILY_TIMEOUT_S)
