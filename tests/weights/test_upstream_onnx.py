"""The converter of upstream's ONNX files on small networks written here."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from modiste.errors import WeightsUnavailable
from weights.convert.upstream_onnx import convert

Array = NDArray[np.float32]
RNG = np.random.default_rng(5)


def written(folder: Path, nodes: list[Any], out: tuple[int, ...]) -> dict[str, Path]:
    """From "in" [1, 3, 8, 12] to "out" in opset 11, with a kernel [4, 3, 3, 3] that is listed as an input too."""
    kernel = numpy_helper.from_array(RNG.normal(size=(4, 3, 3, 3)).astype(np.float32), "kernel")
    shapes = {"in": (1, 3, 8, 12), "kernel": (4, 3, 3, 3), "out": out}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "net", [values["in"], values["kernel"]], [values["out"]], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=4)
    onnx.save(model, str(folder / "net.onnx"))
    return {"net.onnx": folder / "net.onnx"}


def seen(name: str = "seen") -> list[Any]:
    convolution = helper.make_node(
        "Conv", ["in", "kernel"], ["made"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2] * 2
    )
    return [convolution, helper.make_node("Relu", ["made"], [name])]


def run(file: Path, x: Array) -> Array:
    (found,) = onnxruntime.InferenceSession(file).run(["out"], {"in": x})
    return np.asarray(found)


def test_convolutions_become_free_in_all_sizes(tmp_path: Path) -> None:
    files, out = written(tmp_path, seen("out"), (1, 4, 4, 6)), tmp_path / "made.onnx"
    convert(files, out)
    model = onnx.load(out)
    assert [used.version for used in model.opset_import] == [17]
    assert [value.name for value in model.graph.input] == ["in"]
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in sizes] == ["N", 3, "H", "W"]
    x = RNG.normal(size=(3, 3, 8, 12)).astype(np.float32)
    expected = np.concatenate([run(files["net.onnx"], one[None]) for one in x])
    np.testing.assert_allclose(run(out, x), expected, atol=1e-5)
    assert run(out, np.zeros((2, 3, 20, 32), np.float32)).shape == (2, 4, 10, 16)


def test_a_resize_to_another_tensors_size_becomes_a_constant_one(tmp_path: Path) -> None:
    """As exporters write it: batch and channels of the one, height and width of the other."""
    nodes = [
        *seen(),
        helper.make_node("Shape", ["seen"], ["of"]),
        helper.make_node("Shape", ["in"], ["wide"]),
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype)))
            for name, value, dtype in (
                *(("zero", [0], np.int64), ("two", [2], np.int64)),
                *(("four", [4], np.int64), ("none", [], np.float32)),
            )
        ),
        helper.make_node("Slice", ["of", "zero", "two"], ["front"]),
        helper.make_node("Slice", ["wide", "two", "four"], ["back"]),
        helper.make_node("Concat", ["front", "back"], ["sizes"], axis=0),
        helper.make_node("Resize", ["seen", "none", "none", "sizes"], ["out"], mode="linear"),
    ]
    files, out = written(tmp_path, nodes, (1, 4, 8, 12)), tmp_path / "made.onnx"
    convert(files, out)
    graph = onnx.load(out).graph
    assert [node.op_type for node in graph.node] == ["Conv", "Relu", "Resize"]
    sizes = graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in sizes] == ["N", 3, 8, 12]
    x = RNG.normal(size=(3, 3, 8, 12)).astype(np.float32)
    expected = np.concatenate([run(files["net.onnx"], one[None]) for one in x])
    np.testing.assert_allclose(run(out, x), expected, atol=1e-6)


def test_what_may_fix_the_batch_is_named(tmp_path: Path) -> None:
    flat = numpy_helper.from_array(np.array([4, 24], np.int64))
    nodes = [
        *seen(),
        helper.make_node("Constant", [], ["shape"], value=flat),
        helper.make_node("Reshape", ["seen", "shape"], ["out"]),
    ]
    with pytest.raises(WeightsUnavailable, match="'Reshape'"):
        convert(written(tmp_path, nodes, (4, 24)), tmp_path / "made.onnx")
    assert not (tmp_path / "made.onnx").exists()
