"""`python -m loadtests.peers.compare`: our server, LitServe and BentoML with the same pipelines, on the same arrivals.

They are loaded in turns, some seconds each, so that whatever else the machine does falls on all of them. Whoever has no
turn stands still: Ray's housekeeping alone keeps a fifth of two cores busy, which would count against the others.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from loadtests.load.arrivals import Times, evenly, poisson
from loadtests.load.drive import Stream, drive, percentile
from loadtests.load.hosting import Running, ask, hosted
from loadtests.load.plan import Row
from loadtests.load.scenarios import requests
from loadtests.machine import machine
from loadtests.overhead import sample_catalogue

RESULTS = Path(__file__).resolve().parent.parent / "results" / "load"
STEP = 1.15
"""From one rate to the next: how exactly a peak is known."""
CORES = 2
UNLOADED = 2.0
"""A peak is the highest rate at which the 95th percentile stays under this many times that of the unloaded host."""
AWAKE = 3
"""Requests after which a host that stood still runs as before."""
PORT = 8221
console = Console(stderr=True)
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """python: of the environment it runs in; command: what it runs, its port as the last argument where it is a peer"""

    name: str
    python: str
    command: tuple[str, ...]
    port: int
    set_up: str = "a process for every model"
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self, flow: str) -> Iterator[Running]:
        environment = {"MODISTE_PORT": str(self.port), "OMP_WAIT_POLICY": "PASSIVE"} | dict(self.environment)
        address = f"http://127.0.0.1:{self.port}"
        command = [self.python, *self.command]
        with hosted(command, environment, address, lambda: ask(address, flow, 0).raise_for_status()) as server:
            yield server


def peer(name: str, port: int, *, workers: int, at_once: int, threads: int) -> Host:
    """workers: processes; at_once: requests that each works on; threads: of each engine"""
    environment = {"PEER_WORKERS": workers, "PEER_AT_ONCE": at_once, "MODISTE_THREADS": threads}
    return Host(
        name=name, python=f".venv-{name}/bin/python", port=port,
        command=("-m", f"loadtests.peers.host_{name}", str(port)),
        set_up=f"{workers} x {at_once} x {threads}",
        environment={key: str(value) for key, value in environment.items()},
    )  # fmt: skip


def hosts() -> list[Host]:
    """Peers with a worker for each of two cores; `loadtests.peers.configure` tries others."""
    return [
        Host(name="modiste", python=sys.executable, command=("-m", "api", "serve"), port=PORT),
        peer("litserve", PORT + 1, workers=2, at_once=1, threads=1),
        peer("bentoml", PORT + 2, workers=2, at_once=1, threads=1),
    ]


def measure(flow: str, chosen: Sequence[Host], seconds: float) -> Figures:
    """seconds: of each load

    returns: by host: seconds until ready, memory, the unloaded figures, those at each rate, the peak, and those at
             the rate that was the best host's peak
    """
    with ExitStack() as stack:
        environment = stack.enter_context(sample_catalogue())
        os.environ["MODISTE_STATE"] = environment["MODISTE_STATE"]
        servers = {host.name: stack.enter_context(host.running(flow)) for host in chosen}
        for server in servers.values():
            for number in (*range(len(requests()[flow])), *range(6)):
                ask(server.address, flow, number).raise_for_status()
        found: dict[str, Figures] = {
            host.name: {
                "set_up": host.set_up,
                "ready_s": servers[host.name].ready_s,
                "memory_mb": servers[host.name].memory_mb(),
                "rates": [],
            }
            for host in chosen
        }
        _unloaded(flow, servers, found, seconds)
        _peaks(flow, servers, found, seconds)
        best = max(of["peak"] for of in found.values())
        for turn in range(2):
            for name, server in servers.items():
                with _alone(name, servers, flow):
                    rows = sent(server, flow, poisson(best, seconds, [7, turn]), turn)
                found[name].setdefault("saturated_rows", []).extend(rows)
        for of in found.values():
            of["saturated"] = {"rate": best} | figures(of.pop("saturated_rows"))
        for name, server in servers.items():
            found[name]["memory_after_mb"] = server.memory_mb()
    return {"flow": flow, "seconds": seconds, "hosts": found}


def _unloaded(flow: str, servers: Mapping[str, Running], found: Mapping[str, Figures], seconds: float) -> None:
    """One request at a time, in two turns."""
    rows: dict[str, list[Row]] = {name: [] for name in servers}
    for turn in range(2):
        for name, server in servers.items():
            with _alone(name, servers, flow):
                before = server.cpu_s()
                came = sent(server, flow, evenly(1.0, seconds / 2), turn)
                found[name].setdefault("cpu", []).append((server.cpu_s() - before) / len(came))
            rows[name] += came
    for name, of in found.items():
        of["unloaded"] = figures(rows[name]) | {"cpu_s_each": round(min(of.pop("cpu")), 3)}
        console.print(name, of)


def _peaks(flow: str, servers: Mapping[str, Running], found: Mapping[str, Figures], seconds: float) -> None:
    """Rates grow until every host has missed one twice, with other arrivals the second time."""
    rate = 0.4 * CORES / min(of["unloaded"]["cpu_s_each"] for of in found.values())
    left = dict(servers)
    for of in found.values():
        of["peak"] = 0.0
    while left:
        for name, server in list(left.items()):
            of, kept = found[name], False
            for attempt in range(2):
                with _alone(name, servers, flow):
                    got = figures(sent(server, flow, poisson(rate, seconds, [3, attempt]), attempt))
                kept = not got["failed"] and got["p95_ms"] < UNLOADED * of["unloaded"]["p95_ms"]
                of["rates"].append({"rate": round(rate, 2), "kept": kept} | got)
                console.print(name, of["rates"][-1])
                if kept:
                    break
            if kept:
                of["peak"] = round(rate, 2)
            else:
                del left[name]
        rate *= STEP


@contextmanager
def _alone(name: str, servers: Mapping[str, Running], flow: str) -> Iterator[None]:
    """Only this host runs, awake again."""
    with ExitStack() as stack:
        for other, server in servers.items():
            if other != name:
                stack.enter_context(server.paused())
        for number in range(AWAKE):
            ask(servers[name].address, flow, number).raise_for_status()
        yield


def sent(server: Running, flow: str, times: Times, seed: int) -> list[Row]:
    return drive(server.address, [Stream(times, flow, "public", [seed])])


def figures(rows: Sequence[Row]) -> Figures:
    seconds = [row.seconds for row in rows if row.good]
    return {
        "requests": len(rows),
        "failed": sum(not row.good for row in rows),
        **{f"p{share}_ms": round(percentile(seconds, share) * 1e3, 1) for share in (50, 95)},
        "late_p99_ms": round(percentile([row.late for row in rows], 99) * 1e3, 1),
    }


def write(found: Figures) -> Path:
    of = machine()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"peers-{found['flow']}-{of['cores']}core-cpu.json"
    path.write_text(json.dumps({"machine": of} | found, indent=1, allow_nan=False) + "\n")
    return path


def main(
    flow: Annotated[str, typer.Argument(help="virtual_model or sketch_search")],
    seconds: Annotated[float, typer.Option(min=5, help="of each load")] = 15.0,
    only: Annotated[str, typer.Option(help="hosts, with commas; all where empty")] = "",
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end
    chosen = [host for host in hosts() if not only or host.name in only.split(",")]
    console.print(f"written: {write(measure(flow, chosen, seconds))}")


if __name__ == "__main__":
    typer.run(main)
