"""Each network's engine against eager torch in float32: milliseconds, ratio, largest difference.

Inputs are seeded noise within the declared range, which decides speed and rounding; whether a lower precision
is good enough for pictures is decided by the parity gate on real ones, not here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
import openvino as ov

from compile.eager import EagerEngine
from compile.engine import Engine, Tensors
from compile.feeds import free_size, random_feeds
from compile.openvino import compiled, has_matrix_units, read_graph
from compile.source import graph_file
from modiste.spec import EngineSpec


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


def measure(name: str, spec: EngineSpec, *, threads: int, repeats: int = 5) -> EngineTimes:
    """Time eager torch and the engine in each of its precisions in turns; the median of each counts."""
    feeds = random_feeds(spec)
    free = {s: free_size(spec, s) for tensor in spec.inputs for s in tensor.shape if isinstance(s, str) and s != "N"}
    graph = graph_file(spec)
    engines: dict[str, Engine] = {
        "eager": EagerEngine(spec, read_graph(ov.Core(), spec, graph, free), threads=threads),
        "float32": compiled(spec, graph, "float32", threads),
    }
    if spec.precision != "float32":
        engines[spec.precision] = compiled(spec, graph, spec.precision, threads)
    served = spec.precision if has_matrix_units() else "float32"
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
        served=served,
        eager_ms=median["eager"],
        float32_ms=median["float32"],
        bfloat16_ms=median.get("bfloat16"),
        ratio=round(median["eager"] / median[served], 2),
        max_difference=float(f"{_max_difference(outputs['eager'], outputs['float32']):.2e}"),
    )


def rows(specs: Mapping[str, EngineSpec], *, threads: int, repeats: int) -> list[dict[str, object]]:
    return [asdict(measure(name, spec, threads=threads, repeats=repeats)) for name, spec in specs.items()]


def _max_difference(a: Tensors, b: Tensors) -> float:
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)
