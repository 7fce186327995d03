"""TensorRT's builder without a GPU: TensorRT for RTX has the same parser and builder, and builds for a GPU it is told.

It proves that a network is accepted, with its types and all its profiles; it is not the TensorRT that serves, and says
nothing about speed or outputs.
"""

import tempfile
from pathlib import Path

import tensorrt_rtx_bindings as trt

from compile.plan import plan, typed_graph
from modiste.spec import EngineSpec, Precision

CAPABILITY = "SM89"


def build_ahead(spec: EngineSpec, graph: Path, precision: Precision) -> bytes:
    with tempfile.TemporaryDirectory() as staged:
        typed = typed_graph(spec, graph, precision, Path(staged))
        return plan(trt, spec, typed, precision, capability=CAPABILITY)
