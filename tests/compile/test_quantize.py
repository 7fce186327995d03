"""int8 on small networks whose weights are drawn: what is written, and that what does harm is left in float32."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as of
import pytest
from ahead import build_ahead
from onnx import TensorProto, numpy_helper

from compile.backend import Source
from compile.engine import Case
from compile.gate import EngineRefused
from compile.openvino import compiled
from compile.quantize import Quantizer, harmless, quantized
from compile.reference import ReferenceEngine
from modiste.spec import EngineSpec, TensorSpec

DEPTH, WIDTH = 6, 16
SPEC = EngineSpec(
    weights="face_mesh",
    inputs=(TensorSpec(name="x", shape=("N", 3, "H", "W"), range="[0, 1]", meaning="picture"),),
    outputs=(TensorSpec(name="y", shape=("N", WIDTH, "H", "W"), range="any", meaning="anything"),),
    sizes={"H": 32, "W": 32},
    max_batch=2,
    buckets=({"H": (16, 32), "W": (16, 32)},),
)


def network(path: Path, outlier: int | None = None) -> Path:
    """Convolutions with ReLU between. Into the one that is named goes a channel of 10,000s, which it multiplies by
    nearly nothing: in float32 it is unseen, and it leaves no steps for the others in int8."""
    generator = np.random.default_rng(0)
    nodes, tensors, name = [], [], "x"
    for i in range(DEPTH):
        channels = 3 if i == 0 else WIDTH
        weight = generator.normal(0, (2 / channels / 9) ** 0.5, (WIDTH, channels, 3, 3)).astype(np.float32)
        bias = np.zeros(WIDTH, np.float32)
        if outlier == i + 1:
            bias[0] = 1e4
        if outlier == i:
            weight[:, 0] = 1e-7
        tensors += [numpy_helper.from_array(weight, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
        out = "y" if i == DEPTH - 1 else f"c{i}"
        nodes.append(of.make_node("Conv", [name, f"w{i}", f"b{i}"], [out], pads=[1, 1, 1, 1]))
        if i < DEPTH - 1:
            nodes.append(of.make_node("Relu", [out], [f"r{i}"]))
        name = f"r{i}"
    ends = [of.make_tensor_value_info(t.name, TensorProto.FLOAT, list(t.shape)) for t in (*SPEC.inputs, *SPEC.outputs)]
    graph = of.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    onnx.save(of.make_model(graph, opset_imports=[of.make_opsetid("", 17)], ir_version=9), path)
    return path


def cases(path: Path) -> list[Case]:
    engine = ReferenceEngine(SPEC, Source(graph=lambda: path, module=lambda: None))
    generator = np.random.default_rng(1)
    for batch in (1, 2):
        engine({"x": generator.random((batch, 3, 32, 32), np.float32)})
    return engine.cases


def test_scales_are_symmetric_and_weights_have_one_per_channel(tmp_path: Path) -> None:
    graph = network(tmp_path / "net.onnx")
    quantizer = Quantizer(SPEC, graph, cases(graph), tmp_path, symmetric=True)
    assert len(list(quantizer.work)) == DEPTH
    written = onnx.load(quantizer.write(list(quantizer.work), tmp_path / "int8.onnx")).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in written.initializer}
    steps = [node for node in written.node if node.op_type == "QuantizeLinear"]
    assert steps
    for node in steps:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    weights = [node for node in written.node if node.op_type == "DequantizeLinear" and node.input[0] in constants]
    assert len(weights) == DEPTH, "biases stay float32"
    assert all(constants[node.input[0]].dtype == np.int8 for node in weights)
    assert all(constants[node.input[1]].shape == (WIDTH,) for node in weights)


def test_tensorrt_takes_symmetric_scales_and_no_others(tmp_path: Path) -> None:
    graph = network(tmp_path / "net.onnx")
    for symmetric in (True, False):
        quantizer = Quantizer(SPEC, graph, cases(graph), tmp_path, symmetric=symmetric)
        written = quantizer.write(quantizer.work, tmp_path / f"{symmetric}.onnx")
        if symmetric:
            assert len(build_ahead(SPEC, written, "int8")) > 1000
        else:
            with pytest.raises(RuntimeError, match="zero point"):
                build_ahead(SPEC, written, "int8")


@pytest.mark.parametrize("symmetric", [True, False])
def test_openvino_runs_it_within_the_limits(tmp_path: Path, symmetric: bool) -> None:
    graph = network(tmp_path / "net.onnx")
    known = cases(graph)
    loose = replace(SPEC, tolerance=0.1)
    assert quantized(loose, graph, known, tmp_path / "int8.onnx", symmetric=symmetric) == 1
    engine = compiled(SPEC, tmp_path / "int8.onnx", "int8", 1)
    got, expected = engine(known[0].feeds)["y"], known[0].expected["y"]
    assert 1e-4 < np.abs(got - expected).mean() / expected.std() < 0.1


def test_a_layer_that_does_harm_stays_float32(tmp_path: Path) -> None:
    graph = network(tmp_path / "net.onnx", outlier=3)
    loose = replace(SPEC, tolerance=0.1)
    quantizer = Quantizer(loose, graph, cases(graph), tmp_path, symmetric=True)
    assert quantizer.harm(list(quantizer.work)) > 1
    kept = set(quantizer.work) - set(harmless(quantizer))
    assert list(quantizer.work)[3] in kept
    assert len(kept) <= 2


def test_multiplications_are_counted(tmp_path: Path) -> None:
    graph = network(tmp_path / "net.onnx")
    quantizer = Quantizer(SPEC, graph, cases(graph), tmp_path, symmetric=True)
    assert list(quantizer.work.values()) == [32 * 32 * WIDTH * channels * 9 for channels in (3, *[WIDTH] * 5)]


def test_where_nothing_bears_it_int8_is_refused(tmp_path: Path) -> None:
    graph = network(tmp_path / "net.onnx")
    strict = replace(SPEC, tolerance=1e-5)
    with pytest.raises(EngineRefused, match="int8"):
        quantized(strict, graph, cases(graph), tmp_path / "int8.onnx", symmetric=True)
    assert not (tmp_path / "int8.onnx").exists()
