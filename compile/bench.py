"""Each network's engine against eager torch in float32: milliseconds, ratio, largest difference.

Inputs are seeded noise within the declared range, which decides speed and rounding; whether a lower precision
is good enough for pictures is decided by the parity gate on real ones, not here.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
import openvino as ov

from compile.eager import EagerEngine
from compile.engine import Engine, Tensors
from compile.openvino import open_engine, read_graph, served_precision
from modiste.spec import EngineSpec, TensorSpec

FREE_SIZE = 128
"""What free sizes are set to whose usual value the spec does not say, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTimes:
    """Milliseconds per inference; bfloat16_ms is None where the spec does not allow it.

    ratio:          eager over the precision that this CPU is served in
    max_difference: between the float32 engine's and the eager outputs
    """

    engine: str
    served: str
    eager_ms: float
    float32_ms: float
    bfloat16_ms: float | None
    ratio: float
    max_difference: float


def free_size(spec: EngineSpec, size: str) -> int:
    return 1 if size == "N" else spec.sizes.get(size, FREE_SIZE)


def random_feeds(spec: EngineSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Uniform noise within each input's declared range, e.g. "[0, 1]"; standard normal where it has no bounds, and
    zeros and ones where whole numbers have none."""
    generator = np.random.default_rng(seed)

    def one(tensor: TensorSpec) -> np.ndarray:
        shape = [free_size(spec, s) if isinstance(s, str) else s for s in tensor.shape]
        bounds = re.search(r"\[(-?[\d.]+), (-?[\d.]+)\]", tensor.range)
        low, high = (float(bounds[1]), float(bounds[2])) if bounds else (0.0, 1.0)
        if tensor.dtype != "float32":
            return generator.integers(int(low), int(high) + 1, shape).astype(tensor.dtype)
        drawn = generator.uniform(low, high, shape) if bounds else generator.standard_normal(shape)
        return drawn.astype(np.float32)

    return {tensor.name: one(tensor) for tensor in spec.inputs}


def measure(name: str, spec: EngineSpec, *, threads: int, repeats: int = 5) -> EngineTimes:
    """Time eager torch and the engine in each of its precisions in turns; the median of each counts."""
    feeds = random_feeds(spec)
    free = {s: free_size(spec, s) for tensor in spec.inputs for s in tensor.shape if isinstance(s, str) and s != "N"}
    engines: dict[str, Engine] = {
        "eager": EagerEngine(spec, read_graph(ov.Core(), spec, free), threads=threads),
        "float32": open_engine(spec, threads=threads, precision="float32"),
    }
    if spec.precision != "float32":
        engines[spec.precision] = open_engine(spec, threads=threads, precision=spec.precision)
    outputs = {kind: engine(feeds) for kind, engine in engines.items()}
    times: Mapping[str, list[float]] = {kind: [] for kind in engines}
    for _ in range(repeats):
        for kind, engine in engines.items():
            started = perf_counter()
            engine(feeds)
            times[kind].append((perf_counter() - started) * 1e3)
    median = {kind: round(float(np.median(t)), 2) for kind, t in times.items()}
    return EngineTimes(
        engine=name,
        served=served_precision(spec),
        eager_ms=median["eager"],
        float32_ms=median["float32"],
        bfloat16_ms=median.get("bfloat16"),
        ratio=round(median["eager"] / median[served_precision(spec)], 2),
        max_difference=float(f"{_max_difference(outputs['eager'], outputs['float32']):.2e}"),
    )


def rows(specs: Mapping[str, EngineSpec], *, threads: int, repeats: int) -> list[dict[str, object]]:
    return [asdict(measure(name, spec, threads=threads, repeats=repeats)) for name, spec in specs.items()]


def _max_difference(a: Tensors, b: Tensors) -> float:
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)
