"""Engines out of the cache, or built, judged by the parity gate, and stored."""

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np

from compile.backend import Backend, Source, backend
from compile.cache import Built, cached_blob, engine_key
from compile.engine import Case, Engine
from compile.feeds import random_feeds
from compile.gate import checks, require
from compile.report import Report, as_json
from modiste.errors import InvalidOption
from modiste.spec import EngineSpec, Precision, Target

BATCHES = (1, 4, 8)
"""What a report has milliseconds of."""
INT8_TARGETS = ("openvino", "tensorrt")
"""Which run layers of a graph in int8."""
QUANTIZED = 1
"""Goes up with every change of compile/quantize.py, or of what it is calibrated with, that changes graphs."""
LEAST_RUNS, LEAST_S = 3, 0.1
"""Of which the median counts."""


def open_engine(
    name: str,
    spec: EngineSpec,
    source: Source,
    cases: Callable[[], Sequence[Case]],
    calibration: Callable[[], Sequence[Case]],
    *,
    judges: str,
    target: Target,
    precision: Precision,
) -> Engine:
    """The engine from the cache; where it has none, it is built, and stored if the gate lets it pass.

    name:        "model" or "model.engine", for the report
    cases:       what it is judged by; asked for only when it is built
    judges:      which cases those are: engines that passed others are judged anew
    calibration: other real inputs, which int8 is fitted to; asked for only when that is built
    raises:      EngineRefused, and InvalidOption for a precision that the target does not have
    """
    if precision == "int8" and target not in INT8_TARGETS:
        raise InvalidOption(f"Expected int8 with one of {', '.join(INT8_TARGETS)}; got {target}.")
    of = backend(target)
    runtime = dict(of.runtime(precision))
    if not of.BATCHED:
        runtime["threads"] = str(source.threads)
    if precision == "int8":
        runtime["quantized"] = f"{QUANTIZED} with onnxruntime {version('onnxruntime')}"
    key = engine_key(spec, judges=judges, target=target, precision=precision, runtime=runtime)

    def load(blob: bytes) -> Engine:
        return of.load(spec, source, blob, precision)

    def build() -> Built:
        judged_by = cases()
        started = perf_counter()
        with _typed(spec, source, target, precision, calibration) as (built_from, int8_share):
            blob = of.build(spec, built_from, precision, judged_by)
        built = perf_counter() - started
        before, started = of.used_mb(), perf_counter()
        engine = load(blob)
        opened = perf_counter() - started
        found = checks(spec, engine, judged_by)
        require(found, f"{name} as {target} in {precision}")
        report = Report(
            engine=name,
            target=target,
            precision=precision,
            int8_share=int8_share,
            runtime=runtime,
            build_s=round(built, 2),
            open_s=round(opened, 3),
            bytes=len(blob),
            memory_mb=round(of.used_mb() - before, 1),
            ms=_medians(spec, engine, of),
            checks=found,
        )
        engine.close()
        del engine
        gc.collect()
        return Built(blob=blob, report=as_json(report))

    return cached_blob(key, build, load)


@contextmanager
def _typed(
    spec: EngineSpec, source: Source, target: Target, precision: Precision, calibration: Callable[[], Sequence[Case]]
) -> Iterator[tuple[Source, float | None]]:
    """What the backend builds from: for int8, a graph that has such layers, and their share of all multiplications."""
    if precision != "int8":
        yield source, None
        return
    from compile.quantize import quantized

    with tempfile.TemporaryDirectory() as staged:
        graph = Path(staged) / "int8.onnx"
        share = quantized(spec, source.graph(), calibration(), graph, symmetric=target == "tensorrt")
        yield replace(source, graph=lambda: graph), round(share, 3)


def _medians(spec: EngineSpec, engine: Engine, of: Backend) -> dict[int, float]:
    """Milliseconds by batch size, up to what the engine takes at once."""
    medians = {}
    for batch in BATCHES if of.BATCHED else (1,):
        if batch > spec.max_batch:
            break
        feeds = random_feeds(spec, batch=batch)
        taken: list[float] = []
        while len(taken) < LEAST_RUNS or sum(taken) < LEAST_S * 1e3:
            started = perf_counter()
            engine(feeds)
            taken.append((perf_counter() - started) * 1e3)
        medians[batch] = round(float(np.median(taken)), 3)
    return medians
