"""EfficientNet-Lite0, a state dict of the PyTorch port -> ONNX feature extractor.

Tan and Le, "EfficientNet", ICML 2019, arXiv:1905.11946; Lite has ReLU6 and no squeeze-and-excitation.
Input "image" [N, 3, 224, 224] float32: RGB in 0..255 minus 127, divided by 128.
Output "embedding" [N, 1280] float32: mean over the last feature map, before the classifier.
Padding is TensorFlow's SAME; batch normalisation is folded into the convolutions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weights.convert.graph import Graph
from weights.convert.torch_pickle import read_state_dict

SIZE = 224
FEATURES = 1280
EPSILON = 1e-3  # of the batch normalisation
# Repeats, stride of the first, expansion, of each stage; kernels and channels are those of the weights.
STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))

Tensors = Mapping[str, NDArray[Any]]


def convert(files: Mapping[str, Path], out: Path) -> None:
    """files: one .pth"""
    (path,) = files.values()
    graph, tensors = Graph("efficientnet_lite0"), read_state_dict(path)
    x = graph.relu6(_convolution(graph, tensors, "_conv_stem", "_bn0", "image", stride=2))
    block = 0
    for repeats, stride, expansion in STAGES:
        for repeat in range(repeats):
            first = stride if repeat == 0 else 1
            x = _inverted_residual(graph, tensors, f"_blocks.{block}.", x, stride=first, expansion=expansion)
            block += 1
    x = graph.relu6(_convolution(graph, tensors, "_conv_head", "_bn1", x))
    embedding = graph.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    graph.save({"image": ("N", 3, SIZE, SIZE)}, {"embedding": (embedding, ("N", FEATURES))}, out)


def _inverted_residual(graph: Graph, tensors: Tensors, at: str, x: str, *, stride: int, expansion: int) -> str:
    y = x
    if expansion != 1:
        y = graph.relu6(_convolution(graph, tensors, f"{at}_expand_conv", f"{at}_bn0", y))
    y = graph.relu6(_convolution(graph, tensors, f"{at}_depthwise_conv", f"{at}_bn1", y, stride=stride))
    y = _convolution(graph, tensors, f"{at}_project_conv", f"{at}_bn2", y)
    first = "_depthwise_conv" if expansion == 1 else "_expand_conv"
    entering = tensors[f"{at}{first}.weight"].shape[0 if expansion == 1 else 1]
    leaving = tensors[f"{at}_project_conv.weight"].shape[0]
    return graph.node("Add", y, x) if stride == 1 and entering == leaving else y


def _convolution(graph: Graph, tensors: Tensors, name: str, norm: str, x: str, *, stride: int = 1) -> str:
    """A convolution without bias and the normalisation after it, in one."""
    kernel = tensors[f"{name}.weight"]
    factor = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + EPSILON)
    bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * factor
    return graph.convolution(
        x,
        (kernel * factor[:, None, None, None]).astype(np.float32),
        bias.astype(np.float32),
        strides=[stride, stride],
        auto_pad="SAME_UPPER",
        group=kernel.shape[0] if kernel.shape[1] == 1 else 1,
    )
