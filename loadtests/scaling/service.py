"""What serving costs on this machine: `python -m loadtests.scaling service` writes deployments/service.json.

Every model of the edition with the inputs that the flows really send it, alone; every flow as the calls it makes; and
what a replica takes: memory, and the time from the first call to the first answer where none runs. Scaling settings
and the simulation derive from it. All clocks are medians of runs one after the other; wants a quiet machine.
"""

import gc
import json
import os
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, process_time
from typing import Any

import cv2

from deployments import EDITIONS, model_for, models_in_use, open_model
from deployments.base import Model, array_bytes
from deployments.golden import golden_inputs
from graphs.base import VideoFile
from graphs.local import LocalRunner
from graphs.signature import signature
from loadtests.cases import SAMPLES, Case, cases
from loadtests.elsewhere import Elsewhere
from loadtests.overhead import decoded, sample_catalogue
from loadtests.scaling.recording import Structure, calls_of, structure_of
from modiste.image import RGBImage, encode
from modiste.settings import settings

TABLE = Path(__file__).resolve().parents[2] / "deployments" / "service.json"
CALLS = 200
"""Of a video, at most: what comes after is more of the same."""


def besides() -> dict[str, Case]:
    """Requests, by flow, for models that typical ones do not call."""
    case = cases()["virtual_model"]
    files = {**case.files, "makeup": "portraits/astronaut.jpg"}
    return {"virtual_model": Case(files=files, options={**case.options, "restore": "always"})}


LONG = 5.0
"""Seconds."""
CROWD, CROWD_S = "selfie_multiclass", 4.0
"""Model, nearly all of whose time is its engine's, and seconds that it runs with and without company."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clocked:
    """Seconds of each run by both clocks."""

    wall: tuple[float, ...]
    processor: tuple[float, ...]


def clocked(run: Callable[[], object], *, seconds: float, least: int = 3, most: int = 40) -> Clocked:
    """Run it until `seconds` have passed, at least and at most so often, not counting the first; what takes `LONG`
    runs once."""
    wall: list[float] = []
    processor: list[float] = []
    while len(wall) <= least or (sum(wall[1:]) < seconds and len(wall) <= most):
        started, busy = perf_counter(), process_time()
        run()
        wall.append(perf_counter() - started)
        processor.append(process_time() - busy)
        if wall[0] > LONG:
            return Clocked(tuple(wall), tuple(processor))
    return Clocked(tuple(wall[1:]), tuple(processor[1:]))


def measure(machine: Row, seconds: float) -> Row:
    """Everything. machine: what it is; cores that others kept busy are added. seconds: spent on each call of each flow
    at least"""
    from loadtests.scaling import cold_start

    cv2.setNumThreads(settings().threads or 1)  # as in a replica
    elsewhere = Elsewhere(os.getpid())
    flows: dict[str, Row] = {}
    timed: dict[str, list[tuple[Sequence[Any], Clocked]]] = defaultdict(list)
    with sample_catalogue(), LocalRunner() as runner, tempfile.TemporaryDirectory() as scratch:
        for flow, case in cases().items():
            request = _request(flow, case, Path(scratch))
            structure = structure_of(flow, request, runner)
            calls = structure.calls[:CALLS]
            times = [_timed(runner, call.role, call.inputs, seconds) for call in calls]
            for call, time in zip(calls, times, strict=True):
                timed[call.model].append((call.inputs, time))
            flows[flow] = _flow(flow, request, structure, times)
        for flow, case in besides().items():
            for call in calls_of(flow, _request(flow, case, Path(scratch)), runner):
                if call.model not in timed:
                    timed[call.model] = [(call.inputs, _timed(runner, call.role, call.inputs, seconds))]
        for role in EDITIONS[settings().edition]:
            if model_for(role) not in timed:
                inputs = golden_inputs(role)[:1]
                timed[model_for(role)] = [(inputs, _timed(runner, role, inputs, seconds))]
    gc.collect()
    crowded = _crowded(timed[CROWD][0][0])
    machine |= {"others": elsewhere.cores()}
    replicas, serving = cold_start.measure({model: timed[model][0][0] for model in models_in_use()})
    serving |= {"crowded": crowded, **cold_start.measure_ingress()}
    models = {model: _model(model, timed[model], flows) | replicas[model] for model in models_in_use()}
    return {"machine": machine, "serving": serving, "models": models, "flows": flows}


def _crowded(inputs: Sequence[Any]) -> float:
    """Times as long as alone that a model takes where every core runs one: cores may share what computes."""
    models = [open_model(CROWD) for _ in range(os.cpu_count() or 1)]

    def run(model: Model[Any, Any]) -> float:
        ends, times = monotonic() + CROWD_S, []
        while monotonic() < ends:
            started = perf_counter()
            model(inputs)
            times.append(perf_counter() - started)
        return statistics.median(times[1:])

    alone = run(models[0])
    with ThreadPoolExecutor(len(models)) as pool:
        together = list(pool.map(run, models))
    for model in models:
        model.close()
    return round(statistics.mean(together) / alone, 3)


def _timed(runner: LocalRunner, role: str, inputs: Sequence[Any], seconds: float) -> Clocked:
    return clocked(lambda: runner.call(role, inputs), seconds=seconds)


def _request(flow: str, case: Case, scratch: Path) -> object:
    of = signature(flow)
    if not of.takes_video:
        return decoded(flow, case, case.read())
    # The flow writes its result beside the video.
    videos = {name: VideoFile(Path(shutil.copy(SAMPLES / path, scratch))) for name, path in case.files.items()}
    return of.request(videos, of.options.model_validate(case.options))


def _model(model: str, found: Sequence[tuple[Sequence[Any], Clocked]], flows: dict[str, Row]) -> Row:
    """Over all calls of all flows, each call with the same weight."""
    return {
        "call_s": _spread([time.wall for _, time in found]),
        "call_cpu_s": _spread([time.processor for _, time in found]),
        "input_s": _spread([tuple(s / len(inputs) for s in time.wall) for inputs, time in found]),
        "inputs": statistics.median(len(inputs) for inputs, _ in found),
        "flows": [name for name, flow in flows.items() if any(call["model"] == model for call in flow["calls"])],
    }


def _spread(times: Sequence[Sequence[float]]) -> Row:
    """median: of the calls' medians; p95: over all runs of all calls"""
    return {
        "median": round(statistics.median(statistics.median(each) for each in times), 5),
        "p95": _p95([second for each in times for second in each]),
    }


def _p95(times: Sequence[float]) -> float:
    return round(sorted(times)[min(len(times) - 1, int(0.95 * len(times)))], 5)


def _flow(flow: str, request: object, structure: Structure, times: Sequence[Clocked]) -> Row:
    """roles: all that it may call; seconds: of the whole in one process; edge_s: to decode what is uploaded and to
    encode what is given back; bytes: of arrays there and back; own_s: CPU seconds of the flow before a call; after:
    calls that one waits for"""
    calls = [
        {
            "model": call.model,
            "role": call.role,
            "inputs": len(call.inputs),
            "seconds": round(statistics.median(time.wall), 5),
            "p95_s": _p95(time.wall),
            "cpu_s": round(statistics.median(time.processor), 5),
            "bytes": [array_bytes(call.inputs), array_bytes(call.answer)],
            "own_s": round(own, 5),
            "after": list(after),
        }
        for call, time, own, after in zip(structure.calls, times, structure.own, structure.after, strict=False)
    ]
    return {
        "roles": list(signature(flow).graph.roles()),
        "seconds": round(structure.seconds, 4),
        "edge_s": round(_edge(flow, structure.result), 5),
        "bytes": [array_bytes(request), array_bytes(structure.result)],
        "calls": calls,
        "finish_s": round(structure.finish, 5),
    }


def _edge(flow: str, result: object) -> float:
    """CPU seconds to decode the uploads and to encode the result's pictures, in the median. A video passes as it is."""
    of = signature(flow)
    if of.takes_video:
        return 0.0
    case = cases()[flow]
    uploads = case.read()
    given = [getattr(result, slot.name) for slot in of.results if slot.kind == "picture"]
    pictures = [
        RGBImage(image) for one in given for image in (one if isinstance(one, tuple) else [one]) if image is not None
    ]

    def work() -> None:
        decoded(flow, case, uploads)
        for picture in pictures:
            encode(picture, "jpeg")

    return statistics.median(clocked(work, seconds=0.3).processor)


def write(measured: Row, path: Path = TABLE) -> None:
    path.write_text(json.dumps(measured, indent=1) + "\n")
