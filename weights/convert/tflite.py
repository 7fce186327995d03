"""TensorFlow Lite models of convolutional networks -> ONNX.

Inputs and outputs keep their names and their layout (channels last); the batch becomes free. In between, tensors of
four axes are held channels first, and turned only where an operator counts on the file's order (reshapes mostly).
The file is written for a batch of 1: the batch stays outermost through every operator, or the file is refused.
Sizes are fixed, so that TensorFlow's SAME padding (more at the bottom and the right) becomes explicit.
"""

from collections.abc import Mapping
from pathlib import Path

from modiste.errors import WeightsUnavailable
from weights.convert.graph import Shape
from weights.convert.tflite_file import read_tflite
from weights.convert.tflite_layout import Translation
from weights.convert.tflite_operators import OPERATORS


def convert(files: Mapping[str, Path], out: Path) -> None:
    """files: one .tflite. raises: WeightsUnavailable, which names what of it has no translation"""
    (path,) = files.values()
    file = read_tflite(path)
    of = Translation(path.stem, file)
    for operator in file.operators:
        if operator.kind not in OPERATORS:
            raise WeightsUnavailable(f"Expected operators among {', '.join(OPERATORS)}; got {operator.kind!r}.")
        OPERATORS[operator.kind](of, operator)
    shapes: dict[int, Shape] = {index: ("N", *file.shapes[index][1:]) for index in (*file.inputs, *file.outputs)}
    of.graph.save(
        {file.names[index]: shapes[index] for index in file.inputs},
        {file.names[index]: (of.channels_last(index), shapes[index]) for index in file.outputs},
        out,
    )
