"""Eager torch: any graph that OpenVINO reads, run op by op in float32. The reference that engines are measured against.

Constants are folded by OpenVINO for the shapes at hand; what is left is about thirty kinds of ops, one line each.
Semantics are those of OpenVINO's opset documentation. Never used for serving.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
import torch
import torch.nn.functional as F
from openvino.passes import ConstantFolding, Manager
from torch import Tensor

from compile.engine import Tensors, check_feeds
from modiste.spec import EngineSpec

Attributes = dict[str, Any]
Op = Callable[[Sequence[Tensor], Attributes], Tensor | Sequence[Tensor]]


def _ints(value: Tensor) -> list[int]:
    return [int(v) for v in value.reshape(-1).tolist()]


def _explicit_pads(x: Tensor, kernel: Sequence[int], a: Attributes) -> list[tuple[int, int]]:
    """(begin, end) per spatial axis, with the automatic kinds worked out."""
    strides, dilations = a["strides"], a.get("dilations") or [1] * len(kernel)
    if a.get("auto_pad", "explicit") in ("explicit", "notset"):
        return list(zip(a["pads_begin"], a["pads_end"], strict=True))
    if a["auto_pad"] == "valid":
        return [(0, 0)] * len(kernel)
    pads = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if a["auto_pad"] == "same_upper" else (large, small))
    return pads


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    flat = [p for pair in reversed(pads) for p in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


def _convolution(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x, weight = t[0], t[1]
    groups = 1
    if weight.ndim == x.ndim + 1:  # GroupConvolution keeps the groups on an axis of their own
        groups = weight.shape[0]
        weight = weight.flatten(0, 1)
    x = _padded(x, _explicit_pads(x, weight.shape[2:], a))
    return F.conv2d(x, weight, stride=a["strides"], dilation=a["dilations"], groups=groups)


def _transposed_convolution(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x, weight = t[0], t[1]
    groups = 1
    if weight.ndim == x.ndim + 1:
        groups = weight.shape[0]
        weight = weight.flatten(0, 1)
    full = F.conv_transpose2d(x, weight, stride=a["strides"], dilation=a["dilations"], groups=groups)
    extra = a.get("output_padding") or [0, 0]
    if a.get("auto_pad", "explicit") in ("same_upper", "same_lower"):
        pads = []
        for size, s, out in zip(x.shape[2:], a["strides"], full.shape[2:], strict=True):
            total = max(0, out - size * s)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if a["auto_pad"] == "same_upper" else (large, small))
    else:
        pads = [
            (b, e - o) for b, e, o in zip(a["pads_begin"], a["pads_end"], extra, strict=True)
        ]  # output padding gives back part of what the end padding cuts
    return _padded(full, [(-b, -e) for b, e in pads])


def _pool(t: Sequence[Tensor], a: Attributes, *, largest: bool) -> Tensor:
    x, kernel = t[0], a["kernel"]
    pads = _explicit_pads(x, kernel, a)
    ceil = a.get("rounding_type", "floor") != "floor"
    if largest:
        return F.max_pool2d(_padded(x, pads, float("-inf")), kernel, a["strides"], ceil_mode=ceil)
    if not any(p for pair in pads for p in pair):
        return F.avg_pool2d(x, kernel, a["strides"], ceil_mode=ceil)
    total = F.avg_pool2d(_padded(x, pads), kernel, a["strides"], ceil_mode=ceil)
    if not a.get("exclude-pad", False):
        return total
    return total / F.avg_pool2d(_padded(torch.ones_like(x), pads), kernel, a["strides"], ceil_mode=ceil)


def _interpolate(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x = t[0]
    axes = _ints(t[-1]) if len(t) > 2 and t[-1].dtype in (torch.int64, torch.int32) else list(range(x.ndim))
    wanted = dict(zip(axes, t[1].reshape(-1).tolist(), strict=False))
    by_scale = a["shape_calculation_mode"] == "scales"
    if by_scale and t[1].dtype != torch.float32:
        wanted = dict(zip(axes, t[2].reshape(-1).tolist(), strict=False))
    same = {i: 1.0 if by_scale else x.shape[i] for i in range(x.ndim)}
    resized = [i for i in range(x.ndim) if wanted.get(i, same[i]) != same[i]]
    last = 1 if set(axes) <= {1, 2} or (resized and max(resized) < x.ndim - 1) else 2
    size = [
        int(x.shape[i] * wanted.get(i, 1.0)) if by_scale else int(wanted.get(i, x.shape[i])) for i in (last, last + 1)
    ]
    channels_last = last == 1
    x = x.permute(0, 3, 1, 2) if channels_last else x
    if a["mode"] in ("nearest",):
        y = F.interpolate(x, size=size, mode="nearest")
    elif a["mode"] in ("linear_onnx", "linear"):
        aligned = a["coordinate_transformation_mode"] == "align_corners"
        if a["coordinate_transformation_mode"] == "asymmetric" and size != list(x.shape[2:]):
            y = _asymmetric_bilinear(x, size)
        else:
            y = F.interpolate(x, size=size, mode="bilinear", align_corners=aligned)
    else:
        raise ValueError(f"expected nearest or linear interpolation, got {a['mode']}")
    return y.permute(0, 2, 3, 1) if channels_last else y


def _asymmetric_bilinear(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear with source = target * scale (no half-pixel shift), as older TensorFlow graphs mean it."""
    for axis, length in ((2, size[0]), (3, size[1])):
        old = x.shape[axis]
        position = torch.arange(length, dtype=torch.float32) * (old / length)
        low = position.floor().long().clamp(max=old - 1)
        high = (low + 1).clamp(max=old - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = length
        fraction = (position - low).reshape(shape)
        x = x.index_select(axis, low) * (1 - fraction) + x.index_select(axis, high) * fraction
    return x


def _slice(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x = t[0]
    starts, stops, steps = (_ints(v) for v in t[1:4])
    axes = _ints(t[4]) if len(t) > 4 else list(range(len(starts)))
    for start, stop, stride, axis in zip(starts, stops, steps, axes, strict=True):
        x = x.index_select(axis, torch.tensor(range(x.shape[axis])[start:stop:stride]))
    return x


def _split(t: Sequence[Tensor], a: Attributes) -> Sequence[Tensor]:
    axis, lengths = int(t[1]), _ints(t[2])
    if -1 in lengths:
        lengths[lengths.index(-1)] = t[0].shape[axis] - sum(n for n in lengths if n >= 0)
    return tuple(torch.split(t[0], lengths, dim=axis))


def _pad(t: Sequence[Tensor], a: Attributes) -> Tensor:
    pads = list(zip(_ints(t[1]), _ints(t[2]), strict=True))
    if a["pad_mode"] == "constant":
        return _padded(t[0], pads, float(t[3]) if len(t) > 3 else 0.0)
    mode = {"reflect": "reflect", "edge": "replicate"}[a["pad_mode"]]
    return F.pad(t[0], [p for pair in reversed(pads[2:]) for p in pair], mode=mode)


def _reshape(t: Sequence[Tensor], a: Attributes) -> Tensor:
    shape = _ints(t[1])
    if a.get("special_zero", False):
        shape = [t[0].shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return t[0].reshape(shape)


def _matmul(t: Sequence[Tensor], a: Attributes) -> Tensor:
    left = t[0].transpose(-1, -2) if a.get("transpose_a") else t[0]
    right = t[1].transpose(-1, -2) if a.get("transpose_b") else t[1]
    return left @ right


def _prelu(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x, slope = t
    if slope.ndim == 1 and slope.numel() > 1:  # per channel, which is axis 1
        slope = slope.reshape([1, -1] + [1] * (x.ndim - 2))
    return torch.where(x >= 0, x, x * slope)


def _batch_norm(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x, gamma, beta, mean, variance = t
    return F.batch_norm(x, mean, variance, gamma, beta, eps=a["epsilon"])


def _depth_to_space(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x, b = t[0], int(a["block_size"])
    n, c, h, w = x.shape
    if a["mode"] == "depth_first":
        return F.pixel_shuffle(x, b)
    return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _unsqueeze(t: Sequence[Tensor], a: Attributes) -> Tensor:
    x = t[0]
    final = x.ndim + t[1].numel()
    for axis in sorted(n % final for n in _ints(t[1])):
        x = x.unsqueeze(axis)
    return x


def _reduce(f: Callable[..., Tensor]) -> Op:
    return lambda t, a: f(t[0], dim=_ints(t[1]), keepdim=bool(a["keep_dims"]))


OPS: dict[str, Op] = {
    "Add": lambda t, a: t[0] + t[1],
    "Subtract": lambda t, a: t[0] - t[1],
    "Multiply": lambda t, a: t[0] * t[1],
    "Divide": lambda t, a: t[0] / t[1],
    "Power": lambda t, a: t[0] ** t[1],
    "Maximum": lambda t, a: torch.maximum(t[0], t[1]),
    "Minimum": lambda t, a: torch.minimum(t[0], t[1]),
    "Sqrt": lambda t, a: t[0].sqrt(),
    "Relu": lambda t, a: F.relu(t[0]),
    "PRelu": _prelu,
    "Sigmoid": lambda t, a: torch.sigmoid(t[0]),
    "HSigmoid": lambda t, a: F.hardsigmoid(t[0]),
    "HSwish": lambda t, a: F.hardswish(t[0]),
    "Tanh": lambda t, a: torch.tanh(t[0]),
    "Clamp": lambda t, a: t[0].clamp(a["min"], a["max"]),
    "Softmax": lambda t, a: F.softmax(t[0], dim=a["axis"]),
    "Identity": lambda t, a: t[0],
    "Convert": lambda t, a: t[0].float() if a["destination_type"] in ("f32", "f16") else t[0].long(),
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "ConvolutionBackpropData": _transposed_convolution,
    "GroupConvolutionBackpropData": _transposed_convolution,
    "MaxPool": lambda t, a: _pool(t, a, largest=True),
    "AvgPool": lambda t, a: _pool(t, a, largest=False),
    "BatchNormInference": _batch_norm,
    "MVN": lambda t, a: (
        (t[0] - t[0].mean(_ints(t[1]), keepdim=True))
        / (t[0].var(_ints(t[1]), keepdim=True, unbiased=False) + a["eps"]).sqrt()
    ),
    "Interpolate": _interpolate,
    "MatMul": _matmul,
    "ReduceSum": _reduce(torch.sum),
    "ReduceMean": _reduce(torch.mean),
    "Concat": lambda t, a: torch.cat(list(t), dim=a["axis"]),
    "Reshape": _reshape,
    "Squeeze": lambda t, a: t[0].squeeze(tuple(_ints(t[1]))) if len(t) > 1 else t[0].squeeze(),
    "Unsqueeze": _unsqueeze,
    "Transpose": lambda t, a: t[0].permute(_ints(t[1])),
    "Broadcast": lambda t, a: t[0].broadcast_to(_ints(t[1])),
    "Tile": lambda t, a: t[0].tile(_ints(t[1])),
    "Gather": lambda t, a: (
        t[0].index_select(int(t[2]), t[1].reshape(-1).long()) if t[1].ndim else t[0].select(int(t[2]), int(t[1]))
    ),
    "VariadicSplit": _split,
    "Slice": _slice,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "ShapeOf": lambda t, a: torch.tensor(t[0].shape),
}


class EagerEngine:
    """Engine over the ops above. Folded once, for the shapes given at construction."""

    def __init__(self, spec: EngineSpec, graph: ov.Model, *, threads: int) -> None:
        self.spec = spec
        torch.set_num_threads(threads)
        manager = Manager()
        manager.register_pass(ConstantFolding())
        manager.run_passes(graph)
        self._graph = graph
        self._nodes = [
            n for n in graph.get_ordered_ops() if n.get_type_name() not in ("Parameter", "Constant", "Result")
        ]
        unknown = sorted({n.get_type_name() for n in self._nodes} - set(OPS))
        if unknown:
            raise ValueError(f"expected ops of {sorted(OPS)}, got {unknown} in {spec.weights}")
        self._attributes = {n.get_name(): dict(n.get_attributes()) for n in self._nodes}
        self._constants = {
            n.get_name(): _tensor(n.data) for n in graph.get_ordered_ops() if n.get_type_name() == "Constant"
        }

    @torch.inference_mode()
    def __call__(self, feeds: Tensors) -> Tensors:
        check_feeds(self.spec, feeds)
        values: dict[tuple[str, int], Tensor] = {(name, 0): v for name, v in self._constants.items()}
        for parameter, tensor in zip(self._graph.get_parameters(), self.spec.inputs, strict=True):
            values[(parameter.get_name(), 0)] = torch.from_numpy(np.array(feeds[tensor.name]))
        for node in self._nodes:
            sources = [node.input_value(i) for i in range(node.get_input_size())]
            arguments = [values[(s.get_node().get_name(), s.get_index())] for s in sources]
            produced = OPS[node.get_type_name()](arguments, self._attributes[node.get_name()])
            for index, value in enumerate([produced] if isinstance(produced, Tensor) else produced):
                values[(node.get_name(), index)] = value
        outputs = {}
        for result, tensor in zip(self._graph.get_results(), self.spec.outputs, strict=True):
            source = result.input_value(0)
            outputs[tensor.name] = values[(source.get_node().get_name(), source.get_index())].numpy()
        return outputs

    def close(self) -> None:
        self._constants.clear()


def _tensor(constant: Any) -> Tensor:
    array = np.array(constant)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)
