"""Sums of depthwise transposed convolutions that all make blocks of one tensor's channels, as one matrix of channels.

Inverse wavelet transforms are written so: each band is enlarged along one axis, then along the other, and added to
its neighbours. Where strides equal kernels no two pixels of the input touch one pixel of the output, so that the whole
sum is a 1 x 1 convolution to as many channels as a block has pixels, whose blocks are then laid out: two operations
instead of seventeen, and no band is ever copied.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEPARABLE = "GroupConvolutionBackpropData"
CUTS = ("VariadicSplit", "Reshape", "Squeeze")


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """channels: which channel of the source each channel of the result comes from, [C]; blocks: what becomes of one of
    its pixels, [C, height, width]"""

    source: Any
    channels: NDArray[np.int64]
    blocks: NDArray[np.float32]


def bands(output: Any) -> list[Band] | None:
    """The bands whose sum an operation's output is; None where it is another thing."""
    node = output.get_node()
    if node.get_type_name() == "Add":
        found = [bands(value) for value in node.input_values()]
        terms = [band for part in found if part is not None for band in part]
        alike = all(part is not None for part in found) and len({band.blocks.shape for band in terms}) == 1
        return terms if alike else None
    if node.get_type_name() != SEPARABLE or not _tiles(node):
        return None
    kernel = np.array(node.input_value(1).get_node().data)[:, 0, 0]
    inner = bands(node.input_value(0))
    if inner is None:
        cut = _channels(node.input_value(0))
        return None if cut is None else [Band(source=cut[0], channels=cut[1], blocks=kernel)]
    enlarged = [np.einsum("cij,ckl->cikjl", band.blocks, kernel) for band in inner]
    height, width = enlarged[0].shape[1] * kernel.shape[1], enlarged[0].shape[3] * kernel.shape[2]
    return [
        Band(source=band.source, channels=band.channels, blocks=blocks.reshape(-1, height, width))
        for band, blocks in zip(inner, enlarged, strict=True)
    ]


def as_matrix(found: list[Band]) -> tuple[Any, NDArray[np.float32], int] | None:
    """The one source, the matrix [block height * width * C, source channels] and the side of a block; None where the
    bands are not all of one source, or blocks are not square."""
    source, (count, height, width) = found[0].source, found[0].blocks.shape
    if height != width or any(_key(band.source) != _key(source) for band in found):
        return None
    matrix = np.zeros((height * width, count, source.get_shape()[1]), np.float32)
    for band in found:
        matrix[:, np.arange(count), band.channels] += band.blocks.reshape(count, -1).T
    return source, matrix.reshape(-1, matrix.shape[2]), height


def _tiles(node: Any) -> bool:
    """Whether it is a depthwise one of constant weights whose windows neither overlap nor leave gaps."""
    weights, attributes = node.input_value(1), node.get_attributes()
    _, incoming, outgoing, *kernel = weights.get_shape()
    padding = (*attributes["pads_begin"], *attributes["pads_end"], *attributes["output_padding"])
    return (
        weights.get_node().get_type_name() == "Constant"
        and (incoming, outgoing) == (1, 1)
        and attributes["auto_pad"] == "explicit"
        and list(attributes["strides"]) == kernel
        and not any(padding)
    )


def _channels(output: Any) -> tuple[Any, NDArray[np.int64]] | None:
    """The tensor that channels are cut out of, and which; None where they are not all of [N, C, H, W] in the end."""
    shape = output.get_shape()
    source, index = _cut(output)
    return (source, index.ravel()) if index.shape == (shape[1],) and len(shape) == 4 else None


def _cut(output: Any) -> tuple[Any, NDArray[np.int64]]:
    """Follows the axes between the batch and the picture back through splits, reshapes and squeezes."""
    node, inner = output.get_node(), tuple(output.get_shape())[1:-2]
    kind = node.get_type_name()
    if kind in CUTS and _keeps_pictures(node):
        source, index = _cut(node.input_value(0))
        if kind != "VariadicSplit":
            return source, index.reshape(inner)
        axis, sizes = (np.array(node.input_value(i).get_node().data) for i in (1, 2))
        return source, np.split(index, np.cumsum(sizes)[:-1], int(axis) - 1)[output.get_index()]
    return output, np.arange(int(np.prod(inner))).reshape(inner)


def _keeps_pictures(node: Any) -> bool:
    before, after = tuple(node.get_input_shape(0)), tuple(node.get_output_shape(0))
    return len(before) > 3 and (before[0], *before[-2:]) == (after[0], *after[-2:])


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()
