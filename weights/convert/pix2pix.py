"""The sketch network as an ONNX graph, written node by node from its safetensors: no torch needed.

The layers are those of `deployments/pix2pix_garment/network.py`; sizes are read off the weights.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OPSET = 17
SIZE = 128
GROUP = 16
"""Features normalised together (fewer only where a layer has fewer)."""
EPSILON = 1e-5

Weights = Mapping[str, NDArray[np.float32]]


class _Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x: str, weights: Weights, layer: str, *, stride: int, kernel: int) -> str:
        inputs = [x, self.constant(f"{layer}.weight", weights[f"{layer}.weight"])]
        if f"{layer}.bias" in weights:
            inputs.append(self.constant(f"{layer}.bias", weights[f"{layer}.bias"]))
        return self.add("Conv", inputs, layer, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[1] * 4)

    def group_norm(self, x: str, weights: Weights, layer: str, side: int) -> str:
        """Group normalisation in opset 17: instance normalisation of each group laid out as one row."""
        features = len(weights[f"{layer}.weight"])
        groups = max(features // GROUP, 1)
        rows = self.add(
            "Reshape", [x, self.constant(f"{layer}.rows", np.array([0, groups, -1]))], f"{layer}.as_rows"
        )
        one = self.constant(f"{layer}.one", np.ones(groups, np.float32))
        zero = self.constant(f"{layer}.zero", np.zeros(groups, np.float32))
        normal = self.add("InstanceNormalization", [rows, one, zero], f"{layer}.normal", epsilon=EPSILON)
        shape = self.constant(f"{layer}.shape", np.array([0, features, side, side]))
        square = self.add("Reshape", [normal, shape], f"{layer}.square")
        scale = self.constant(f"{layer}.weight", weights[f"{layer}.weight"].reshape(1, features, 1, 1))
        shift = self.constant(f"{layer}.bias", weights[f"{layer}.bias"].reshape(1, features, 1, 1))
        return self.add("Add", [self.add("Mul", [square, scale], f"{layer}.scaled"), shift], layer)


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Build the network. files: {"weights": safetensors}. Input `sketch` [N, 10, 128, 128], output `garment`
    [N, 3, 128, 128], both float32."""
    weights = {name: value.astype(np.float32) for name, value in load_file(files["weights"]).items()}
    levels = len({name.split(".")[1] for name in weights if name.startswith("down.")})
    planes = weights["down.0.conv.weight"].shape[1]
    graph = _Graph()
    x, side, skips = "sketch", SIZE, []
    for level in range(levels):
        if level:
            x = graph.add("LeakyRelu", [x], f"down.{level}.active", alpha=0.2)
        x = graph.conv(x, weights, f"down.{level}.conv", stride=2, kernel=4)
        side //= 2
        if f"down.{level}.norm.weight" in weights:
            x = graph.group_norm(x, weights, f"down.{level}.norm", side)
        skips.append(x)
    twice = graph.constant("twice", np.array([1, 1, 2, 2], np.float32))
    for level in range(levels):
        skip = skips.pop()
        x = skip if level == 0 else graph.add("Concat", [x, skip], f"up.{level}.joined", axis=1)
        x = graph.add("Relu", [x], f"up.{level}.active")
        x = graph.add("Resize", [x, "", twice], f"up.{level}.wide", mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")  # fmt: skip
        side *= 2
        x = graph.conv(x, weights, f"up.{level}.conv", stride=1, kernel=3)
        x = graph.group_norm(x, weights, f"up.{level}.norm", side)
    x = graph.add("Concat", [graph.add("Relu", [x], "last.active"), "sketch"], "last.joined", axis=1)
    graph.add("Tanh", [graph.conv(x, weights, "last", stride=1, kernel=3)], "garment")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "sketch_to_garment",
            [helper.make_tensor_value_info("sketch", TensorProto.FLOAT, ["N", planes, SIZE, SIZE])],
            [helper.make_tensor_value_info("garment", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="modiste",
    )
    model.ir_version = 8  # the first that goes with opset 17
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out)
