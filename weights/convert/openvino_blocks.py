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


def key(output: Any) -> tuple[str, int]:
    """Of an operation's output within its network."""
    return output.get_node().get_name(), output.get_index()


def constant(output: Any) -> NDArray[Any] | None:
    """The value, which newer files may keep in half precision behind a conversion; None where it is computed."""
    node = output.get_node()
    if node.get_type_name() == "Convert":
        value = constant(node.input_value(0))
        return None if value is None else value.astype(node.get_output_element_type(0).to_dtype())
    return np.array(node.data) if node.get_type_name() == "Constant" else None


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
    weights = constant(node.input_value(1))
    assert weights is not None
    kernel = weights[:, 0, 0]
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
    if height != width or any(key(band.source) != key(source) for band in found):
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
        constant(weights) is not None
        and (incoming, outgoing) == (1, 1)
        and attributes["auto_pad"] == "explicit"
        and list(attributes["strides"]) == kernel
        and not any(padding)
    )


def _channels(output: Any) -> tuple[Any, NDArray[np.int64]] | None:
    """The tensor [N, C, H, W] that channels are cut out of, and which; None where it or the result is none such."""
    source, index = _cut(output)
    pictures = len(output.get_shape()) == len(source.get_shape()) == 4
    return (source, index) if pictures else None


def _cut(output: Any) -> tuple[Any, NDArray[np.int64]]:
    """Follows the axes between the batch and the picture back through splits, reshapes and squeezes."""
    node, inner = output.get_node(), tuple(output.get_shape())[1:-2]
    if node.get_type_name() not in CUTS or not _keeps_pictures(node):
        return output, np.arange(int(np.prod(inner))).reshape(inner)
    source, index = _cut(node.input_value(0))
    if node.get_type_name() != "VariadicSplit":
        return source, index.reshape(inner)
    shapes = [tuple(part.get_shape())[1:-2] for part in node.outputs()]
    axis = next((at for at, size in enumerate(index.shape) if any(shape[at] != size for shape in shapes)), 0)
    ends = np.cumsum([shape[axis] for shape in shapes])[:-1]
    return source, np.split(index, ends, axis)[output.get_index()]


def _keeps_pictures(node: Any) -> bool:
    """Whether batch, height and width are the same in all that comes of it."""
    before = tuple(node.get_input_shape(0))
    made = [tuple(part.get_shape()) for part in node.outputs()]
    return len(before) > 3 and all((of[0], *of[-2:]) == (before[0], *before[-2:]) for of in made)
