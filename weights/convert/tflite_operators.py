"""TensorFlow Lite's operators in ONNX, by their names in the schema."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tflite

from modiste.errors import WeightsUnavailable
from weights.convert.graph import Graph
from weights.convert.tflite_file import Operator
from weights.convert.tflite_layout import ACTIVATIONS, LAST_TO_FIRST, Translation

AXIS_IN_FIRST = (0, 2, 3, 1)  # the position of each channels-last axis in a channels-first tensor


def _inner_axes(operator: Operator, axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front, none of them the batch."""
    found = sorted(int(axis) % rank for axis in axes)
    if 0 in found:
        raise WeightsUnavailable(f"Expected {operator.kind} to leave the batch alone; got axes {found}.")
    return found


def _pads(operator: Operator, sizes: Sequence[int], kernel: Sequence[int], result: Sequence[int]) -> list[int]:
    """Of a window with the operator's strides that runs over `sizes` and makes `result`, both (height, width)."""
    options = operator.options
    if options.Padding() == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    missing = [
        max((there - 1) * stride + reach - size, 0)
        for there, stride, reach, size in zip(
            result, (options.StrideH(), options.StrideW()), kernel, sizes, strict=True
        )
    ]
    before = [total // 2 for total in missing]
    return [*before, *(total - front for total, front in zip(missing, before, strict=True))]


def _dequantize(of: Translation, operator: Operator) -> None:
    """Of float16 weights."""
    value = of.weight(operator, 0)
    if value.dtype != np.float16:
        raise WeightsUnavailable(f"Expected DEQUANTIZE of float16 weights; got {value.dtype}.")
    of.constants[operator.outputs[0]] = value.astype(np.float32)


def _densify(of: Translation, operator: Operator) -> None:
    of.constants[operator.outputs[0]] = of.weight(operator, 0)  # already dense as it is read


def _convolution(of: Translation, operator: Operator) -> None:
    """Weights: [out, height, width, in]; of a depthwise one [1, height, width, in * multiplier]."""
    options, kernel = operator.options, of.weight(operator, 1)
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    dilations = [options.DilationHFactor(), options.DilationWFactor()]
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel.shape[1:3], strict=True)]
    sizes, result = (of.shape(index)[1:3] for index in (operator.inputs[0], operator.outputs[0]))
    x = of.graph.convolution(
        of.channels_first(operator.inputs[0]),
        kernel.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)),
        of.bias(operator, 2),
        strides=[options.StrideH(), options.StrideW()],
        dilations=dilations,
        group=of.shape(operator.inputs[0])[3] if depthwise else 1,
        pads=_pads(operator, sizes, reach, result),
    )
    of.put(operator, x, first=True)


def _transposed_convolution(of: Translation, operator: Operator) -> None:
    """Inputs: the size it makes, weights [out, height, width, in], the tensor, biases."""
    options, kernel = operator.options, of.weight(operator, 1)
    sizes, result = (of.shape(index)[1:3] for index in (operator.inputs[2], operator.outputs[0]))
    inputs = [of.channels_first(operator.inputs[2]), of.graph.constant(kernel.transpose(3, 0, 1, 2))]
    if (bias := of.bias(operator, 3)) is not None:
        inputs.append(of.graph.constant(bias))
    strides, reach = [options.StrideH(), options.StrideW()], kernel.shape[1:3]
    whole = [(size - 1) * stride + span for size, stride, span in zip(sizes, strides, reach, strict=True)]
    x = of.graph.node(
        "ConvTranspose",
        *inputs,
        kernel_shape=list(reach),
        strides=strides,
        pads=_pads(operator, result, reach, sizes),
        output_padding=[max(made - all_, 0) for made, all_ in zip(result, whole, strict=True)],
    )
    of.put(operator, x, first=True)


def _pool(op: str, **attributes: Any) -> Callable[[Translation, Operator], None]:
    def translate(of: Translation, operator: Operator) -> None:
        options = operator.options
        window = [options.FilterHeight(), options.FilterWidth()]
        sizes, result = (of.shape(index)[1:3] for index in (operator.inputs[0], operator.outputs[0]))
        x = of.graph.node(
            op,
            of.channels_first(operator.inputs[0]),
            kernel_shape=window,
            strides=[options.StrideH(), options.StrideW()],
            pads=_pads(operator, sizes, window, result),
            **attributes,
        )
        of.put(operator, x, first=True)

    return translate


def _elementwise(op: str) -> Callable[[Translation, Operator], None]:
    """Constants broadcast from the last axis of the file's layout."""

    def translate(of: Translation, operator: Operator) -> None:
        computed = [index for index in operator.inputs if index not in of.constants]
        first = any(index in of.first for index in computed)
        if len({of.shape(index)[0] for index in computed}) > 1 or len({len(of.shape(i)) for i in computed}) > 1:
            raise WeightsUnavailable(f"Expected {operator.kind} of tensors of one batch; got other shapes.")
        operands = []
        for index in operator.inputs:
            if index in of.constants:
                value = of.constants[index]
                if value.ndim == 4 and value.shape[0] != 1:
                    raise WeightsUnavailable(f"Expected {operator.kind} to treat a batch alike; got {value.shape}.")
                if first:
                    value = value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(LAST_TO_FIRST)
                operands.append(of.graph.constant(value))
            else:
                operands.append(of.channels_first(index) if first else of.channels_last(index))
        of.put(operator, of.graph.node(op, *operands), first=first)

    return translate


def _unary(make: Callable[[Graph, str], str]) -> Callable[[Translation, Operator], None]:
    def translate(of: Translation, operator: Operator) -> None:
        x, first = of.either(operator.inputs[0])
        of.put(operator, make(of.graph, x), first=first)

    return translate


def _softmax(of: Translation, operator: Operator) -> None:
    """Over the last axis."""
    if operator.options.Beta() != 1:
        raise WeightsUnavailable(f"Expected a softmax of beta 1; got {operator.options.Beta()}.")
    x, first = of.either(operator.inputs[0])
    of.put(operator, of.graph.node("Softmax", x, axis=1 if first else -1), first=first)


def _sum(of: Translation, operator: Operator) -> None:
    if not operator.options.KeepDims():
        raise WeightsUnavailable("Expected a sum that keeps its axes; got one that drops them.")
    x, first = of.either(operator.inputs[0])
    axes = _inner_axes(operator, np.ravel(of.weight(operator, 1)).tolist(), len(of.shape(operator.inputs[0])))
    listed = of.graph.constant(np.array([AXIS_IN_FIRST[axis] if first else axis for axis in axes], np.int64))
    of.put(operator, of.graph.node("ReduceSum", x, listed, keepdims=1), first=first)


def _concatenate(of: Translation, operator: Operator) -> None:
    (axis,) = _inner_axes(operator, [operator.options.Axis()], len(of.shape(operator.inputs[0])))
    first = any(index in of.first for index in operator.inputs)
    parts = [of.channels_first(index) if first else of.channels_last(index) for index in operator.inputs]
    of.put(operator, of.graph.node("Concat", *parts, axis=AXIS_IN_FIRST[axis] if first else axis), first=first)


def _pad(of: Translation, operator: Operator) -> None:
    """With zeros; channels first wherever that is possible, since a convolution then takes the padding over."""
    amounts = of.weight(operator, 1)
    if amounts[0].any():
        raise WeightsUnavailable(f"Expected PAD to leave the batch alone; got {amounts[0].tolist()}.")
    first = len(amounts) == 4
    x = of.channels_first(operator.inputs[0]) if first else of.channels_last(operator.inputs[0])
    ordered = amounts[list(LAST_TO_FIRST)] if first else amounts
    of.put(operator, of.graph.node("Pad", x, of.graph.constant(ordered.T.ravel().astype(np.int64))), first=first)


def _reshape(of: Translation, operator: Operator) -> None:
    """The batch is outermost in memory, so it stays so in whatever is made of the inner axes."""
    shape = np.array([-1, *of.shape(operator.outputs[0])[1:]], np.int64)
    x = of.graph.node("Reshape", of.channels_last(operator.inputs[0]), of.graph.constant(shape))
    of.put(operator, x, first=False)


def _transpose(of: Translation, operator: Operator) -> None:
    order = of.weight(operator, 1).tolist()
    if order[0] != 0:
        raise WeightsUnavailable(f"Expected TRANSPOSE to leave the batch alone; got {order}.")
    of.put(operator, of.graph.node("Transpose", of.channels_last(operator.inputs[0]), perm=order), first=False)


def _depth_to_space(of: Translation, operator: Operator) -> None:
    block = operator.options.BlockSize()
    x = of.graph.node("DepthToSpace", of.channels_first(operator.inputs[0]), blocksize=block, mode="DCR")
    of.put(operator, x, first=True)


def _resize(mode: str) -> Callable[[Translation, Operator], None]:
    """To a fixed size, by the quotients of the sizes: these leave the batch free without asking for its size."""

    def translate(of: Translation, operator: Operator) -> None:
        options = operator.options
        sizes, result = (of.shape(index)[1:3] for index in (operator.inputs[0], operator.outputs[0]))
        quotients = [made / size for made, size in zip(result, sizes, strict=True)]
        if any(quotient != round(quotient) for quotient in quotients):
            raise WeightsUnavailable(f"Expected {operator.kind} to a multiple; got {sizes} to {result}.")
        half_pixel, corners = options.HalfPixelCenters(), options.AlignCorners()
        # Nearest: TensorFlow takes the floor of a pixel's place without the half that ONNX takes off again.
        rounding = {"nearest_mode": "round_prefer_ceil" if half_pixel or corners else "floor"}
        x = of.graph.node(
            "Resize",
            of.channels_first(operator.inputs[0]),
            "",
            of.graph.constant(np.array([1, 1, *quotients], np.float32)),
            mode=mode,
            coordinate_transformation_mode=(
                "half_pixel" if half_pixel else "align_corners" if corners else "asymmetric"
            ),
            **(rounding if mode == "nearest" else {}),
        )
        of.put(operator, x, first=True)

    return translate


OPERATORS: Mapping[str, Callable[[Translation, Operator], None]] = {
    "DEQUANTIZE": _dequantize,
    "DENSIFY": _densify,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed_convolution,
    "MAX_POOL_2D": _pool("MaxPool"),
    "AVERAGE_POOL_2D": _pool("AveragePool", count_include_pad=0),
    "ADD": _elementwise("Add"),
    "SUB": _elementwise("Sub"),
    "MUL": _elementwise("Mul"),
    "PRELU": _elementwise("PRelu"),
    "RELU": _unary(ACTIVATIONS[tflite.ActivationFunctionType.RELU]),
    "RELU6": _unary(ACTIVATIONS[tflite.ActivationFunctionType.RELU6]),
    "LOGISTIC": _unary(lambda graph, x: graph.node("Sigmoid", x)),
    "SOFTMAX": _softmax,
    "SUM": _sum,
    "CONCATENATION": _concatenate,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "TRANSPOSE": _transpose,
    "DEPTH_TO_SPACE": _depth_to_space,
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
}
