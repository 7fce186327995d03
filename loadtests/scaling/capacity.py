"""What is needed for a load: the simulation fed with measured tables, and how many machines or GPUs are enough.

CPU machines are like the one of deployments/service.json. Of GPUs, nothing is assumed in silence: the seconds of
engines come from a file that `make bench-gpu` wrote, or from a factor that whoever asks must state.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from api.admission import AT_ONCE
from deployments import model_class
from deployments.app import SENT_DIRECTLY
from deployments.scaling import measured
from loadtests.scaling.simulation import Call, Flow, Hop, Outcome, Site, simulate
from modiste.settings import settings

FULL = 0.6
"""Of each replica's, core's and GPU's time, at most, in the first guess."""
TOO_FULL, TRIES = 0.7, 4
"""Of a replica's time, from which a model is given more replicas, and how often that is tried."""
MOST, HELPLESS = 64, 4
"""Machines or GPUs; and how many more of them in a row, without any use, are enough to give up."""
REQUESTS, LEAST_S, WARM = 1500, 60.0, 0.1
"""Simulated: requests and seconds at least, and the share of the time before anything counts."""

GPU_MEMORY_MB: Mapping[str, int] = {
    "t4": 15360, "l4": 23034, "a10": 23028, "l40s": 46068, "a100-40": 40960, "a100": 81920, "h100": 81559,
    "h200": 143771,
}  # fmt: skip
"""As nvidia-smi names them, MB of 2**20 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A type of GPU. seconds: of a model's work on one input; cores: CPU cores of the machine for each GPU"""

    name: str
    memory_mb: int
    cores: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """units: machines or GPUs; replicas: of each model and flow; p95_s: by flow; enough: whether the goal is met"""

    units: int
    replicas: Mapping[str, int]
    outcome: Outcome
    p95_s: Mapping[str, float]
    enough: bool


Built = Callable[[int, Mapping[str, int]], Site | None]
"""From how many and the replicas: what there is to run on; None where they do not fit."""


def recorded_flows(gpu: Gpu | None = None) -> dict[str, Flow]:
    """Flows as they were recorded; models that have a time on the GPU take that, an input after the other."""

    def call(of: Mapping[str, Any]) -> Call:
        on_gpu = gpu.seconds.get(of["model"]) if gpu else None
        seconds, p95_s = (of["seconds"], of["p95_s"]) if on_gpu is None else (on_gpu * of["inputs"], 0.0)
        return Call(
            model=of["model"], seconds=seconds, p95_s=p95_s, inputs=of["inputs"], own_s=of["own_s"],
            hop=hop(*of["bytes"]), after=tuple(of["after"]),
        )  # fmt: skip

    http = measured()["serving"]["http_cpu_s"]
    return {
        name: Flow(
            calls=tuple(call(each) for each in of["calls"]), hop=hop(*of["bytes"], way="reference"),
            edge_s=of["edge_s"] + http, finish_s=of["finish_s"],
        )
        for name, of in measured()["flows"].items()
    }  # fmt: skip


def hop(given: int, answered: int, *, way: str | None = None) -> Hop:
    """Of a call that carries so many bytes there and back, between those that were measured; no more than the largest.

    way: "direct" or "reference"; unset: the one that flows call models by
    """
    rows = measured()["serving"]["hops"][way or ("direct" if given <= SENT_DIRECTLY else "reference")]
    sizes, seconds, cpu_s = zip(*rows, strict=True)
    carried = given + answered
    return Hop(float(np.interp(carried, sizes, seconds)), float(np.interp(carried, sizes, cpu_s)))


def site(replicas: Mapping[str, int], *, machines: int = 1, cores: float | None = None, **more: Any) -> Site:
    """Machines like the measured one, or as many cores, behind one ingress. What the server does when nobody asks
    takes its share of the cores' speed away."""
    serving, machine = measured()["serving"], measured()["machine"]
    count = machine["cores"] * machines if cores is None else cores
    idle = serving["idle_cores"] / machine["cores"]
    return Site(
        cores=count, crowded=serving["crowded"] / (1 - idle), replicas=replicas,
        limit=AT_ONCE, **more,
    )  # fmt: skip


def machines_needed(rates: Mapping[str, float], p95_s: float, seed: int = 0) -> Answer:
    """As few machines with CPUs alone as keep every flow's p95 under the goal, with as many replicas as that takes.

    returns: what is not enough, where more machines did not help either
    raises: ValueError for more work than the most machines that are tried can do
    """
    flows = recorded_flows()
    work = sum(rate * cpu_seconds_of(flows[name]) for name, rate in rates.items())
    cores = measured()["machine"]["cores"]

    def built(units: int, replicas: Mapping[str, int]) -> Site:
        return site(replicas, machines=units)

    return _fewest(flows, rates, p95_s, seed, ceil(work / cores / 0.95), built)


def gpus_needed(rates: Mapping[str, float], p95_s: float, gpu: Gpu, seed: int = 0) -> Answer:
    """The same with GPUs, each with its share of its machine's cores.

    raises: ValueError also where the replicas do not fit
    """
    flows = recorded_flows(gpu)
    work = sum(
        rate * call.seconds for name, rate in rates.items() for call in flows[name].calls if call.model in gpu.seconds
    )

    def built(units: int, replicas: Mapping[str, int]) -> Site | None:
        on = placed({model: count for model, count in replicas.items() if model in gpu.seconds}, units, gpu.memory_mb)
        return None if on is None else site(replicas, cores=gpu.cores * units, on=on, gpus=units)

    return _fewest(flows, rates, p95_s, seed, ceil(work / 0.95), built)


def placed(replicas: Mapping[str, int], gpus: int, memory_mb: int) -> dict[str, list[int]] | None:
    """The GPU of each replica: the one with the fewest of its model, then with the most memory left; None where there
    is no room."""
    free = [memory_mb - settings().gpu_reserve_mb] * gpus
    on: dict[str, list[int]] = {model: [] for model in replicas}
    size = {model: model_class(model).spec.resources.gpu_memory_mb for model in replicas}
    for model in sorted(replicas, key=lambda of: (-size[of], of)):
        for _ in range(replicas[model]):
            fitting = [gpu for gpu in range(gpus) if free[gpu] >= size[model]]
            if not fitting:
                return None
            chosen = min(fitting, key=lambda gpu: (on[model].count(gpu), -free[gpu]))
            on[model].append(chosen)
            free[chosen] -= size[model]
    return on


def _fewest(
    flows: Mapping[str, Flow], rates: Mapping[str, float], p95_s: float, seed: int, least: int, built: Built
) -> Answer:
    answer, best, tried = None, float("inf"), 0
    for units in range(max(1, least), MOST + 1):
        replicas = replicas_for(flows, rates, FULL) | loops_for(flows, rates)
        for _ in range(TRIES):
            held = built(units, replicas)
            if held is None:
                break
            answer = _asked(flows, rates, held, units, p95_s, seed)
            if answer.enough:
                return answer
            if not (full := [model for model, busy in answer.outcome.busy.items() if busy > TOO_FULL]):
                break
            replicas |= {model: replicas[model] + ceil(0.25 * replicas[model]) for model in full}
        if answer is not None:
            worst = max(answer.p95_s.values())
            best, tried = (worst, 0) if worst < 0.95 * best else (best, tried + 1)
            if tried == HELPLESS:
                return answer
    if answer is None:
        raise ValueError(f"expected a load that up to {MOST} can bear, got one that needs more")
    return answer


def _asked(
    flows: Mapping[str, Flow], rates: Mapping[str, float], held: Site, units: int, p95_s: float, seed: int
) -> Answer:
    total = sum(rates.values())
    seconds = max(LEAST_S, REQUESTS / total)
    found = simulate(flows, rates, held, seconds=seconds, warm_s=WARM * seconds, seed=seed)
    by_flow = {name: found.quantile(0.95, name) for name in rates}
    enough = max(by_flow.values()) <= p95_s and found.answered >= 0.95 * found.arrived
    return Answer(units=units, replicas=held.replicas, outcome=found, p95_s=by_flow, enough=enough)


def replicas_for(flows: Mapping[str, Flow], rates: Mapping[str, float], full: float) -> dict[str, int]:
    """As many replicas of each model that none works more than `full` of its time."""
    work: dict[str, float] = {}
    for name, rate in rates.items():
        for call in flows[name].calls:
            work[call.model] = work.get(call.model, 0.0) + rate * call.seconds
    return {model: max(1, ceil(erlangs / full)) for model, erlangs in work.items()}


def loops_for(flows: Mapping[str, Flow], rates: Mapping[str, float]) -> dict[str, int]:
    """Replicas of the flows themselves, for what they compute on their own."""
    own = {name: sum(call.own_s for call in flows[name].calls) + flows[name].finish_s for name in rates}
    return {name: max(1, ceil(rate * own[name] / FULL)) for name, rate in rates.items()}


def cpu_seconds_of(flow: Flow) -> float:
    """Of all processes, for one request where every model computes on the CPU."""
    calls = sum(call.own_s + call.seconds + call.hop.cpu_s for call in flow.calls)
    return float(flow.edge_s) + flow.hop.cpu_s + flow.finish_s + calls


def rates_of(mix: str, rate: float) -> dict[str, float]:
    """ "virtual_model=0.6,sketch_search=0.4" and requests per second in all, by flow.

    raises: ValueError
    """
    shares: dict[str, float] = {}
    for part in mix.split(","):
        name, _, share = part.strip().partition("=")
        if name not in measured()["flows"]:
            raise ValueError(f"expected one of {', '.join(measured()['flows'])}, got {name!r}")
        shares[name] = float(share or 1)
    return {name: rate * share / sum(shares.values()) for name, share in shares.items()}


def gpu_models() -> list[str]:
    return [model for model in measured()["models"] if model_class(model).spec.resources.gpu_memory_mb]


def gpu_from_rows(name: str, memory_mb: int, cores: int, rows: Path) -> Gpu:
    """Seconds from what `make bench-gpu` wrote: engines of the default edition at batch 1, copies included; pre- and
    post-processing are not in it.

    raises: ValueError for models without a row
    """
    seconds: dict[str, float] = {}
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        if row.get("row") == "gpu" and row.get("way") in ("tensorrt", "cuda") and row["batch"] == 1 and "ms" in row:
            seconds[row["engine"]] = min(seconds.get(row["engine"], float("inf")), row["ms"] / 1e3)
    of_models: dict[str, float] = {}
    for engine, each in seconds.items():
        model = engine.partition(".")[0]
        of_models[model] = of_models.get(model, 0.0) + each
    if missing := [model for model in gpu_models() if model not in of_models]:
        raise ValueError(f"expected rows of all models that run on GPUs in {rows.name}, got none of {missing}")
    return Gpu(name=name, memory_mb=memory_mb, cores=cores, seconds={model: of_models[model] for model in gpu_models()})


def gpu_from_factor(name: str, memory_mb: int, cores: int, factor: float) -> Gpu:
    """Every model that runs on GPUs as many times faster than on one core of the measured machine."""
    table = measured()["models"]
    seconds = {model: table[model]["input_s"]["median"] / factor for model in gpu_models()}
    return Gpu(name=name, memory_mb=memory_mb, cores=cores, seconds=seconds)
