"""The sketch network as an ONNX graph, written from its safetensors.

The layers are those of `deployments/pix2pix_garment/network.py`; sizes are read off the weights.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from weights.convert.graph import Graph

SIZE = 128
SPREAD = 3
"""Planes that the network makes out of the hints and adds to its input."""
GROUP = 16
"""Features normalised together (fewer only where a layer has fewer)."""
EPSILON = 1e-5

Weights = Mapping[str, NDArray[np.float32]]


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Build the network.

    files: {"weights": safetensors}, or one file under any name
    out:   input `sketch` [N, 10, 128, 128], output `garment` [N, 3, 128, 128], both float32
    """
    (file,) = files.values()
    weights: Weights = {name: value.astype(np.float32) for name, value in load_file(file).items()}
    levels = len({name.split(".")[1] for name in weights if name.startswith("down.")})
    graph = Graph("sketch_to_garment")
    planes = weights["down.0.conv.weight"].shape[1] - SPREAD
    seen = graph.node("Concat", "sketch", _spread(graph, levels), axis=1)
    x, side, skips = seen, SIZE, []
    for level in range(levels):
        if level:
            x = graph.node("LeakyRelu", x, alpha=0.2)
        kernel, bias = weights[f"down.{level}.conv.weight"], weights.get(f"down.{level}.conv.bias")
        x = graph.convolution(x, kernel, bias, strides=[2, 2], pads=[1, 1, 1, 1])
        side //= 2
        if f"down.{level}.norm.weight" in weights:
            x = _group_norm(graph, x, weights, f"down.{level}.norm", side)
        skips.append(x)
    twice = graph.constant(np.array([1, 1, 2, 2], np.float32))
    nearest = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    for level in range(levels):
        skip = skips.pop()
        x = skip if level == 0 else graph.node("Concat", x, skip, axis=1)
        x = graph.node("Resize", graph.node("Relu", x), "", twice, **nearest)
        side *= 2
        x = graph.convolution(x, weights[f"up.{level}.conv.weight"], pads=[1, 1, 1, 1])
        x = _group_norm(graph, x, weights, f"up.{level}.norm", side)
    x = graph.node("Concat", graph.node("Relu", x), seen, axis=1)
    x = graph.convolution(x, weights["last.weight"], weights["last.bias"], pads=[1, 1, 1, 1])
    painted = graph.node("Tanh", x)
    graph.save({"sketch": ("N", planes, SIZE, SIZE)}, {"garment": (painted, ("N", 3, SIZE, SIZE))}, out)


def _spread(graph: Graph, levels: int) -> str:
    """The hints spread over the picture, as `spread` in the network does."""

    def planes(first: int, last: int, x: str) -> str:
        begin, end, axis = (graph.constant(np.array([number])) for number in (first, last, 1))
        return graph.node("Slice", x, begin, end, axis)

    four, tiny, one = (graph.constant(np.array(number, np.float32)) for number in (4.0, 1e-3, 1.0))
    twice = graph.constant(np.array([1, 1, 2, 2], np.float32))
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    mask = planes(4, 5, "sketch")
    sums = [graph.node("Concat", graph.node("Mul", planes(1, 4, "sketch"), mask), mask, axis=1)]
    for _ in range(levels):
        pooled = graph.node("AveragePool", sums[-1], kernel_shape=[2, 2], strides=[2, 2])
        sums.append(graph.node("Mul", pooled, four))
    weight = graph.node("Add", planes(3, 4, sums[-1]), tiny)
    colour = graph.node("Div", planes(0, 3, sums[-1]), weight)
    for level in reversed(range(levels)):
        coarse = graph.node("Resize", colour, "", twice, **linear)
        weight = graph.node("Add", planes(3, 4, sums[level]), one)
        colour = graph.node("Div", graph.node("Add", planes(0, 3, sums[level]), coarse), weight)
    return colour


def _group_norm(graph: Graph, x: str, weights: Weights, layer: str, side: int) -> str:
    """Group normalisation, which opset 17 lacks: instance normalisation of each group laid out as one row."""
    scale, shift = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
    groups = max(len(scale) // GROUP, 1)
    rows = graph.node("Reshape", x, graph.constant(np.array([0, groups, -1])))
    one, zero = graph.constant(np.ones(groups, np.float32)), graph.constant(np.zeros(groups, np.float32))
    normal = graph.node("InstanceNormalization", rows, one, zero, epsilon=EPSILON)
    square = graph.node("Reshape", normal, graph.constant(np.array([0, len(scale), side, side])))
    scaled = graph.node("Mul", square, graph.constant(scale.reshape(1, -1, 1, 1)))
    return graph.node("Add", scaled, graph.constant(shift.reshape(1, -1, 1, 1)))
