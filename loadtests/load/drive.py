"""Runs a plan: the generator in a process of its own, and what came of every request."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.load.arrivals import Times
from loadtests.load.plan import Arrival, Call, Plan, Row, read_rows, write_plan
from loadtests.load.scenarios import message, requests, shares


class Stream:
    """Arrivals of one tenant's requests of one scenario."""

    def __init__(self, times: Times, scenario: str, tenant: str, seed: Sequence[int]) -> None:
        """seed: of which flow and which of its requests each arrival is"""
        rng = np.random.default_rng(seed)
        weights = shares(scenario)
        flows = rng.choice(list(weights), len(times), p=np.array(list(weights.values())) / sum(weights.values()))
        self.tenant, self.times = tenant, times
        self.picks = [(str(flow), int(rng.integers(len(requests()[str(flow)])))) for flow in flows]


def drive(
    address: str,
    streams: Iterable[Stream],
    *,
    timeout_s: float = 120.0,
    job_timeout_s: float = 600.0,
    retries: int = 0,
    keys: Mapping[str, str] | None = None,
    accept: str = "image/jpeg",
) -> list[Row]:
    """Send every request at its moment; returns what became of each, in the order of their moments.

    keys: by tenant, where the server asks for them; accept: what answers are wanted as, for flows whose result is one
          picture
    raises: CalledProcessError where the generator fails
    """
    places: dict[tuple[str, str, int], int] = {}
    calls: list[Call] = []
    bodies: list[bytes] = []
    arrivals: list[Arrival] = []
    for stream in streams:
        for at, (flow, number) in zip(stream.times, stream.picks, strict=True):
            key = stream.tenant, flow, number
            if key not in places:
                places[key] = len(calls)
                sent = message(flow, requests()[flow][number])
                headers = {"Content-Type": sent.content_type, "Accept": accept + ", */*;q=0.5"}
                if keys:
                    headers["Authorization"] = f"Bearer {keys[stream.tenant]}"
                calls.append(
                    Call(flow=flow, tenant=stream.tenant, path=sent.path, headers=headers, body=f"{len(calls)}.body")
                )
                bodies.append(sent.body)
            arrivals.append(Arrival(at=float(at), call=places[key]))
    arrivals.sort(key=lambda arrival: arrival.at)
    plan = Plan(
        address=address, calls=tuple(calls), arrivals=tuple(arrivals),
        timeout_s=timeout_s, job_timeout_s=job_timeout_s, retries=retries,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path, rows = write_plan(plan, bodies, Path(folder)), Path(folder) / "rows.jsonl"
        subprocess.run([sys.executable, "-m", "loadtests.load.generator", str(path), str(rows)], check=True)
        return read_rows(rows)


def percentile(values: Sequence[float] | NDArray[np.float64], share: float) -> float:
    """NaN where there are none. The value that `share` % do not exceed, one that occurred."""
    if not len(values):
        return float("nan")
    return float(np.percentile(values, share, method="higher"))
