"""ONNX ops as functions on torch tensors, by op type, of opset 17 (https://onnx.ai/onnx/operators).

Attributes are keywords, with ONNX's defaults. Sizes, axes and other whole numbers come as Python numbers and tuples of
them, never as tensors: nothing waits for a GPU, and CUDA graphs can capture every op.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Ints = Sequence[int]
Op = Callable[..., Any]


def _pairs(
    x: Tensor, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str
) -> list[tuple[int, int]]:
    """(before, after) per spatial axis, with the automatic kinds worked out."""
    axes = len(kernel)
    if auto_pad in ("NOTSET", "VALID"):
        pads = pads or [0] * 2 * axes
        return list(zip(pads[:axes], pads[axes:], strict=True))
    pairs = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return pairs


def _padded(x: Tensor, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    flat = [size for pair in reversed(pairs) for size in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Ints = (1, 1),
    dilations: Ints = (1, 1),
    group: int = 1,
    pads: Ints | None = None,
    auto_pad: str = "NOTSET",
    kernel_shape: Ints | None = None,
) -> Tensor:
    pairs = _pairs(x, weight.shape[2:], strides, dilations, pads, auto_pad)
    if all(before == after for before, after in pairs):
        return F.conv2d(x, weight, bias, strides, [before for before, _ in pairs], dilations, group)
    return F.conv2d(_padded(x, pairs), weight, bias, strides, 0, dilations, group)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Ints = (1, 1),
    dilations: Ints = (1, 1),
    group: int = 1,
    pads: Ints = (0, 0, 0, 0),
    output_padding: Ints = (0, 0),
    kernel_shape: Ints | None = None,
) -> Tensor:
    y = F.conv_transpose2d(x, weight, bias, strides, 0, output_padding, group, dilations)
    return _padded(y, [(-before, -after) for before, after in zip(pads[:2], pads[2:], strict=True)])


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints = (1, 1),
    pads: Ints | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Tensor:
    pairs = _pairs(x, kernel_shape, strides, (1, 1), pads, auto_pad)
    return F.max_pool2d(_padded(x, pairs, float("-inf")), kernel_shape, strides, ceil_mode=bool(ceil_mode))


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints = (1, 1),
    pads: Ints | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    pairs, ceil = _pairs(x, kernel_shape, strides, (1, 1), pads, auto_pad), bool(ceil_mode)
    mean = F.avg_pool2d(_padded(x, pairs), kernel_shape, strides, ceil_mode=ceil)
    if count_include_pad or not any(size for pair in pairs for size in pair):
        return mean
    inside = _padded(torch.ones_like(x[:1, :1]), pairs)
    return mean / F.avg_pool2d(inside, kernel_shape, strides, ceil_mode=ceil)


def resize(
    x: Tensor,
    roi: None = None,
    scales: Sequence[float] | None = None,
    sizes: Ints | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
) -> Tensor:
    """Height and width, in the ways that torch knows, too, and from corner to corner in equal steps ("asymmetric")."""
    if sizes is not None:
        size = list(sizes[2:])
    else:
        assert scales is not None, "a resize has sizes or scales"
        size = [n * int(s) if s == int(s) else int(n * s) for n, s in zip(x.shape[2:], scales[2:], strict=True)]
    how = (mode, coordinate_transformation_mode)
    if how == ("nearest", "asymmetric") and nearest_mode == "floor":
        return F.interpolate(x, size, mode="nearest")
    # By whole factors, every place is nearest to the same one whether counted from corners or centres.
    if how == ("nearest", "half_pixel") and all(new % old == 0 for new, old in zip(size, x.shape[2:], strict=True)):
        return F.interpolate(x, size, mode="nearest")
    if how in (("linear", "half_pixel"), ("linear", "pytorch_half_pixel")):
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
    if how == ("linear", "align_corners"):
        return F.interpolate(x, size, mode="bilinear", align_corners=True)
    if how == ("linear", "asymmetric"):
        return _asymmetric(x, size)
    raise ValueError(f"expected a resize that torch has, too, got {mode}, {coordinate_transformation_mode}")


def _asymmetric(x: Tensor, size: Ints) -> Tensor:
    """Bilinear with source = target / scale, no shift by half a pixel, as older TensorFlow graphs mean it."""
    for axis, length in ((2, size[0]), (3, size[1])):
        old = x.shape[axis]
        place = torch.arange(length, dtype=torch.float32, device=x.device) * (old / length)
        low = place.floor().long().clamp(max=old - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = length
        share = (place - low).reshape(shape).to(x.dtype)
        high = (low + 1).clamp(max=old - 1)
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def pad(x: Tensor, pads: Ints, value: float | None = None, *, mode: str = "constant") -> Tensor:
    if mode != "constant":
        raise ValueError(f"expected constant padding, got {mode}")
    return _padded(x, list(zip(pads[: x.ndim], pads[x.ndim :], strict=True)), value or 0.0)


def slice_(x: Any, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Any:
    """Of a tensor, or of its sizes."""
    if isinstance(x, tuple):
        return x[starts[0] : ends[0] : steps[0] if steps else 1]
    where = [slice(None)] * x.ndim
    for i, axis in enumerate(axes or range(len(starts))):
        where[axis] = slice(starts[i], ends[i], steps[i] if steps else 1)
    return x[tuple(where)]


def split(x: Tensor, lengths: Ints | None = None, *, axis: int = 0) -> tuple[Tensor, ...]:
    if lengths is None:
        raise ValueError("expected a split with its lengths, got none")
    parts: tuple[Tensor, ...] = torch.split(x, list(lengths), axis)
    return parts


def gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """Of a tensor's sizes, at numbers that are constants."""
    if not isinstance(x, tuple):
        raise ValueError("expected to gather from sizes, got a tensor")
    return tuple(x[i] for i in indices) if isinstance(indices, tuple) else x[indices]


def concat(*parts: Any, axis: int) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(size for part in parts for size in part)
    return torch.cat(parts, axis)


def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape)])


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    if axis != 1:
        raise ValueError(f"expected to flatten from axis 1, got {axis}")
    return x.flatten(1)


def squeeze(x: Any, axes: Ints | None = None) -> Any:
    if isinstance(x, tuple):
        return x[0]
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(x: Any, axes: Ints) -> Any:
    if not isinstance(x, Tensor):
        return (x,)
    rank = x.ndim + len(axes)
    for axis in sorted(n % rank for n in axes):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, *, perm: Ints) -> Tensor:
    return x.permute(*perm)


def gemm(a: Tensor, b: Tensor, c: Tensor | None = None, **form: float) -> Tensor:
    plain = {"alpha": 1, "beta": 1, "transA": 0}
    if plain | form | {"transB": 1} != plain | {"transB": 1}:
        raise ValueError(f"expected the product of a and b, b as it is or transposed, got {form}")
    return F.linear(a, b if form.get("transB") else b.T, c)


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "CRD":
        return F.pixel_shuffle(x, blocksize)
    n, c, h, w = x.shape
    b, inside = blocksize, c // blocksize**2
    return x.reshape(n, b, b, inside, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, inside, h * b, w * b)


def reduce_mean(x: Tensor, *, axes: Ints, keepdims: int = 1) -> Tensor:
    return x.mean(tuple(axes), keepdim=bool(keepdims))


def reduce_sum(x: Tensor, axes: Ints, *, keepdims: int = 1) -> Tensor:
    return x.sum(tuple(axes), keepdim=bool(keepdims))


OPS: Mapping[str, Op] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Relu": F.relu,
    "LeakyRelu": lambda x, *, alpha=0.01: F.leaky_relu(x, alpha),
    "PRelu": lambda x, slope: torch.where(x >= 0, x, x * slope),
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Clip": lambda x, low=None, high=None: x.clamp(low, high),
    "Softmax": lambda x, *, axis=-1: F.softmax(x, axis),
    "Identity": lambda x: x,
    "Shape": lambda x: tuple(x.shape),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "Resize": resize,
    "MatMul": lambda a, b: a @ b,
    "Gemm": gemm,
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_sum,
    "Concat": concat,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
}
