"""The dlib face recognition network, as face-api.js carries it -> ONNX.

ResNet-29 with 128-d output (King, "High Quality Face Recognition with Deep Metric Learning", dlib 2017; after
He et al., CVPR 2016, arXiv:1512.03385), its convolutions quantised to 8 bits per tensor.

Input "face" [N, 3, 150, 150] float32: aligned RGB in 0..255 minus (122.782, 117.001, 104.298), over 256.
Output "embedding" [N, 128] float32: Euclidean distance under 0.6 means one person.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weights.convert.graph import Graph
from weights.convert.tfjs_weights import read_weights

SIZE = 150
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)

Tensors = Mapping[str, NDArray[Any]]


def convert(files: Mapping[str, Path], out: Path) -> None:
    """files: the weights manifest (.json) and its one shard (.bin)."""
    (manifest,) = (path for name, path in files.items() if name.endswith(".json"))
    shards = {name: path for name, path in files.items() if not name.endswith(".json")}
    groups = json.loads(manifest.read_text())
    for group in groups:
        # The published manifest names the shard as it was before the two were joined.
        group["paths"] = list(shards)
    graph, tensors = Graph("dlib_resnet"), read_weights(groups, shards)
    x = graph.node("Relu", _scaled_convolution(graph, tensors, "conv32_down", "face", stride=2, pad=0))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    size, channels = ((SIZE - 7) // 2 + 1 - 3) // 2 + 1, 32
    for block in BLOCKS:
        x, size, channels = _residual(graph, tensors, block, x, size=size, channels=channels)
    pooled = graph.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    embedding = graph.node("MatMul", pooled, graph.constant(tensors["fc"]))
    graph.save({"face": ("N", 3, SIZE, SIZE)}, {"embedding": (embedding, ("N", 128))}, out)


def _residual(graph: Graph, tensors: Tensors, block: str, x: str, *, size: int, channels: int) -> tuple[str, int, int]:
    """Two convolutions beside a shortcut; in a "down" block both halve the size.

    There the shortcut is pooled and lacks the new channels, and the convolutions may come out one row and
    column smaller: either is filled with zeros.
    """
    down = "_down" in block
    y = _scaled_convolution(graph, tensors, f"{block}/conv1", x, stride=2 if down else 1, pad=0 if down else 1)
    y = _scaled_convolution(graph, tensors, f"{block}/conv2", graph.node("Relu", y), stride=1, pad=1)
    if down:
        convolved, pooled = (size - 3) // 2 + 1, size // 2
        y = _pad(graph, y, 0, pooled - convolved)
        x = graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        wider = tensors[f"{block}/conv1/conv/filters"].shape[3]
        x = _pad(graph, x, wider - channels, 0)
        size, channels = pooled, wider
    return graph.node("Relu", graph.node("Add", x, y)), size, channels


def _scaled_convolution(graph: Graph, tensors: Tensors, name: str, x: str, *, stride: int, pad: int) -> str:
    """Convolution with its channel-wise scale and shift folded in; filters are [height, width, in, out]."""
    filters, scale = tensors[f"{name}/conv/filters"], tensors[f"{name}/scale/weights"]
    kernel = (filters * scale).transpose(3, 2, 0, 1).astype(np.float32)
    bias = tensors[f"{name}/conv/bias"] * scale + tensors[f"{name}/scale/biases"]
    return graph.convolution(x, kernel, bias.astype(np.float32), strides=[stride] * 2, pads=[pad] * 4)


def _pad(graph: Graph, x: str, channels: int, pixels: int) -> str:
    """Zeros after the last channel, row and column."""
    if not channels and not pixels:
        return x
    return graph.node("Pad", x, graph.constant(np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)))
