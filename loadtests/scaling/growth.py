"""One flow's load on a whole server: which deployments grow with it, and shrink after it.

Counts replicas by their processes, once a second; requests by what the generator saw.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from time import perf_counter
from typing import Any

import numpy as np
import psutil

from demo.server import running_server
from deployments import model_for
from graphs import graph_class
from loadtests.load.arrivals import poisson
from loadtests.load.plan import Row
from loadtests.overhead import sample_catalogue
from loadtests.scaling.predicted import send

Found = dict[str, Any]
HTTP = "http"
"""The ingress; it may grow with any flow."""
BIN_S = 5.0
"""Of what is drawn over time."""


def measure(flow: str, steps: Sequence[tuple[float, float]], downscale_delay_s: float) -> Found:
    """Start a server, load it, watch it.

    steps: seconds and requests per second, one after the other
    downscale_delay_s: shorter than it is served with, so that the end comes within minutes
    returns: steps; seconds of each sample and replicas by deployment; and by BIN_S: arrivals and answers per second,
             requests in flight, p95 of good answers in seconds (None where there were none), share that was refused
    """
    ends = sum(seconds for seconds, _ in steps)
    times, began = [], 0.0
    for i, (seconds, rate) in enumerate(steps):
        if rate:
            times += [began + float(at) for at in poisson(rate, seconds, [i])]
        began += seconds
    with (
        sample_catalogue() as environment,
        running_server(environment | {"MODISTE_DOWNSCALE_DELAY_S": str(downscale_delay_s)}) as server,
        Watch(server.pid) as watch,
    ):
        rows = send(server.address, flow, times)
        watch.until(ends)
    names = sorted({name for _, counted in watch.samples for name in counted})
    return {
        "flow": flow,
        "downscale_delay_s": downscale_delay_s,
        "steps": [list(step) for step in steps],
        "seconds": [round(at, 1) for at, _ in watch.samples],
        "replicas": {name: [counted[name] for _, counted in watch.samples] for name in names},
        "bin_s": BIN_S,
        **_binned(rows, ends),
    }


class Watch:
    """Counts a server's replicas by deployment, once a second, in a thread."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, Counter[str]]] = []
        self._pid, self._over, self._began = pid, Event(), perf_counter()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def until(self, seconds: float) -> None:
        """Go on until so long after the beginning."""
        self._over.wait(max(0.0, seconds - (perf_counter() - self._began)))

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self.samples.append((perf_counter() - self._began, replicas(self._pid)))


def replicas(pid: int) -> Counter[str]:
    """Of each deployment, by the titles that Ray gives to its processes."""
    found: Counter[str] = Counter()
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            command = " ".join(process.cmdline())
            if "ServeReplica:" in command:
                found[command.split("ServeReplica:", 1)[1].split(".")[0].split()[0].rpartition(":")[2]] += 1
    return found


def _binned(rows: Sequence[Row], ends: float) -> Found:
    bins = [(float(start), float(start) + BIN_S) for start in np.arange(0.0, ends, BIN_S)]

    def within(low: float, high: float, key: str) -> list[Row]:
        return [row for row in rows if low <= getattr(row, key) < high]

    def p95(low: float, high: float) -> float | None:
        took = [row.seconds for row in within(low, high, "at") if row.good]
        return round(float(np.quantile(took, 0.95)), 3) if took else None

    return {
        "arrivals": [len(within(*edges, "at")) / BIN_S for edges in bins],
        "answers": [sum(row.good for row in within(*edges, "done")) / BIN_S for edges in bins],
        "in_flight": [sum(row.at <= high < row.done for row in rows) for _, high in bins],
        "p95_s": [p95(*edges) for edges in bins],
        "refused": [sum(row.shed for row in within(*edges, "at")) / BIN_S for edges in bins],
        "requests": len(rows),
        "failed": sum(not row.good and not row.shed for row in rows),
    }


def amiss(found: Mapping[str, Any]) -> list[str]:
    """What is not as it should be: others that grew, nothing that grew, something that did not shrink again."""
    flow = found["flow"]
    own = {model_for(role) for role in graph_class(flow).roles()}
    counts: Mapping[str, Sequence[int]] = found["replicas"]
    grown = {name for name, of in counts.items() if max(of) > of[0]}
    said = []
    if others := sorted(grown - own - {flow, HTTP}):
        said.append(f"expected only the models of {flow} to grow, got {', '.join(others)}")
    if not any(max(counts[name]) > 1 for name in grown & own):
        said.append(f"expected a model of {flow} to have more than one replica, got none")
    said += [
        f"expected {name} to shrink again, it did not"
        for name in sorted(grown & own)
        if counts[name][-1] >= max(counts[name])
    ]
    if found["failed"]:
        said.append(f"expected every request to be answered or refused, {found['failed']} were not")
    return said
