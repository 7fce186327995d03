"""OpenVINO on CPUs: ONNX -> compiled blob -> engine.

A batch runs as singles: on a CPU the cores are already busy with one picture, and fixed shapes let OpenVINO plan
memory once.
"""

import io
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from compile.backend import Source
from compile.engine import Case, Tensors, check_feeds
from modiste.spec import EngineSpec, Precision

_PRECISION = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""Layers that the graph has in int8 are computed so; this is for the others."""

BATCHED = False


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


def runtime(precision: Precision) -> Mapping[str, str]:
    """But for the threads, which are a model's own."""
    return {
        "openvino": ov.get_version(),
        "device": ov.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        "options": json.dumps(compile_options(precision, 1), sort_keys=True),
    }


def build(spec: EngineSpec, source: Source, precision: Precision, cases: Sequence[Case]) -> bytes:
    options = compile_options(precision, source.threads)
    graph = read_graph(ov.Core(), spec, source.graph())
    exported: io.BytesIO = ov.Core().compile_model(graph, "CPU", options).export_model()
    return exported.getvalue()


def load(spec: EngineSpec, source: Source, blob: bytes, precision: Precision) -> OpenVINOEngine:
    options = compile_options(precision, source.threads)
    return OpenVINOEngine(spec, ov.Core().import_model(io.BytesIO(blob), "CPU", options))


def used_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def compiled(
    spec: EngineSpec, path: Path, precision: Precision, threads: int, sizes: Mapping[str, int] | None = None
) -> OpenVINOEngine:
    """An engine to measure or to test with: neither cached nor judged. sizes: as for `read_graph`"""
    options = compile_options(precision, threads)
    return OpenVINOEngine(spec, ov.Core().compile_model(read_graph(ov.Core(), spec, path, sizes), "CPU", options))


def read_graph(core: ov.Core, spec: EngineSpec, path: Path, sizes: Mapping[str, int] | None = None) -> ov.Model:
    """Read a graph with inputs and outputs in the spec's order and a batch of 1.

    sizes: values for free sizes other than the batch; those not named stay free
    """
    graph = core.read_model(path)
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
