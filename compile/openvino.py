"""OpenVINO on CPUs: graph file (ONNX, IR or tflite) -> compiled blob -> engine.

A batch runs as singles: on a CPU the cores are already busy with one picture, and fixed shapes let OpenVINO plan
memory once.
"""

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from compile.cache import cached_blob, engine_key
from compile.engine import Tensors, check_feeds
from compile.source import graph_file
from modiste.settings import settings
from modiste.spec import EngineSpec, Precision

_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOEngine:
    """Engine over one compiled model and one infer request."""

    def __init__(self, spec: EngineSpec, compiled: ov.CompiledModel) -> None:
        self.spec = spec
        self._request = compiled.create_infer_request()
        self._compiled = compiled

    def __call__(self, feeds: Tensors) -> Tensors:
        batch = check_feeds(self.spec, feeds)
        rows: list[list[np.ndarray]] = [[] for _ in self.spec.outputs]
        for i in range(batch):
            single = [np.ascontiguousarray(feeds[tensor.name][i : i + 1]) for tensor in self.spec.inputs]
            self._request.infer(single, share_inputs=True)
            for row, index in zip(rows, range(len(self.spec.outputs)), strict=True):
                row.append(np.array(self._request.get_output_tensor(index).data))
        return {
            tensor.name: row[0] if batch == 1 else np.concatenate(row)
            for tensor, row in zip(self.spec.outputs, rows, strict=True)
        }

    def close(self) -> None:
        del self._request, self._compiled


@cache
def has_matrix_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in units of their own (AMX)."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "amx_bf16" in cpu.read_text()


def served_precision(spec: EngineSpec) -> Precision:
    """bfloat16 where the spec allows it and the CPU has matrix units; without them it takes longer than float32."""
    return spec.precision if has_matrix_units() else "float32"


def compile_options(precision: Precision, threads: int) -> dict[str, Any]:
    """What OpenVINO is told of every engine."""
    return {
        "INFERENCE_PRECISION_HINT": _PRECISION[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # On by default, it ties the one thread of every replica to the same first core, and the others stay idle.
        "ENABLE_CPU_PINNING": False,
    }


def open_engine(spec: EngineSpec, *, threads: int | None = None, precision: Precision | None = None) -> OpenVINOEngine:
    """Load the engine from the cache, or build it.

    threads:   CPU threads of the engine; the setting `threads` where None
    precision: what to compute in; `served_precision` where None
    """
    core = ov.Core()
    options = compile_options(precision or served_precision(spec), threads or settings().threads)
    device = core.get_property("CPU", "FULL_DEVICE_NAME")
    key = engine_key(spec, runtime=f"openvino-{ov.get_version()}", device=device, options=options)

    def build() -> bytes:
        exported: io.BytesIO = core.compile_model(read_graph(core, spec), "CPU", options).export_model()
        return exported.getvalue()

    def load(blob: bytes) -> ov.CompiledModel:
        return core.import_model(io.BytesIO(blob), "CPU", options)

    return OpenVINOEngine(spec, cached_blob(key, build, load))


def read_graph(
    core: ov.Core, spec: EngineSpec, sizes: Mapping[str, int] | None = None, path: Path | None = None
) -> ov.Model:
    """Read the weights' graph with inputs and outputs in the spec's order and a batch of 1.

    sizes: values for free sizes other than the batch; those not named stay free
    path:  of another graph with the spec's tensors
    """
    graph = core.read_model(path or graph_file(spec))
    fixed = {"N": 1, **(sizes or {})}
    graph.reshape(
        {
            graph.input(tensor.name): ov.PartialShape(
                [fixed.get(s, -1) if isinstance(s, str) else s for s in tensor.shape]
            )
            for tensor in spec.inputs
        }
    )
    parameters = [graph.input(tensor.name).get_node() for tensor in spec.inputs]
    results = [graph.output(tensor.name).get_node() for tensor in spec.outputs]
    return ov.Model(results, parameters, spec.weights)
