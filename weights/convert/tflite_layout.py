"""The tensors of a TensorFlow Lite model under translation, in the layout of the file or channels first."""

from collections.abc import Callable, Mapping
from typing import Any

import tflite
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert.graph import Graph
from weights.convert.tflite_file import Operator, TfliteFile

FIRST_TO_LAST, LAST_TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)

ACTIVATIONS: Mapping[int, Callable[[Graph, str], str]] = {
    tflite.ActivationFunctionType.NONE: lambda _graph, x: x,
    tflite.ActivationFunctionType.RELU: lambda graph, x: graph.node("Relu", x),
    tflite.ActivationFunctionType.RELU6: lambda graph, x: graph.relu6(x),
}


class Translation:
    """One model. Constants are as in the file; a computed tensor of four axes may have one layout or both.

    constants:   by index of the tensor
    last, first: names in the graph, by index; last as in the file, first [N, C, H, W]
    """

    def __init__(self, name: str, file: TfliteFile) -> None:
        self.graph = Graph(name)
        self.constants = dict(file.constants)
        self.last: dict[int, str] = {index: file.names[index] for index in file.inputs}
        self.first: dict[int, str] = {}
        self._shapes = file.shapes

    def channels_first(self, index: int) -> str:
        if index not in self.first:
            self.first[index] = self.graph.node("Transpose", self.last[index], perm=LAST_TO_FIRST)
        return self.first[index]

    def channels_last(self, index: int) -> str:
        if index not in self.last:
            self.last[index] = self.graph.node("Transpose", self.first[index], perm=FIRST_TO_LAST)
        return self.last[index]

    def either(self, index: int) -> tuple[str, bool]:
        """The tensor in the layout it has, and whether that is channels first."""
        return (self.first[index], True) if index in self.first else (self.last[index], False)

    def put(self, operator: Operator, x: str, *, first: bool) -> None:
        """Keep an operator's result, after the activation that its options may ask for."""
        activation = getattr(operator.options, "FusedActivationFunction", lambda: tflite.ActivationFunctionType.NONE)()
        if activation not in ACTIVATIONS:
            raise WeightsUnavailable(f"Expected no activation, ReLU or ReLU6 in {operator.kind}; got {activation}.")
        (self.first if first else self.last)[operator.outputs[0]] = ACTIVATIONS[activation](self.graph, x)

    def shape(self, index: int) -> tuple[int, ...]:
        """As in the file, for a batch of 1."""
        return self._shapes[index]

    def weight(self, operator: Operator, position: int) -> NDArray[Any]:
        index = operator.inputs[position]
        if index not in self.constants:
            raise WeightsUnavailable(f"Expected input {position} of {operator.kind} to be a constant; it is computed.")
        return self.constants[index]

    def bias(self, operator: Operator, position: int) -> NDArray[Any] | None:
        absent = len(operator.inputs) <= position or operator.inputs[position] < 0
        return None if absent else self.weight(operator, position)
