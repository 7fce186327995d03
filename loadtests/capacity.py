"""What is needed for a load: the simulation fed with measured tables, and how many machines or GPUs are enough.

CPU machines are like the one of deployments/service.json. Of GPUs, nothing is assumed in silence: the seconds of
engines come from a file that `make bench-gpu` wrote, or from a factor that whoever asks must state.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from api.admission import AT_ONCE
from deployments import model_class
from deployments.placement import Demand, pack
from deployments.scaling import measured
from loadtests.simulation import Call, Flow, Outcome, Site, replicas_for, simulate
from modiste.settings import settings

FULL = 0.6
"""Of each replica's, core's and GPU's time, at most, in the first guess."""
MOST = 64
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


def recorded_flows(gpu: Gpu | None = None) -> dict[str, Flow]:
    """Flows as they were recorded; models that have a time on the GPU take that, an input after the other."""

    def call(of: Mapping[str, Any]) -> Call:
        after, own = tuple(of["after"]), of["own_s"]
        if gpu and of["model"] in gpu.seconds:
            seconds = gpu.seconds[of["model"]] * of["inputs"]
            return Call(model=of["model"], seconds=seconds, inputs=of["inputs"], own_s=own, after=after)
        return Call(
            model=of["model"], seconds=of["seconds"], p95_s=of["p95_s"], inputs=of["inputs"], own_s=own, after=after
        )

    http = measured()["serving"]["http_cpu_s"]
    return {
        name: Flow(calls=tuple(call(each) for each in of["calls"]), edge_s=of["edge_s"] + http, finish_s=of["finish_s"])
        for name, of in measured()["flows"].items()
    }


def site(replicas: Mapping[str, int], *, machines: int = 1, cores: float | None = None, **more: Any) -> Site:
    """Machines like the measured one, or as many cores, behind one ingress. What the server does when nobody asks
    takes its share of the cores' speed away."""
    serving, machine = measured()["serving"], measured()["machine"]
    count = machine["cores"] * machines if cores is None else cores
    idle = serving["idle_cores"] / machine["cores"]
    return Site(
        cores=count, crowded=serving["crowded"] / (1 - idle), replicas=replicas,
        hop_s=serving["hop_s"], hop_cpu_s=serving["hop_cpu_s"], limit=AT_ONCE, **more,
    )  # fmt: skip


def machines_needed(rates: Mapping[str, float], p95_s: float, seed: int = 0) -> Answer:
    """As few machines with CPUs alone as keep every flow's p95 under the goal; the most tried where none do."""
    flows = recorded_flows()
    replicas = replicas_for(flows, rates, FULL) | loops_for(flows, rates)
    work = sum(rate * _cpu_seconds(flows[name]) for name, rate in rates.items())
    cores = measured()["machine"]["cores"]
    answer = None
    for units in range(max(1, ceil(work / cores / 0.95)), MOST + 1):
        answer = _asked(flows, rates, site(replicas, machines=units), units, p95_s, seed)
        if answer.enough:
            return answer
    if answer is None:
        raise ValueError(
            f"expected a load that {MOST} machines can bear, got {work / cores:.0f} machines' worth of work"
        )
    return answer


def gpus_needed(rates: Mapping[str, float], p95_s: float, gpu: Gpu, seed: int = 0) -> Answer:
    """As few GPUs as hold the replicas and keep every flow's p95 under the goal; the most tried where none do.

    raises: ValueError where that many do not even hold the replicas
    """
    flows = recorded_flows(gpu)
    wanted = replicas_for(flows, rates, FULL)
    usable = gpu.memory_mb - settings().gpu_reserve_mb
    demands = [
        Demand(model=model, memory_mb=model_class(model).spec.resources.gpu_memory_mb, least=count, most=count)
        for model, count in wanted.items()
        if model in gpu.seconds
    ]
    work = sum(
        rate * call.seconds for name, rate in rates.items() for call in flows[name].calls if call.model in gpu.seconds
    )
    answer = None
    for units in range(max(1, ceil(work / 0.95)), MOST + 1):
        plan = pack(demands, gpus=units, usable_mb=usable)
        if plan.missing:
            continue
        on = {of.model: [i for i in range(units) for _ in range(plan.gpus[i][of.model])] for of in demands}
        held = site(wanted | loops_for(flows, rates), cores=gpu.cores * units, on=on, gpus=units)
        answer = _asked(flows, rates, held, units, p95_s, seed)
        if answer.enough:
            return answer
    if answer is None:
        raise ValueError(f"expected the replicas to fit {MOST} GPUs of {gpu.memory_mb} MB; they do not")
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


def loops_for(flows: Mapping[str, Flow], rates: Mapping[str, float]) -> dict[str, int]:
    """Replicas of the flows themselves, for what they compute on their own."""
    own = {name: sum(call.own_s for call in flows[name].calls) + flows[name].finish_s for name in rates}
    return {name: max(1, ceil(rate * own[name] / FULL)) for name, rate in rates.items()}


def _cpu_seconds(flow: Flow) -> float:
    hops = float(measured()["serving"]["hop_cpu_s"]) * len(flow.calls)
    return float(flow.edge_s) + flow.finish_s + hops + sum(call.own_s + call.seconds for call in flow.calls)


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
