"""TensorRT: every network of the default edition is accepted, without a GPU; where there is one, engines run."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import ahead
import numpy as np
import onnx
import pytest
import tensorrt_rtx_bindings as trt
from ahead import build_ahead
from cuda.bindings import runtime as cuda
from onnx import TensorProto, helper

from compile import device, plan, tensorrt
from compile.engine import Case
from compile.feeds import random_feeds
from compile.gate import checks, relative_error, require
from compile.quantize import Quantizer
from compile.source import graph_file
from deployments import engine_specs
from deployments.engines import cases, open_engine_of
from modiste.spec import EngineSpec, Precision, TensorSpec

SPEC = EngineSpec(
    weights="centerface",
    inputs=(TensorSpec(name="x", shape=("N", 3, "H", "W"), range="[0, 1]", meaning="anything"),),
    outputs=(TensorSpec(name="y", shape=("N", 1, "H", "W"), range="any", meaning="anything"),),
    max_batch=8,
    sizes={"H": 100, "W": 900},
    buckets=({"H": (32, 320), "W": (32, 320)}, {"H": (32, 640), "W": (32, 640)}),
)
REFUSED: dict[tuple[str, Precision], str] = {}
"""Engine and precision -> why TensorRT takes no such network; a row that it takes after all fails."""
OBJECTS = {
    **{"trt": trt, "builder": trt.Builder, "network": trt.INetworkDefinition, "parser": trt.OnnxParser},
    **{"config": trt.IBuilderConfig, "optimisation": trt.IOptimizationProfile, "measured": trt.ITimingCache},
    **{"runtime": trt.Runtime, "engine": trt.ICudaEngine, "context": trt.IExecutionContext, "layer": trt.ILayer},
    "error": trt.ParserError,
}
"""What the variables and members with these names are."""
GONE = {
    "create_execution_context_without_device_memory": "until 9",
    "device_memory_size": "until 10.0",
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": "until 10, for networks without strong types",
    "precision": "of layers, until 10, for networks without strong types",
    "set_output_type": "of layers, until 10, for networks without strong types",
}
"""Names that only older versions of TensorRT have than can be installed here."""


def precisions(spec: EngineSpec) -> list[Precision]:
    return list(dict.fromkeys(("float32", "float16", spec.gpu_precision)))


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "precision"), [(name, kind) for name, spec in engine_specs().items() for kind in precisions(spec)]
)
def test_every_network_is_accepted(name: str, precision: Precision) -> None:
    spec = engine_specs()[name]
    if (name, precision) in REFUSED:
        with pytest.raises(RuntimeError):
            build_ahead(spec, graph_file(spec), precision)
    else:
        assert len(build_ahead(spec, graph_file(spec), precision)) > 1000


@pytest.mark.weights
def test_layers_in_int8_are_accepted(tmp_path: Path) -> None:
    spec = engine_specs()["blazeface"]
    calibration = [Case(name="noise", feeds=random_feeds(spec, seed=seed), expected={}) for seed in range(2)]
    quantizer = Quantizer(spec, graph_file(spec), calibration, tmp_path, symmetric=True)
    layers = [node.name for node in onnx.load(graph_file(spec)).graph.node if node.op_type == "Conv"]
    assert len(build_ahead(spec, quantizer.write(layers, tmp_path / "int8.onnx"), "int8")) > 1000


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # TensorRT for RTX measures elsewhere
def test_what_was_measured_of_kernels_is_kept_and_may_be_damaged(tmp_path: Path) -> None:
    spec, timings = engine_specs()["blazeface"], tmp_path / "some" / "gpu.bin"
    graph = plan.typed_graph(spec, graph_file(spec), "float16", tmp_path)

    def built() -> bytes:
        return plan.plan(trt, spec, graph, "float16", workspace=2**28, timings=timings, capability=ahead.CAPABILITY)

    assert built()
    kept = timings.read_bytes()
    timings.write_bytes(b"damaged" * 9)
    assert built()
    assert len(timings.read_bytes()) == len(kept)


def test_profiles_hold_the_least_the_usual_and_the_largest_shape() -> None:
    (x,) = SPEC.inputs
    assert [plan.profile_shapes(SPEC, x, bucket) for bucket in SPEC.buckets] == [
        ((1, 3, 32, 32), (4, 3, 100, 320), (8, 3, 320, 320)),
        ((1, 3, 32, 32), (4, 3, 100, 640), (8, 3, 640, 640)),
    ]
    with pytest.raises(ValueError, match=r"none for \['W'\]"):
        plan.profile_shapes(SPEC, x, {"H": (32, 64)})


@pytest.mark.parametrize(("size", "profile"), [((32, 320), 0), ((32, 321), 1), ((640, 640), 1)])
def test_the_first_bucket_that_holds_a_size_is_taken(size: tuple[int, int], profile: int) -> None:
    assert tensorrt.bucket_of(SPEC, {"x": np.zeros((1, 3, *size), np.float32)}) == profile


def test_sizes_outside_all_buckets_are_named() -> None:
    with pytest.raises(ValueError, match=r"'H': \(32, 640\).*got \{'H': 31, 'W': 640\}"):
        tensorrt.bucket_of(SPEC, {"x": np.zeros((1, 3, 31, 640), np.float32)})
    two = replace(SPEC, inputs=(*SPEC.inputs, replace(SPEC.inputs[0], name="z")))
    feeds = {"x": np.zeros((1, 3, 32, 32), np.float32), "z": np.zeros((1, 3, 64, 32), np.float32)}
    with pytest.raises(ValueError, match="expected H = 32 as in other inputs, got 64"):
        tensorrt.bucket_of(two, feeds)


def test_what_the_parser_refuses_is_listed(tmp_path: Path) -> None:
    shape = ["N", 3, "H", "W"]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    nodes = [helper.make_node("Unheard", ["x"], ["y"], name="odd", domain="of.nobody")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("of.nobody", 1)]
    graph = helper.make_graph(nodes, "odd", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "odd.onnx")
    with pytest.raises(RuntimeError, match=r"refused centerface.*Unheard"):
        build_ahead(SPEC, tmp_path / "odd.onnx", "float32")


def test_every_name_of_tensorrt_exists() -> None:
    """Lines that only a GPU reaches must not be misspelt."""
    used = {
        (root.removeprefix("self.").removeprefix("_"), *path)
        for module in (plan, tensorrt)
        for root, *path in names_of(module)
    }
    asked = [(OBJECTS[root], path) for root, *path in used if root in OBJECTS]
    assert len(asked) > 50
    missing = {".".join(path) for found, path in asked if not has(found, path)}
    assert missing == set(GONE)


def test_every_name_of_cuda_exists() -> None:
    called = [
        node.args[0].value
        for node in ast.walk(ast.parse(inspect.getsource(device)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "call" and isinstance(node.args[0], ast.Constant)
    ]
    assert len(called) > 10
    assert all(callable(getattr(cuda, str(name))) for name in called)
    constants = [path for root, *path in names_of(device) if root in ("cuda", "_cuda()")]
    assert len(constants) > 5
    assert all(has(cuda, path) for path in constants)


def test_an_error_of_cuda_is_told_with_its_call_and_code() -> None:
    with pytest.raises(RuntimeError, match=r"cudaStreamSynchronize: cudaError\w+ \(\d+\)"):
        device.call("cudaStreamSynchronize", 12345)


ON_A_GPU = ("blazeface", "bisenet_v2", "dlib_resnet", "pix2pix_garment")


@pytest.mark.gpu
@pytest.mark.weights
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", ON_A_GPU)
def test_an_engine_gives_what_the_reference_gives(name: str, precision: Precision) -> None:
    """At once, as a CUDA graph, and in a batch; and nothing of any other shape."""
    pytest.importorskip("tensorrt")
    spec, judged_by = engine_specs()[name], cases(name)["main"]
    engine = open_engine_of(name, "main", target="tensorrt", precision=precision)
    for _ in range(3):
        require(checks(spec, engine, judged_by), name)
    first, replayed = (engine(judged_by[0].feeds) for _ in range(2))
    assert all(np.array_equal(first[key], replayed[key]) for key in first)
    batch = random_feeds(spec, batch=spec.max_batch + 3)
    together = engine(batch)
    for row in range(0, spec.max_batch + 3, 5):
        alone = engine({key: fed[row : row + 1] for key, fed in batch.items()})
        for key, expected in alone.items():
            assert relative_error(together[key][row : row + 1], expected) < 0.01
    with pytest.raises(ValueError, match="expected"):
        engine({key: fed[:, :-1] for key, fed in batch.items()})
    if spec.buckets != ({},):
        with pytest.raises(ValueError, match="expected sizes within"):
            engine({key: np.repeat(fed, 40, axis=-1) for key, fed in batch.items()})
    engine.close()


@pytest.mark.gpu
@pytest.mark.weights
def test_a_closed_engine_leaves_no_memory_behind() -> None:
    pytest.importorskip("tensorrt")

    def once() -> float:
        engine = open_engine_of("blazeface", "main", target="tensorrt", precision="float32")
        for batch in (1, 1, 2, 2, 3):
            engine(random_feeds(engine.spec, batch=batch))
        engine.close()
        return tensorrt.used_mb()

    once()
    assert once() == pytest.approx(once(), abs=1)


@pytest.mark.gpu
@pytest.mark.weights
def test_a_plan_that_is_none_is_refused() -> None:
    pytest.importorskip("tensorrt")
    with pytest.raises(RuntimeError, match="takes no such plan"):
        tensorrt.TensorRTEngine(engine_specs()["blazeface"], b"no plan" * 100)


def names_of(module: ModuleType) -> Iterator[list[str]]:
    """Attributes as written, what they are of first, and those that are asked for by `hasattr` and `getattr`."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        path: list[str] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            base, name = node.args[:2]
            if not isinstance(name, ast.Constant):
                continue
            path.append(str(name.value))
        else:
            base = node
        while isinstance(base, ast.Attribute) and ast.unparse(base).removeprefix("self._") not in OBJECTS:
            path.insert(0, base.attr)
            base = base.value
        if path:
            yield [ast.unparse(base), *path]


def has(found: Any, path: list[str]) -> bool:
    for name in path:
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True
