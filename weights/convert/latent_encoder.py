"""The latent encoder as an ONNX graph, written from its safetensors.

The layers are those of `weights/recipes/latent_encoder/network.py`: EfficientNet-Lite0 with its normalisation already
part of the convolutions, and a head over the mean features and those of 4 x 4 places.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from weights.convert.efficientnet_lite import STAGES
from weights.convert.graph import Graph

SIDE = 256
GRID = 4

Weights = Mapping[str, NDArray[np.float32]]


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Build the network.

    files: one safetensors
    out:   input `face` [N, 3, 256, 256]: RGB in 0..255 minus 127, divided by 128; output `coordinates` [N, 64]
    """
    (file,) = files.values()
    weights: Weights = {name: value.astype(np.float32) for name, value in load_file(file).items()}
    graph = Graph("latent_encoder")
    x, number = graph.relu6(_convolution(graph, weights, "stem", "face", stride=2)), 0
    for repeats, stride, _ in STAGES:
        for repeat in range(repeats):
            x = _block(graph, weights, f"blocks.{number}.", x, stride=stride if repeat == 0 else 1)
            number += 1
    mean = graph.node("ReduceMean", graph.relu6(_convolution(graph, weights, "last", x)), axes=[2, 3], keepdims=0)
    wide = SIDE // 32 // GRID
    places = graph.relu6(_convolution(graph, weights, "places", x))
    places = graph.node("AveragePool", places, kernel_shape=[wide, wide], strides=[wide, wide])
    seen = graph.node("Concat", mean, graph.node("Flatten", places), axis=1)
    head, bias = graph.constant(weights["head.weight"]), graph.constant(weights["head.bias"])
    found = graph.node("Gemm", seen, head, bias, transB=1)
    coordinates = ("N", weights["head.bias"].shape[0])
    graph.save({"face": ("N", 3, SIDE, SIDE)}, {"coordinates": (found, coordinates)}, out)


def _block(graph: Graph, weights: Weights, at: str, x: str, *, stride: int) -> str:
    y, entering = x, weights[f"{at}depthwise.weight"].shape[0]
    if f"{at}expand.weight" in weights:
        y, entering = (
            graph.relu6(_convolution(graph, weights, f"{at}expand", y)),
            weights[f"{at}expand.weight"].shape[1],
        )
    y = graph.relu6(_convolution(graph, weights, f"{at}depthwise", y, stride=stride))
    y = _convolution(graph, weights, f"{at}project", y)
    return graph.node("Add", y, x) if stride == 1 and entering == weights[f"{at}project.weight"].shape[0] else y


def _convolution(graph: Graph, weights: Weights, name: str, x: str, *, stride: int = 1) -> str:
    kernel = weights[f"{name}.weight"]
    return graph.convolution(
        x,
        kernel,
        weights[f"{name}.bias"],
        strides=[stride, stride],
        auto_pad="SAME_UPPER",
        group=kernel.shape[0] if kernel.shape[1] == 1 else 1,
    )
