"""Engines that run on torch, on the CPU: they give what ONNX Runtime gives, and what the published networks give."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reduced import REDUCED, small_part, small_spec

from compile.backend import backend
from compile.engine import Engine
from compile.feeds import random_feeds
from compile.gate import checks, relative_error
from compile.source import graph_file
from deployments import EDITIONS, engine_name, model_class
from deployments.engines import cases, source
from modiste.spec import EngineSpec, Precision, Target

pytestmark = pytest.mark.torch

DEFAULT = [
    pytest.param(model, name, id=engine_name(model, name))
    for model in dict.fromkeys(EDITIONS["default"].values())
    for name in model_class(model).spec.engines
]
SMALL = [pytest.param(model, name, id=engine_name(model, name)) for model, of in REDUCED.items() for name in of]
ROUNDING: dict[Precision, float] = {"float16": 0.02, "bfloat16": 0.12}
"""Mean error over the standard deviation, of untrained networks on noise."""
BFLOAT16 = ("gpen", "copart", "hrviton_gen", "fashion_clip")
"""Of each kind of network one: the rules are the same in both."""


def engine(spec: EngineSpec, module: Any, precision: Precision) -> Engine:
    from compile.cuda import on_cpu

    return on_cpu(spec, module, precision)


@pytest.mark.parametrize("target", ["cuda", "torch-tensorrt"])
def test_without_a_gpu_the_targets_refuse(target: Target) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="expected an NVIDIA GPU"):
        backend(target).runtime("float16")


def test_a_precision_that_torch_does_not_run_is_refused() -> None:
    spec = spec_of("face_mesh", "main")
    with pytest.raises(RuntimeError, match="float32, float16 or bfloat16, got int8"):
        engine(spec, object(), "int8")


@pytest.mark.parametrize(
    ("model", "name", "bucket"),
    [
        ("stylegan2_rosinality", "mapping", {}),
        ("copart", "exchange", {}),
        ("gpen", "main", {}),
        ("lightweight_openpose", "main", {"W": (64, 128)}),
    ],
)
def test_torch_export_keeps_sizes_free_and_the_islands(model: str, name: str, bucket: dict[str, Any]) -> None:
    import torch

    from compile.cuda import prepared
    from compile.torch_tensorrt import exported

    served, cpu = spec_of(model, name), torch.device("cpu")
    spec = replace(small_spec(model, name, served), max_batch=8, buckets=(bucket,))
    program = exported(spec, prepared(small_part(model, name, served), "float16", cpu), cpu)
    types = {node.meta["val"].dtype for node in program.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)}
    assert {torch.float16, torch.float32} <= types
    feeds = random_feeds(replace(spec, sizes={size: most for size, (_, most) in bucket.items()}), batch=3)
    given = program.module()(*(torch.from_numpy(feeds[tensor.name]) for tensor in spec.inputs))
    expected = engine(spec, small_part(model, name, served), "float32")(feeds)
    for tensor, output in zip(spec.outputs, given, strict=True):
        assert output.dtype == torch.float32
        assert relative_error(output.numpy(), expected[tensor.name]) <= ROUNDING["float16"]


def spec_of(model: str, name: str) -> EngineSpec:
    return model_class(model).spec.engines[name]


@pytest.mark.weights
@pytest.mark.parametrize(("model", "name"), DEFAULT)
def test_a_graph_in_torch_gives_what_onnx_runtime_gives(model: str, name: str) -> None:
    from compile.eager import graph_module

    spec = spec_of(model, name)
    opened = engine(spec, graph_module(spec, graph_file(spec)), "float32")
    golden = next(case for case in cases(model)[name] if case.name != "noise")
    found = opened(golden.feeds)
    for tensor in spec.outputs:
        expected = golden.expected[tensor.name]
        assert np.abs(found[tensor.name] - expected).max() <= 1e-4 * np.abs(expected).max(), tensor.name


@pytest.mark.weights
@pytest.mark.parametrize(("model", "name"), DEFAULT)
def test_the_precision_for_gpus_passes_the_gate(model: str, name: str) -> None:
    """On one picture; the figures that were written are of all, and of noise."""
    spec = spec_of(model, name)
    opened = engine(spec, source(spec).module(), spec.gpu_precision)
    golden = [case for case in cases(model)[name] if case.name != "noise"]
    for check in checks(spec, opened, golden[:1]):
        assert check.passed, check


@pytest.mark.parametrize(("model", "name"), SMALL)
def test_published_networks_round_and_no_more(model: str, name: str) -> None:
    """Three at once: batches over the engine's most come in parts, of which the last is smaller."""
    served = spec_of(model, name)
    spec = small_spec(model, name, served)
    feeds = random_feeds(spec, batch=3)
    expected = engine(spec, small_part(model, name, served), "float32")(feeds)
    for precision, limit in ROUNDING.items():
        if precision == "float16" or model in BFLOAT16:
            found = engine(spec, small_part(model, name, served), precision)(feeds)
            for tensor in spec.outputs:
                apart = relative_error(found[tensor.name], expected[tensor.name])
                assert apart <= limit, (precision, tensor.name, apart)


def run_without_numbers(spec: EngineSpec, module: Any) -> None:
    """On torch's meta device: what asks a tensor for its numbers, or brings one that stayed on the CPU, fails there as
    it would in the capture of a CUDA graph."""
    import torch

    from compile.cuda import laid_out, prepared

    meta = torch.device("meta")
    feeds = random_feeds(spec)
    with torch.inference_mode():
        net = laid_out(prepared(module, "float16", meta), "float16")
        net(*(torch.from_numpy(feeds[x.name]).to(meta) for x in spec.inputs))


@pytest.mark.weights
@pytest.mark.parametrize(("model", "name"), DEFAULT)
def test_graphs_can_be_captured(model: str, name: str) -> None:
    spec = spec_of(model, name)
    run_without_numbers(spec, source(spec).module())


@pytest.mark.parametrize(("model", "name"), SMALL)
def test_published_networks_can_be_captured(model: str, name: str) -> None:
    served = spec_of(model, name)
    run_without_numbers(small_spec(model, name, served), small_part(model, name, served))


def test_what_waits_for_the_gpu_is_noticed() -> None:
    import torch

    class Waits(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * float(x.max())

    with pytest.raises((RuntimeError, NotImplementedError)):
        run_without_numbers(spec_of("face_mesh", "main"), Waits())


def test_specs_hold_the_precision_that_was_measured() -> None:
    from deployments.gpu_precision import FIGURES

    figures = json.loads(FIGURES.read_text())
    served = {
        engine_name(model, name): spec.gpu_precision
        for model in dict.fromkeys(EDITIONS["default"].values())
        for name, spec in model_class(model).spec.engines.items()
    }
    assert served == {name: row["chosen"] for name, row in figures.items()}
