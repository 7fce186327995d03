"""Graphs in 16 bit: what stays float32, what is cast where, and that they are the same networks."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from rounded import rounded

from compile.engine import Tensors
from compile.gate import checks, require
from compile.precision import lowered, with_outputs
from compile.source import graph_file
from deployments import engine_specs
from deployments.engines import cases
from modiste.spec import EngineSpec, Precision

LOW = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
node = helper.make_node


def graph(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, NDArray[np.generic] | float],
    outputs: Sequence[str] = ("y",),
    x: Sequence[int | str] = ("N", 4, 8, 8),
) -> ModelProto:
    """A network with the input x."""
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs],
        [
            numpy_helper.from_array(np.asarray(value, None if isinstance(value, np.ndarray) else np.float32), name)
            for name, value in constants.items()
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def types(model: ModelProto) -> dict[str, int]:
    """Of all tensors, where they fit each other as strictly as ONNX wants."""
    onnx.checker.check_model(model, full_check=True)
    found = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    inferred = {value.name: value.type.tensor_type.elem_type for value in (*found.value_info, *found.output)}
    return inferred | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def float32_ops(model: ModelProto) -> set[str]:
    of = types(model)
    return {n.op_type for n in model.graph.node if of[n.output[0]] == TensorProto.FLOAT and n.op_type != "Cast"}


def run(model: ModelProto, feeds: Tensors) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(None, dict(feeds))
    return found


WEIGHT = np.random.default_rng(0).normal(size=(4, 4, 3, 3)).astype(np.float32)
CONV = node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1])


def test_inputs_and_outputs_stay_float32_and_each_tensor_is_cast_once() -> None:
    nodes = [CONV, node("Relu", ["x"], ["r"]), node("Add", ["c", "r"], ["y"]), node("Mul", ["y", "c"], ["z"])]
    low = lowered(graph(nodes, {"w": WEIGHT}, ("y", "z")), "float16")
    found = types(low)
    assert (found["y"], found["z"], found["c"]) == (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT16)
    assert Counter(n.op_type for n in low.graph.node) == {"Conv": 1, "Relu": 1, "Add": 1, "Mul": 1, "Cast": 3}
    assert [tensor.data_type for tensor in low.graph.initializer] == [TensorProto.FLOAT16]


def test_demodulation_stays_float32() -> None:
    """As in StyleGAN2: squared styles, their sums by a product of matrices, and the root; convolutions do not."""
    nodes = [
        node("GlobalMaxPool", ["x"], ["p"]),
        node("Flatten", ["p"], ["s"]),
        node("MatMul", ["s", "m"], ["style"]),
        node("Mul", ["style", "style"], ["squares"]),
        node("MatMul", ["squares", "m"], ["sums"]),
        node("Add", ["sums", "epsilon"], ["safe"]),
        node("Sqrt", ["safe"], ["root"]),
        node("Reciprocal", ["root"], ["factors"]),
        node("Reshape", ["factors", "shape"], ["f"]),
        CONV,
        node("Mul", ["c", "f"], ["y"]),
    ]
    constants = {"w": WEIGHT, "m": WEIGHT[:, :, 0, 0], "epsilon": 1e-8, "shape": np.array([-1, 4, 1, 1])}
    found = types(lowered(graph(nodes, constants), "float16"))
    low = {name for name, kind in found.items() if kind == TensorProto.FLOAT16}
    assert {"style", "c"} < low
    assert not low & {"squares", "sums", "safe", "root", "factors"}


def test_sampling_grids_stay_float32_back_to_the_convolution_that_moves_them() -> None:
    nodes = [
        CONV,
        node("Slice", ["c", "start", "end", "axis"], ["two"]),
        node("Transpose", ["two"], ["moves"], perm=[0, 2, 3, 1]),
        node("Add", ["moves", "base"], ["places"]),
        node("GridSample", ["c", "places"], ["sampled"]),
        node("Relu", ["sampled"], ["y"]),
    ]
    base = np.zeros((1, 8, 8, 2), np.float32)
    numbers = {"start": np.array([0]), "end": np.array([2]), "axis": np.array([1])}
    low = lowered(graph(nodes, {"w": WEIGHT, "base": base, **numbers}), "float16")
    assert float32_ops(low) == {"Slice", "Transpose", "Add", "GridSample"}


def test_sizes_are_left_alone() -> None:
    nodes = [
        node("Shape", ["x"], ["whole"]),
        node("Slice", ["whole", "two", "four"], ["size"]),
        node("Cast", ["size"], ["real"], to=TensorProto.FLOAT),
        node("Mul", ["real", "half"], ["less"]),
        node("Floor", ["less"], ["even"]),
        node("Cast", ["even"], ["small"], to=TensorProto.INT64),
        node("Slice", ["whole", "none", "two"], ["front"]),
        node("Concat", ["front", "small"], ["wanted"], axis=0),
        CONV,
        node("Resize", ["c", "", "", "wanted"], ["y"], mode="linear"),
    ]
    numbers = {"none": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    low = lowered(graph(nodes, {"w": WEIGHT, "half": 0.5, **numbers}), "float16")
    found = types(low)
    assert found["less"] == found["even"] == TensorProto.FLOAT
    assert found["small"] == found["wanted"] == TensorProto.INT64
    assert found["c"] == TensorProto.FLOAT16


@pytest.mark.parametrize(("value", "kept"), [(1e5, True), (-1e5, True), (1e-8, True), (0.5, False), (np.inf, False)])
def test_constants_that_float16_cannot_hold_keep_their_operator_float32(value: float, kept: bool) -> None:
    nodes = [CONV, node("Min", ["c", "limit"], ["y"])]
    for precision, expected in (("float16", kept), ("bfloat16", False)):
        low = lowered(graph(nodes, {"w": WEIGHT, "limit": value}), precision)
        if precision == "float16":
            assert float32_ops(low) == ({"Min"} if expected else set())
        held = next(t for t in low.graph.initializer if t.name.startswith("limit"))
        assert (held.data_type == TensorProto.FLOAT) == expected


def test_batch_norms_are_rounded_once() -> None:
    """A variance of 1e-9 and one of 1e6 are fine: their roots are what counts."""
    norm = node("BatchNormalization", ["c", *("gain", "bias", "mean", "variance")], ["y"], epsilon=1e-10)
    constants = {
        **{"w": WEIGHT, "gain": np.array([1e-3, 1e3, 1, 1], np.float32), "bias": np.zeros(4, np.float32)},
        **{"mean": np.zeros(4, np.float32), "variance": np.array([1e-9, 1e6, 1, 1], np.float32)},
    }
    x = np.random.default_rng(1).normal(size=(2, 4, 8, 8)).astype(np.float32)
    (expected,) = run(graph([CONV, norm], constants), {"x": x})
    low = lowered(graph([CONV, norm], constants), "float16")
    assert Counter(n.op_type for n in low.graph.node) == {"Conv": 1, "Mul": 1, "Add": 1, "Cast": 2}
    (found,) = run(low, {"x": x})
    assert np.abs(found - expected).max((0, 2, 3)) == pytest.approx(0, abs=0.2)
    assert np.abs(found - expected).max() / np.abs(expected).max() < 2e-3


def test_constants_as_operators_are_constants() -> None:
    value = numpy_helper.from_array(np.float32(0.5))
    low = lowered(
        graph([node("Constant", [], ["half"], value=value), node("Mul", ["x", "half"], ["y"])], {}), "float16"
    )
    (found,) = run(low, {"x": np.ones((1, 4, 8, 8), np.float32)})
    assert (found == 0.5).all()


def test_loops_are_refused() -> None:
    body = helper.make_graph([], "then", [], [])
    with pytest.raises(ValueError, match="without branches and loops, got If"):
        lowered(graph([node("If", ["x"], ["y"], then_branch=body, else_branch=body)], {}), "float16")


def test_only_what_the_wanted_outputs_need_is_left() -> None:
    model = graph([CONV, node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["z"])], {"w": WEIGHT}, ("c", "y", "z"))
    with_outputs(model, ["z", "y"])
    assert [output.name for output in model.graph.output] == ["z", "y"]
    assert [n.op_type for n in model.graph.node] == ["Relu", "Neg"]
    assert not model.graph.initializer


class Running:
    """Engine over a model in memory."""

    def __init__(self, spec: EngineSpec, model: ModelProto) -> None:
        self.spec = spec
        self._model = model

    def __call__(self, feeds: Tensors) -> Tensors:
        names = [output.name for output in self._model.graph.output]
        return dict(zip(names, run(self._model, feeds), strict=True))

    def close(self) -> None: ...


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "float16") for name in ("bisenet_v2", "dlib_resnet", "pix2pix_garment", "efficientnet_lite0")),
        *((name, "bfloat16") for name in ("bisenet_v2", "dlib_resnet", "pix2pix_garment")),
    ],
)
def test_networks_stay_what_they_are(name: str, precision: Precision) -> None:
    """On real pictures, rounded after every operator, within the gate's limits."""
    spec = engine_specs()[name]
    model = onnx.load(graph_file(spec))
    with_outputs(model, [tensor.name for tensor in spec.outputs])
    low = lowered(model, precision)
    onnx.checker.check_model(low)
    if precision == "float16":
        types(low)
    pictures = [case for case in cases(name)["main"] if case.name != "noise"]
    require(checks(spec, Running(spec, rounded(low)), pictures), f"{name} in {precision}")


@pytest.mark.weights
def test_a_network_in_float16_runs_as_it_is() -> None:
    spec = engine_specs()["dlib_resnet"]
    model = onnx.load(graph_file(spec))
    require(checks(spec, Running(spec, lowered(model, "float16")), cases("dlib_resnet")["main"]), "dlib_resnet")
