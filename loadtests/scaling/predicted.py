"""The simulation against the server: the same flow at the same rates, predicted and measured."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demo.server import running_server
from deployments.scaling import measured
from loadtests.cases import cases
from loadtests.elsewhere import Elsewhere
from loadtests.load.arrivals import poisson
from loadtests.load.plan import Arrival, Call, Plan, Row, read_rows, write_plan
from loadtests.load.scenarios import message
from loadtests.overhead import sample_catalogue
from loadtests.scaling.capacity import cpu_seconds_of, recorded_flows, site
from loadtests.scaling.simulation import Outcome, simulate

Found = dict[str, Any]
LOADS = (0.25, 0.5, 0.75, 1.2)
"""Of what the simulation takes to be the most that the server can do."""
WARM = 0.2
"""Of each run, at its beginning, does not count."""
ENDS_S = 30.0
"""After the last arrival, in which what is under way ends."""


def send(address: str, flow: str, times: Sequence[float], timeout_s: float = 60.0) -> list[Row]:
    """The flow's typical request at each of these moments, whatever becomes of those before it."""
    sent = message(flow, cases()[flow])
    headers = {"Content-Type": sent.content_type, "Accept": "image/jpeg, */*;q=0.5"}
    call = Call(flow=flow, tenant="", path=sent.path, headers=headers, body="0.body")
    arrivals = tuple(Arrival(at=float(at), call=0) for at in times)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(address=address, calls=(call,), arrivals=arrivals, timeout_s=timeout_s)
        path, rows = write_plan(plan, [sent.body], Path(folder)), Path(folder) / "rows.jsonl"
        subprocess.run([sys.executable, "-m", "loadtests.load.generator", str(path), str(rows)], check=True)
        return read_rows(rows)


def most(flow: str, replicas: Mapping[str, int]) -> float:
    """Requests per second that the simulated server gets done with when there is always one more."""
    flows = recorded_flows()
    own = sum(call.seconds for call in flows[flow].calls)
    rate = 2.5 * measured()["machine"]["cores"] / own
    found = simulate({flow: flows[flow]}, {flow: rate}, site(replicas), seconds=120.0, warm_s=40.0)
    return found.throughput


def unloaded(overhead: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """How many times as long a request takes over HTTP as in one process when it is alone: predicted, and measured.

    overhead: of the flows, as in the results of `make bench`
    """
    flows = recorded_flows()
    found = {}
    for name, of in overhead.items():
        alone = simulate({name: flows[name]}, {name: 0.02}, site({}), seconds=5000.0)
        here = measured()["flows"][name]["seconds"] + measured()["flows"][name]["edge_s"]
        found[name] = round(alone.quantile(0.5) / here, 2), of["ratio"]
    return found


def compare(flow: str, replicas: int, seconds: float) -> list[Found]:
    """Starts a server with as many replicas of each model of the flow, and of the flow itself.

    returns: by rate: others, that is cores kept busy by what is neither server nor generator; rate, the offered one;
             predicted and measured cpu_s, of all processes for one answer, throughput (1/s), p50_s and p95_s of good
             answers; the share that was refused
    """
    names = {call["model"] for call in measured()["flows"][flow]["calls"]} | {flow}
    fixed = dict.fromkeys(sorted(names), replicas)
    top = most(flow, fixed)
    given = {name: [count, count] for name, count in fixed.items()}
    rows = []
    with (
        sample_catalogue() as environment,
        running_server(environment | {"MODISTE_REPLICAS": json.dumps(given)}) as server,
    ):
        send(server.address, flow, [0.0, 2.0, 4.0, 5.0], timeout_s=120.0)
        for i, load in enumerate(LOADS):
            rate = load * top
            times = [float(at) for at in poisson(rate, seconds, [i, replicas])]
            elsewhere = Elsewhere(server.pid)
            answers = send(server.address, flow, times)
            others, idle = elsewhere.cores(), float(measured()["serving"]["idle_cores"])
            spent = elsewhere.spent_s() - idle * elsewhere.passed_s()
            predicted = simulate(
                {flow: recorded_flows()[flow]}, {flow: rate}, site(fixed),
                seconds=seconds, ends_s=seconds + ENDS_S, warm_s=WARM * seconds, times={flow: times},
            )  # fmt: skip
            done = sum(row.good for row in answers)
            about = {"flow": flow, "replicas": replicas, "load": load, "others": others}
            about["cpu_s"] = [round(cpu_seconds_of(recorded_flows()[flow]), 3), round(spent / max(1, done), 3)]
            rows.append(about | _compared(rate, seconds, predicted, answers))
    return rows


def _compared(rate: float, seconds: float, predicted: Outcome, answers: Sequence[Row]) -> Found:
    good = [row for row in answers if row.good and row.at >= WARM * seconds]
    done = sum(row.good and WARM * seconds <= row.done <= seconds for row in answers)
    took = [row.seconds for row in good] or [float("nan")]
    return {
        "rate": round(rate, 2),
        "requests": len(answers),
        "throughput": [round(predicted.throughput, 2), round(done / ((1 - WARM) * seconds), 2)],
        "p50_s": [round(predicted.quantile(0.5), 3), round(float(np.quantile(took, 0.5)), 3)],
        "p95_s": [round(predicted.quantile(0.95), 3), round(float(np.quantile(took, 0.95)), 3)],
        "refused": round(sum(row.shed for row in answers) / max(1, len(answers)), 3),
        "failed": sum(not row.good and not row.shed for row in answers),
    }
