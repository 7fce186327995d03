"""Each network's engine against eager torch in float32: milliseconds, ratio, and the error of the engine.

Inputs are seeded noise within the declared range, which decides speed and rounding; whether a lower precision
is good enough for pictures is decided by the parity gate on real ones, not here.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from time import perf_counter

import numpy as np
import openvino as ov

from compile.eager import EagerEngine
from compile.engine import Engine, Tensors
from compile.openvino import open_engine, read_graph
from modiste.spec import EngineSpec, TensorSpec

FREE_SIZE = 128
"""What free sizes other than the batch are set to, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTimes:
    """max_difference and deviation are of the float32 engine's and the eager outputs; `served` is the spec's precision.

    served_error: mean absolute error of the served precision over the standard deviation of the float32 output
    """

    engine: str
    precision: str
    eager_ms: float
    float32_ms: float
    served_ms: float
    ratio: float
    max_difference: float
    served_error: float


def random_feeds(spec: EngineSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Uniform noise within each input's declared range, e.g. "[0, 1]"; standard normal where it has no bounds."""
    generator = np.random.default_rng(seed)

    def one(tensor: TensorSpec) -> np.ndarray:
        shape = [1 if s == "N" else FREE_SIZE if isinstance(s, str) else s for s in tensor.shape]
        bounds = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", tensor.range)]
        if len(bounds) < 2:
            return generator.standard_normal(shape, np.float32)
        return generator.uniform(bounds[0], bounds[1], shape).astype(np.float32)

    return {tensor.name: one(tensor) for tensor in spec.inputs}


def measure(name: str, spec: EngineSpec, *, threads: int, repeats: int = 5) -> EngineTimes:
    """Time eager torch, the float32 engine and the served engine in turns; the median of each counts."""
    feeds = random_feeds(spec)
    free = {s: FREE_SIZE for tensor in spec.inputs for s in tensor.shape if isinstance(s, str) and s != "N"}
    engines: dict[str, Engine] = {
        "eager": EagerEngine(spec, read_graph(ov.Core(), spec, free), threads=threads),
        "float32": open_engine(replace(spec, precision="float32"), threads=threads),
        "served": open_engine(spec, threads=threads),
    }
    outputs = {kind: engine(feeds) for kind, engine in engines.items()}
    times: Mapping[str, list[float]] = {kind: [] for kind in engines}
    for _ in range(repeats):
        for kind, engine in engines.items():
            started = perf_counter()
            engine(feeds)
            times[kind].append((perf_counter() - started) * 1e3)
    median = {kind: float(np.median(t)) for kind, t in times.items()}
    return EngineTimes(
        engine=name,
        precision=spec.precision,
        eager_ms=round(median["eager"], 2),
        float32_ms=round(median["float32"], 2),
        served_ms=round(median["served"], 2),
        ratio=round(median["eager"] / median["served"], 2),
        max_difference=float(f"{_max_difference(outputs['eager'], outputs['float32']):.2e}"),
        served_error=float(f"{relative_error(outputs['served'], outputs['float32']):.2e}"),
    )


def rows(specs: Mapping[str, EngineSpec], *, threads: int, repeats: int) -> list[dict[str, object]]:
    return [asdict(measure(name, spec, threads=threads, repeats=repeats)) for name, spec in specs.items()]


def _max_difference(a: Tensors, b: Tensors) -> float:
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def relative_error(outputs: Tensors, reference: Tensors) -> float:
    """Largest over the outputs: mean absolute error in units of the reference's standard deviation.

    Outputs of a single value (scores) are taken relative to 1.
    """
    errors = []
    for name, expected in reference.items():
        spread = float(expected.std()) if expected.size > 1 else 1.0
        errors.append(float(np.abs(outputs[name] - expected).mean()) / max(spread, 1e-6))
    return max(errors)
