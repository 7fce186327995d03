"""How fast engines are on this CPU: eager torch against OpenVINO in float32 and bfloat16, and published networks
against their references.

Every engine at the size its model runs it at, with seeded noise within the range of each input: real weights in the
default edition, a kit's deterministic weights for published networks. One process for each row, so that memory comes
back and a crash costs one row. Needs torch.
"""

import gc
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from os import cpu_count, getloadavg
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np
import openvino as ov
import torch

from compile import kit as kits
from compile.engine import Tensors
from compile.feeds import random_feeds
from compile.gate import relative_error
from compile.kit import Kit
from compile.openvino import compiled
from deployments.full_size import FACTS, FullSize, built, full_size_engines, graph_of, keyed_kits, module_of
from deployments.networks import network, recognise
from modiste.spec import Precision

Row = dict[str, Any]

THREADS = {"wall": 2, "processor": 1}
"""That the reference was timed on, by the clock that its time was taken by."""
SLOWER = 1.1
"""Seconds over the reference's from which a network is too slow."""
APART = 1e-3
"""Largest difference of OpenVINO's outputs over the largest value of eager's."""
COPIES = 4
"""Of the weights at once: the network, its export, the graph, and what is compiled of it."""


LEAST, MOST = 0.5, 50
"""Seconds in all and runs for it, of what is over at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """threads: of eager and of OpenVINO; repeats: least runs of each; memory_gb: that weights may take, all copies"""

    threads: int = 1
    repeats: int = 3
    memory_gb: float = 12.0


def machine() -> Row:
    return {
        "row": "machine",
        "cpu": ov.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        "cores": cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openvino": ov.get_version(),
    }


def rows(folders: Sequence[Path], only: str | None, limits: Limits, done: Sequence[Row]) -> Iterator[Row]:
    """A row for every engine, then one for every published network whose reference's time is known.

    only: id of the one model that is wanted; done: rows that are not measured again
    """
    found = keyed_kits(folders)
    have = {(row["row"], row.get("name")) for row in done if "eager_s" in row}
    used: set[str] = set()
    for of in full_size_engines(found, only):
        used |= {of.kit.name} if of.kit else set()
        if ("engine", of.name) in have:
            continue
        about: Row = {"row": "engine", "name": of.name, "weights": of.spec.weights, "threads": limits.threads}
        if of.same:
            yield {**about, "skipped": f"the same engine as {of.same}"}
        elif of.missing:
            yield {**about, "missed": of.missing}
        elif (gigabytes := COPIES * of.weights_gb) > limits.memory_gb:
            yield {
                **about,
                "skipped": f"weights take {gigabytes:.1f} GB in {COPIES} copies, {limits.memory_gb:g} are allowed",
            }
        else:
            yield {**about, "kit": of.kit.name if of.kit else None, **_apart(_engine, of, limits)}
    references = FACTS["reference"]
    for kit in found:
        wanted = kit.name in references and (only is None or kit.name in used)
        if wanted and ("network", kit.name) not in have:
            about = {"row": "network", "name": kit.name, "threads": THREADS[references[kit.name]["clock"]]}
            identifier = recognise(kit.shapes)
            yield {**about, **_apart(_whole, replace(kit, golden={}), references[kit.name], identifier, limits)}


def _apart(work: Callable[..., Row], *given: Any) -> Row:
    """In a process of its own. load: of the machine before it, runnable processes over a minute"""
    load = {"load": round(getloadavg()[0], 1)}
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return load | pool.submit(_told, work, *given).result()
        except BrokenProcessPool:
            return load | {"missed": "the process died, perhaps for want of memory"}


def _told(work: Callable[..., Row], *given: Any) -> Row:
    try:
        with torch.inference_mode():
            return work(*given)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, AssertionError) as error:
        return {"missed": f"{type(error).__name__}: {str(error)[:300]}"}


def _engine(of: FullSize, limits: Limits) -> Row:
    torch.set_num_threads(limits.threads)
    spec, feeds = of.spec, random_feeds(of.spec)
    with TemporaryDirectory() as folder:
        expected, eager, path = _eager(of, feeds, limits.repeats, Path(folder))
        gc.collect()
        times, errors, furthest = {}, {}, 0.0
        precisions: tuple[Precision, ...] = ("float32", "bfloat16")
        for precision in precisions:
            engine = compiled(spec, path, precision, limits.threads, spec.sizes)
            outputs = engine(feeds)
            if precision == "float32":
                furthest = _worst(expected, outputs)
            errors[precision] = max(relative_error(outputs[name], one) for name, one in expected.items())
            times[precision] = _medians(partial(engine, feeds), limits.repeats)
            engine.close()
    missed = []
    if not furthest <= APART:
        missed.append(f"expected outputs at most {APART:g} apart")
    if not times["float32"]["wall"] < eager["wall"]:
        missed.append("expected OpenVINO to be faster")
    return {
        "input": ", ".join(" x ".join(str(n) for n in feeds[tensor.name].shape[1:]) for tensor in spec.inputs),
        "eager_s": round(eager["wall"], 4),
        "openvino_s": round(times["float32"]["wall"], 4),
        "bfloat16_s": round(times["bfloat16"]["wall"], 4),
        "ratio": round(eager["wall"] / times["float32"]["wall"], 2),
        "processor_ratio": round(eager["processor"] / times["float32"]["processor"], 2),
        "worst": _figure(furthest),
        "bfloat16_error": _figure(errors["bfloat16"]),
        **({"missed": "; ".join(missed)} if missed else {}),
    }


def _eager(of: FullSize, feeds: Tensors, repeats: int, folder: Path) -> tuple[dict[str, Any], dict[str, float], Path]:
    """Eager outputs and seconds, and the graph; nothing of the network is left."""
    part = module_of(of)
    tensors = [torch.from_numpy(feeds[tensor.name]) for tensor in of.spec.inputs]
    given = part(*tensors)
    outputs = [x.numpy().copy() for x in ([given] if isinstance(given, torch.Tensor) else given)]
    seconds = _medians(lambda: part(*tensors), repeats)
    names = [tensor.name for tensor in of.spec.outputs]
    return dict(zip(names, outputs, strict=True)), seconds, graph_of(of, part, folder)


def _worst(expected: Mapping[str, Any], found: Tensors) -> float:
    apart = [float(np.abs(found[name] - one).max() / (np.abs(one).max() or 1.0)) for name, one in expected.items()]
    return float(np.max(apart))  # not a number stays one


def _figure(value: float) -> float | None:
    return float(f"{value:.1e}") if np.isfinite(value) else None


def _times(run: Callable[[], object], repeats: int) -> dict[str, list[float]]:
    """Seconds by each clock; the caller has run it once already. What is over at once runs more often."""
    times: dict[str, list[float]] = {"wall": [], "processor": []}
    while len(times["wall"]) < repeats or (sum(times["wall"]) < LEAST and len(times["wall"]) < MOST):
        wall, processor = perf_counter(), process_time()
        run()
        times["wall"].append(perf_counter() - wall)
        times["processor"].append(process_time() - processor)
    return times


def _medians(run: Callable[[], object], repeats: int) -> dict[str, float]:
    return {clock: float(np.median(times)) for clock, times in _times(run, repeats).items()}


def _whole(kit: Kit, reference: Mapping[str, Any], identifier: str, limits: Limits) -> Row:
    """The network in one pass with the reference's input, as the reference was timed: the best of all runs."""
    torch.set_num_threads(THREADS[reference["clock"]])
    of, net, once = network(identifier), built(kit, identifier), network(identifier).once
    if "inputs" in reference:
        made = {
            name: [recipe[0], reference["inputs"].get(name, recipe[1]), *recipe[2:]]
            for name, recipe in kit.inputs.items()
            if isinstance(recipe, Sequence)
        }
        # A kit of keys alone has no recipes: noise will do.
        made |= {name: ["signed", shape, 0] for name, shape in reference["inputs"].items() if name not in made}
        fed = {name: torch.from_numpy(x) for name, x in kits.feeds(replace(kit, inputs=made)).items()}

        def run() -> object:
            return of.outputs(net, fed, kit.arch)
    else:
        assert once is not None, kit.name
        run = lambda: once(net)  # noqa: E731  # the same in one line

    run()
    best = min(_times(run, limits.repeats)[reference["clock"]])
    ratio = best / reference["seconds"]
    return {
        "clock": reference["clock"],
        "eager_s": round(best, 4),
        "reference_s": reference["seconds"],
        "ratio": round(ratio, 2),
        **({"missed": f"expected at most {SLOWER:g} times the reference's seconds"} if ratio > SLOWER else {}),
    }
