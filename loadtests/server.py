"""The server as a whole: seconds from the command to the first golden answer, and memory of each process."""

import os
from collections import defaultdict
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from demo.server import running_server


def measure(state: Path) -> dict[str, Any]:
    """Start `python -m api serve`, wait until it is ready, weigh its processes, stop it.

    state: an empty folder for jobs and files
    returns: ready_s; memory in MB (proportional set size, so that shared pages count once) in all and by process name;
             replicas: processes of Ray Serve that hold a replica
    """
    started = perf_counter()
    with running_server(os.environ | {"MODISTE_STATE": str(state)}) as server:
        ready_s = perf_counter() - started
        memory = _memory_by_name(server.pid)
    return {
        "ready_s": round(ready_s, 1),
        "memory_mb": round(sum(sum(m) for m in memory.values())),
        "processes": {name: [round(m) for m in sorted(sizes)] for name, sizes in sorted(memory.items())},
    }


def _memory_by_name(pid: int) -> dict[str, list[float]]:
    """PSS in MB of every process of the server's tree, by what Ray calls it."""
    found: dict[str, list[float]] = defaultdict(list)
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        try:
            command = " ".join(process.cmdline())
            name = command.split()[0].rpartition("/")[2] if command else process.name()
            if "ServeReplica" in command:
                name = command.split("ServeReplica:", 1)[1].split()[0].rpartition(":")[2].rstrip(".")
            found[name].append(process.memory_full_info().pss / 2**20)
        except psutil.NoSuchProcess:
            continue
    return dict(found)
