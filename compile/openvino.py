"""OpenVINO on CPUs: graph file (ONNX, IR or tflite) -> compiled blob -> engine.

Precision is explicit. A batch runs as singles: on a CPU the cores are already busy with one picture, and
fixed shapes let OpenVINO plan memory once.
"""

from pathlib import Path

import numpy as np
import openvino as ov

from compile.cache import cached_blob, engine_key
from compile.engine import Tensors, check_feeds
from modiste.settings import settings
from modiste.spec import EngineSpec
from weights.store import artefact

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


def open_engine(spec: EngineSpec, *, threads: int | None = None) -> OpenVINOEngine:
    """Load the engine from the cache, or build it.

    threads: CPU threads of the engine; the setting `threads` where None
    """
    core = ov.Core()
    options = {
        "INFERENCE_PRECISION_HINT": _PRECISION[spec.precision],
        "INFERENCE_NUM_THREADS": threads or settings().threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    key = engine_key(spec, runtime=f"openvino-{ov.get_version()}", device=core.get_property("CPU", "FULL_DEVICE_NAME"),
                     options=options)  # fmt: skip

    def build() -> bytes:
        return bytes(core.compile_model(_fixed(core, artefact(spec.weights, spec.part), spec), "CPU", options).export_model())

    def load(blob: bytes) -> ov.CompiledModel:
        return core.import_model(blob, "CPU", options)

    return OpenVINOEngine(spec, cached_blob(key, build, load))


def _fixed(core: ov.Core, path: Path, spec: EngineSpec) -> ov.Model:
    """Read the graph, order inputs and outputs as the spec does, and fix batch 1; other free sizes stay free."""
    graph = core.read_model(path)
    shapes = {
        graph.input(tensor.name): ov.PartialShape([1, *(-1 if isinstance(s, str) else s for s in tensor.shape[1:])])
        for tensor in spec.inputs
    }
    graph.reshape(shapes)
    ordered_inputs = [graph.input(tensor.name).get_node() for tensor in spec.inputs]
    outputs = [graph.output(tensor.name) for tensor in spec.outputs]
    return ov.Model(outputs, ordered_inputs, spec.weights)
