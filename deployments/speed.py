"""How fast the published networks are: eager torch against OpenVINO in float32, and against their references.

Every network at the size its model runs it at, with a kit's deterministic weights and seeded noise within the range of
each input. One process for each row, so that memory comes back and a crash costs one row. Needs torch.
"""

import gc
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from math import prod
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
from compile.export import export
from compile.feeds import random_feeds
from compile.kit import Kit
from compile.openvino import compiled
from deployments import MODELS, model_class
from deployments.networks import Module, network, recognise
from deployments.parity import load
from modiste.spec import EngineSpec
from weights.convert.official import OFFICIAL
from weights.manifest import listed_manifest

Row = dict[str, Any]

FACTS = Path(__file__).with_name("speed.json")
"""kits: weights -> the kit with the keys of that checkpoint, where kits of several sizes are about its network;
reference: kit -> seconds that the reference itself took, as the kits' reports say, and with which inputs, where the
network does not know better itself."""
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
    """A row for every engine of a published network, then one for every network whose reference's time is known.

    only: id of the one model that is wanted; done: rows that are not measured again
    """
    found = [part for folder in folders for kit in kits.read_kits(folder) for part in (kit, *kit.parts) if part.shapes]
    known = {kit.name: recognise(kit.shapes) for kit in found}
    facts = json.loads(FACTS.read_text())
    have = {(row["row"], row.get("name")) for row in done if "eager_s" in row}
    used: set[str] = set()
    specs: dict[str, EngineSpec] = {}
    for name, spec in _engines(only):
        identifier = listed_manifest()[spec.weights].network
        assert identifier is not None
        about_it = [kit for kit in found if known[kit.name] == identifier]
        chosen = _kit(spec.weights, facts["kits"].get(spec.weights), identifier, about_it)
        if isinstance(chosen, Kit):
            used.add(chosen.name)
        same = next((other for other, taken in specs.items() if taken == spec), None)
        specs[name] = spec
        if ("engine", name) in have:
            continue
        about: Row = {"row": "engine", "name": name, "weights": spec.weights, "threads": limits.threads}
        if same is not None:
            yield {**about, "skipped": f"the same engine as {same}"}
        elif isinstance(chosen, str):
            yield {**about, "missed": chosen}
        elif (gigabytes := _gigabytes(chosen)) > limits.memory_gb:
            told = f"weights take {gigabytes:.1f} GB in {COPIES} copies, {limits.memory_gb:g} are allowed"
            yield {**about, "kit": chosen.name, "skipped": told}
        else:
            yield {**about, "kit": chosen.name, **_apart(_engine, chosen, spec, identifier, limits)}
    references = facts["reference"]
    for kit in found:
        wanted = kit.name in references and (only is None or kit.name in used)
        if wanted and ("network", kit.name) not in have:
            about = {"row": "network", "name": kit.name, "threads": THREADS[references[kit.name]["clock"]]}
            yield {**about, **_apart(_whole, replace(kit, golden={}), references[kit.name], known[kit.name], limits)}


def _engines(only: str | None) -> Iterator[tuple[str, EngineSpec]]:
    for model in MODELS if only is None else (only,):
        for engine, spec in model_class(model).spec.engines.items():
            if listed_manifest()[spec.weights].network is not None:
                yield (model if engine == "main" else f"{model}.{engine}"), spec


def _kit(weights: str, named: str | None, identifier: str, about: Sequence[Kit]) -> Kit | str:
    """The kit whose keys a checkpoint has, with the rules of any about the same network; or why there is none."""
    shapes = OFFICIAL[identifier].shapes
    if not about and shapes is not None:
        known = shapes()
        return Kit(name=f"none; {identifier} is in one size", shapes=known, dtypes=dict.fromkeys(known, "float32"))
    chosen = {kit.name: kit for kit in about if named in (None, kit.name)}
    if len(chosen) != 1:
        return f"expected one kit with the keys of {weights}, got {sorted(chosen) or 'none'} in these folders"
    (kit,) = chosen.values()
    rules = kit.rules or next((other.rules for other in about if other.rules), ())
    # As served: what no shape tells is as the official checkpoint has it.
    return replace(kit, rules=rules, arch={}, golden={}, inputs={})


def _gigabytes(kit: Kit) -> float:
    return COPIES * 4 * sum(prod(shape) for shape in kit.shapes.values()) / 1e9


def _apart(work: Callable[..., Row], kit: Kit, *more: Any) -> Row:
    """In a process of its own. load: of the machine before it, runnable processes over a minute"""
    load = {"load": round(getloadavg()[0], 1)}
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return load | pool.submit(_told, work, kit, *more).result()
        except BrokenProcessPool:
            return load | {"missed": "the process died, perhaps for want of memory"}


def _told(work: Callable[..., Row], *more: Any) -> Row:
    try:
        with torch.inference_mode():
            return work(*more)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, AssertionError) as error:
        return {"missed": f"{type(error).__name__}: {str(error)[:300]}"}


def _built(kit: Kit, identifier: str) -> Module:
    net = network(identifier).build(kit.shapes, kit.arch).requires_grad_(False)
    load(net, kit)
    return net


def _engine(kit: Kit, spec: EngineSpec, identifier: str, limits: Limits) -> Row:
    torch.set_num_threads(limits.threads)
    feeds = random_feeds(spec)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        expected, eager = _exported(kit, spec, identifier, feeds, limits.repeats, path)
        gc.collect()
        engine = compiled(spec, path, "float32", limits.threads, spec.sizes)
    found = engine(feeds)
    served = _medians(lambda: engine(feeds), limits.repeats)
    worst = _worst([tensor.name for tensor in spec.outputs], expected, found)
    missed = []
    if not worst <= APART:
        missed.append(f"expected outputs at most {APART:g} apart")
    if not served["wall"] < eager["wall"]:
        missed.append("expected OpenVINO to be faster")
    return {
        "input": ", ".join(" x ".join(str(n) for n in feeds[tensor.name].shape[1:]) for tensor in spec.inputs),
        "eager_s": round(eager["wall"], 4),
        "openvino_s": round(served["wall"], 4),
        "ratio": round(eager["wall"] / served["wall"], 2),
        "processor_ratio": round(eager["processor"] / served["processor"], 2),
        "worst": float(f"{worst:.1e}") if np.isfinite(worst) else None,
        **({"missed": "; ".join(missed)} if missed else {}),
    }


def _exported(
    kit: Kit, spec: EngineSpec, identifier: str, feeds: Tensors, repeats: int, path: Path
) -> tuple[list[Any], dict[str, float]]:
    """Eager outputs and seconds; the graph at `path`; nothing of the network is left."""
    net = _built(kit, identifier)
    # Only its shape matters here: the mean latent of every StyleGAN2.
    beside = {name: torch.zeros(512) for name in OFFICIAL[identifier].beside}
    part = network(identifier).parts[spec.part](net, beside).eval()
    tensors = [torch.from_numpy(feeds[tensor.name]) for tensor in spec.inputs]
    given = part(*tensors)
    expected = [x.numpy().copy() for x in ([given] if isinstance(given, torch.Tensor) else given)]
    seconds = _medians(lambda: part(*tensors), repeats)
    export(part, spec.inputs, spec.outputs, path, spec.sizes)
    return expected, seconds


def _worst(names: Sequence[str], expected: Sequence[Any], found: Tensors) -> float:
    apart = [
        float(np.abs(found[name] - one).max() / (np.abs(one).max() or 1.0))
        for name, one in zip(names, expected, strict=True)
    ]
    return float(np.max(apart))  # not a number stays one


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
    of, net, once = network(identifier), _built(kit, identifier), network(identifier).once
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
