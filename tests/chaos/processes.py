"""A server's processes, seen from outside: which is which, what they use, and their sudden end."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import psutil

_REPLICA = re.compile(r"ServeReplica:([^:\s]+):([\w]+)")


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def family(root: int) -> list[psutil.Process]:
    """The process and all that it started, directly or not."""
    try:
        of = psutil.Process(root)
        return [of, *of.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def replicas(root: int, name: str) -> list[psutil.Process]:
    """Processes that hold a replica of the deployment."""
    found = ((process, _REPLICA.search(title(process))) for process in family(root))
    return [process for process, match in found if match and match[2] == name]


def replica_names(root: int) -> list[str]:
    """Of every replica that lives, the deployment's name."""
    return sorted(match[2] for process in family(root) if (match := _REPLICA.search(title(process))))


def called(root: int, part: str) -> list[psutil.Process]:
    """Processes whose title holds `part`: "ServeController", "ProxyActor", "/raylet"."""
    return [process for process in family(root) if part in title(process).partition(" --")[0]]


def kill(*victims: psutil.Process) -> None:
    """kill -9, all before any is looked at again."""
    for victim in victims:
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(victims, timeout=10)


def until(reached: Callable[[], object], *, within_s: float, what: str) -> float:
    """Seconds until it is so."""
    started = monotonic()
    while not reached():
        assert monotonic() - started < within_s, f"expected {what} within {within_s} s"
        sleep(0.1)
    return round(monotonic() - started, 2)


def memory_mb(root: int) -> float:
    """Proportional set size of the whole family: pages that several share count once."""
    total = 0
    for process in family(root):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return round(total / 2**20, 1)


def cpu_seconds(root: int) -> dict[int, float]:
    used = {}
    for process in family(root):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used[process.pid] = times.user + times.system
    return used


def cores_used(root: int, seconds: float) -> float:
    """Of the whole family, on average over so long; what ended meanwhile is left out."""
    before, started = cpu_seconds(root), monotonic()
    sleep(seconds)
    now, passed = cpu_seconds(root), monotonic() - started
    return round(sum(now[pid] - before.get(pid, 0.0) for pid in now) / passed, 3)


def zombies(root: int) -> int:
    return sum(_status(process) == psutil.STATUS_ZOMBIE for process in family(root))


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return ""


def busy_cores(root: int, *, idle: float, within_s: float) -> tuple[float, float]:
    """(seconds until the family uses at most `idle` cores over a second, how many it then uses)"""
    started = monotonic()
    while (used := cores_used(root, 1.0)) > idle:
        assert monotonic() - started < within_s, f"{used} cores are still at work after {within_s} s"
    return round(monotonic() - started, 1), used


def open_files(root: int) -> int:
    """Descriptors of the whole family."""
    total = 0
    for process in family(root):
        try:
            total += process.num_fds()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
