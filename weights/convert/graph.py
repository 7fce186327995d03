"""An ONNX graph under construction: the few strokes that every converter repeats."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Shape = tuple[int | str, ...]


class Graph:
    """Nodes and constants, named as they come; activations are [N, C, H, W] float32."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._count = 0

    def constant(self, value: NDArray[Any]) -> str:
        name = self._fresh("constant")
        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node of one output and return that output's name; "" leaves an optional input out."""
        output = self._fresh(op.lower())
        self._nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def convolution(
        self, x: str, kernel: NDArray[np.float32], bias: NDArray[np.float32] | None = None, **attributes: Any
    ) -> str:
        """kernel: [out, in / groups, height, width]; bias: [out]"""
        extra = [] if bias is None else [self.constant(bias)]
        size = list(kernel.shape[2:])
        return self.node("Conv", x, self.constant(kernel), *extra, kernel_shape=size, **attributes)

    def split(self, x: str, sizes: NDArray[Any], axis: int) -> list[str]:
        """The parts of the given sizes along an axis."""
        outputs = [self._fresh("split") for _ in sizes]
        lengths = self.constant(np.asarray(sizes, np.int64))
        self._nodes.append(helper.make_node("Split", [x, lengths], outputs, name=outputs[0], axis=axis))
        return outputs

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, self.constant(np.array(0, np.float32)), self.constant(np.array(6, np.float32)))

    def save(self, inputs: Mapping[str, Shape], outputs: Mapping[str, tuple[str, Shape]], out: Path) -> None:
        """Check and write. `outputs` maps the public name to (node output, shape)."""
        for public, (internal, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [internal], [public], name=public))
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, (_, s) in outputs.items()],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="modiste",
        )
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(out))

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"
