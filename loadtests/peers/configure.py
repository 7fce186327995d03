"""`python -m loadtests.peers.configure`: which workers, requests at once and threads are best for each peer here.

Every configuration is started alone and gets the same arrivals; the best one has the lowest 95th percentile at a rate
that keeps two cores busy.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from loadtests.load.arrivals import evenly, poisson
from loadtests.load.hosting import ask
from loadtests.load.scenarios import requests
from loadtests.machine import machine
from loadtests.overhead import sample_catalogue
from loadtests.peers.compare import PORT, RESULTS, figures, peer, sent

TRIED = ((2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 1), (3, 1, 1))
"""Workers, requests at once in each, threads of each engine."""
console = Console(stderr=True)


def measure(flow: str, rate: float, seconds: float) -> list[dict[str, Any]]:
    """One row for each peer and configuration: the unloaded figures, and those at `rate` requests a second."""
    found = []
    with sample_catalogue() as environment:
        os.environ["MODISTE_STATE"] = environment["MODISTE_STATE"]
        for name in ("litserve", "bentoml"):
            for workers, at_once, threads in TRIED:
                host = peer(name, PORT, workers=workers, at_once=at_once, threads=threads)
                with host.running(flow) as server:
                    for number in range(len(requests()[flow])):
                        ask(server.address, flow, number).raise_for_status()
                    row = {
                        "host": name,
                        "set_up": host.set_up,
                        "memory_mb": server.memory_mb(),
                        "unloaded": figures(sent(server, flow, evenly(1.0, seconds / 2), 1)),
                        "loaded": figures(sent(server, flow, poisson(rate, seconds, [5]), 1)),
                    }
                console.print(row)
                found.append(row)
    return found


def main(
    flow: Annotated[str, typer.Argument()] = "virtual_model",
    rate: Annotated[float, typer.Option(min=0.1, help="requests per second")] = 3.0,
    seconds: Annotated[float, typer.Option(min=5, help="of each load")] = 15.0,
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends
    rows, of = measure(flow, rate, seconds), machine()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path: Path = RESULTS / f"configurations-{of['cores']}core-cpu.json"
    path.write_text(
        json.dumps({"machine": of, "flow": flow, "rate": rate, "seconds": seconds, "rows": rows}, indent=1) + "\n"
    )
    console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
