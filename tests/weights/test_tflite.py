"""The tflite converter on files of one or two operators written here, against OpenVINO's own reader of that format."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import tflite
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert.tflite import convert
from weights.convert.tflite_file import read_tflite

Array = NDArray[np.float32]
RNG = np.random.default_rng(3)
SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
RELU, RELU6, TANH = (getattr(tflite.ActivationFunctionType, name) for name in ("RELU", "RELU6", "TANH"))
TYPES = {"float32": tflite.TensorType.FLOAT32, "float16": tflite.TensorType.FLOAT16, "int32": tflite.TensorType.INT32}


class Writer:
    """A file of one subgraph with the input "in"; tensors are known by the position at which they were added."""

    def __init__(self, *shape: int) -> None:
        self.builder = flatbuffers.Builder(1024)
        self.buffers: list[bytes] = [b""]
        self.tensors: list[int] = []
        self.codes: list[int] = []
        self.operators: list[int] = []
        self.tensor("in", shape)

    def table(self, kind: str, **fields: Any) -> int:
        getattr(tflite, f"{kind}Start")(self.builder)
        for name, value in fields.items():
            getattr(tflite, f"{kind}Add{name}")(self.builder, value)
        return int(getattr(tflite, f"{kind}End")(self.builder))

    def integers(self, values: Sequence[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def tables(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def tensor(self, name: str, shape: Sequence[int], **fields: Any) -> int:
        fields = {"Type": TYPES["float32"], "Buffer": 0} | fields
        fields |= {"Name": self.builder.CreateString(name), "Shape": self.integers(shape)}
        self.tensors.append(self.table("Tensor", **fields))
        return len(self.tensors) - 1

    def constant(self, value: NDArray[Any], shape: Sequence[int] | None = None, **fields: Any) -> int:
        self.buffers.append(value.tobytes())
        fields |= {"Type": TYPES[value.dtype.name], "Buffer": len(self.buffers) - 1}
        return self.tensor(f"constant{len(self.buffers)}", value.shape if shape is None else shape, **fields)

    def levels(self, order: Sequence[int], blocks: Sequence[int], *levels: int | tuple[Any, Any]) -> int:
        """A level is a size, or where each branch begins among the indices, and these."""
        made = []
        for level in levels:
            if isinstance(level, int):
                made.append(self.table("DimensionMetadata", Format=tflite.DimensionType.DENSE, DenseSize=level))
                continue
            listed: dict[str, Any] = {"Format": tflite.DimensionType.SPARSE_CSR}
            for name, values in zip(("ArraySegments", "ArrayIndices"), level, strict=True):
                kind = {1: "Uint8Vector", 2: "Uint16Vector", 4: "Int32Vector"}[values.itemsize]
                listed[f"{name}Type"] = getattr(tflite.SparseIndexVector, kind)
                listed[name] = self.table(kind, Values=self.builder.CreateNumpyVector(values))
            made.append(self.table("DimensionMetadata", **listed))
        fields = {"TraversalOrder": self.integers(order), "BlockMap": self.integers(blocks)}
        return self.table("SparsityParameters", DimMetadata=self.tables(made), **fields)

    def operator(self, kind: str, inputs: Sequence[int], shape: Sequence[int], options: str = "", **fields: Any) -> int:
        """Returns the tensor that it makes."""
        made = self.tensor(f"{kind.lower()}{len(self.operators)}", shape)
        code = getattr(tflite.BuiltinOperator, kind)
        custom = {"CustomCode": self.builder.CreateString("Own")} if kind == "CUSTOM" else {}
        self.codes.append(
            self.table("OperatorCode", DeprecatedBuiltinCode=min(code, 127), BuiltinCode=code, Version=1, **custom)
        )
        given: dict[str, Any] = {}
        if options:
            given["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options)
            given["BuiltinOptions"] = self.table(options, **fields)
        given |= {"Inputs": self.integers(inputs), "Outputs": self.integers([made])}
        self.operators.append(self.table("Operator", OpcodeIndex=len(self.codes) - 1, **given))
        return made

    def write(self, file: Path, *outputs: int) -> Path:
        graph = {name: self.tables(getattr(self, name.lower())) for name in ("Tensors", "Operators")}
        graph |= {"Inputs": self.integers([0]), "Outputs": self.integers(outputs)}
        subgraphs = self.tables([self.table("SubGraph", **graph)])
        filled = [self.builder.CreateByteVector(content) if content else 0 for content in self.buffers]
        buffers = self.tables([self.table("Buffer", **({"Data": at} if at else {})) for at in filled])
        codes = self.tables(self.codes)
        fields = {"OperatorCodes": codes, "Subgraphs": subgraphs, "Buffers": buffers}
        self.builder.Finish(self.table("Model", Version=3, **fields), b"TFL3")
        file.write_bytes(self.builder.Output())
        return file


def numbers(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def window(padding: int, stride: int, activation: int = 0, **more: int) -> dict[str, int]:
    return {"Padding": padding, "StrideH": stride, "StrideW": stride, "FusedActivationFunction": activation, **more}


def convolution(w: Writer) -> int:
    kernel, bias = w.constant(numbers(6, 3, 3, 4)), w.constant(numbers(6))
    return w.operator("CONV_2D", [0, kernel, bias], (1, 4, 5, 6), "Conv2DOptions", **window(SAME, 2, RELU6))


def dilated(w: Writer) -> int:
    fields = window(VALID, 1, RELU, DilationHFactor=2, DilationWFactor=3)
    kernel, bias = w.constant(numbers(2, 3, 3, 4)), w.constant(numbers(2))
    return w.operator("CONV_2D", [0, kernel, bias], (1, 4, 4, 2), "Conv2DOptions", **fields)


def half_precision(w: Writer) -> int:
    kernel = w.operator("DEQUANTIZE", [w.constant(numbers(2, 1, 1, 4).astype(np.float16))], (2, 1, 1, 4))
    return w.operator(
        "CONV_2D", [0, kernel, w.constant(numbers(2))], (1, 8, 10, 2), "Conv2DOptions", **window(VALID, 1)
    )


def depthwise(w: Writer) -> int:
    kernel, bias = w.constant(numbers(1, 5, 5, 8)), w.constant(numbers(8))
    fields = window(SAME, 2, DepthMultiplier=2)
    return w.operator("DEPTHWISE_CONV_2D", [0, kernel, bias], (1, 4, 5, 8), "DepthwiseConv2DOptions", **fields)


def transposed(w: Writer) -> int:
    size, kernel = w.constant(np.array([1, 16, 20, 3], np.int32)), w.constant(numbers(3, 3, 3, 4))
    return w.operator("TRANSPOSE_CONV", [size, kernel, 0], (1, 16, 20, 3), "TransposeConvOptions", **window(SAME, 2))


def pooled(w: Writer) -> int:
    fields = window(SAME, 3, FilterHeight=4, FilterWidth=2)
    first = w.operator("MAX_POOL_2D", [0], (1, 3, 4, 4), "Pool2DOptions", **fields)
    fields = window(SAME, 2, FilterHeight=3, FilterWidth=3)
    return w.operator("AVERAGE_POOL_2D", [first], (1, 2, 2, 4), "Pool2DOptions", **fields)


def leaky(w: Writer) -> int:
    return w.operator("PRELU", [0, w.constant(np.abs(numbers(1, 1, 4)))], (1, 8, 10, 4))


def padded(w: Writer) -> int:
    first = convolution(w)
    amounts = np.array([[0, 0], [1, 2], [0, 1], [0, 3]], np.int32)
    return w.operator("PAD", [first, w.constant(amounts)], (1, 7, 6, 9), "PadOptions")


def added(w: Writer) -> int:
    """A convolution's result, channels first by then, with vectors and pictures that are not."""
    first = convolution(w)
    scaled = w.operator("MUL", [first, w.constant(numbers(6))], (1, 4, 5, 6), "MulOptions")
    moved = w.operator("SUB", [w.constant(numbers(1, 4, 5, 1)), scaled], (1, 4, 5, 6), "SubOptions")
    return w.operator("ADD", [moved, first], (1, 4, 5, 6), "AddOptions", FusedActivationFunction=RELU)


def attention(w: Writer) -> int:
    """Windows of the picture as rows, a weight for each of their pixels, the weighted sum of them."""
    order = w.constant(np.array([0, 2, 1, 3], np.int32))

    def reshape(x: int, *shape: int) -> int:
        return w.operator("RESHAPE", [x, w.constant(np.array(shape, np.int32))], shape, "ReshapeOptions")

    turned = w.operator("TRANSPOSE", [reshape(0, 4, 2, 5, 8), order], (4, 5, 2, 8), "TransposeOptions")
    rows = reshape(turned, 1, 20, 4, 4)
    kernel = w.constant(numbers(1, 1, 1, 4))
    logits = w.operator(
        "CONV_2D", [rows, kernel, w.constant(numbers(1))], (1, 20, 4, 1), "Conv2DOptions", **window(VALID, 1)
    )
    share = w.operator("SOFTMAX", [reshape(logits, 1, 20, 1, 4)], (1, 20, 1, 4), "SoftmaxOptions", Beta=1.0)
    weighted = w.operator("MUL", [rows, reshape(share, 1, 20, 4, 1)], (1, 20, 4, 4), "MulOptions")
    axes = w.constant(np.array(2, np.int32))
    return w.operator("SUM", [weighted, axes], (1, 20, 1, 4), "ReducerOptions", KeepDims=True)


def joined(w: Writer) -> int:
    soft = w.operator("SOFTMAX", [convolution(w)], (1, 4, 5, 6), "SoftmaxOptions", Beta=1.0)
    likely = w.operator("LOGISTIC", [soft], (1, 4, 5, 6))
    both = w.operator("CONCATENATION", [soft, likely], (1, 4, 5, 12), "ConcatenationOptions", Axis=3)
    return w.operator("DEPTH_TO_SPACE", [both], (1, 8, 10, 3), "DepthToSpaceOptions", BlockSize=2)


def resized(kind: str, **fields: bool) -> Callable[[Writer], int]:
    def write(w: Writer) -> int:
        size = w.constant(np.array([16, 30], np.int32))
        option = {"RESIZE_BILINEAR": "ResizeBilinearOptions"}.get(kind, "ResizeNearestNeighborOptions")
        return w.operator(kind, [0, size], (1, 16, 30, 4), option, **fields)

    return write


WRITTEN: dict[str, Callable[[Writer], int]] = {
    made.__name__: made
    for made in (
        *(convolution, dilated, half_precision, depthwise, transposed, pooled),
        *(leaky, padded, added, attention, joined),
    )
} | {
    f"{kind.lower()} {' '.join(fields)}": resized(kind, **fields)
    for kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
    for fields in ({}, {"HalfPixelCenters": True}, {"AlignCorners": True})
}


@pytest.mark.parametrize("name", WRITTEN)
def test_operators_are_those_of_another_reader(name: str, tmp_path: Path) -> None:
    writer = Writer(1, 8, 10, 4)
    made = WRITTEN[name](writer)
    file = writer.write(tmp_path / "net.tflite", made)
    convert({"net.tflite": file}, tmp_path / "net.onnx")
    x = numbers(3, 8, 10, 4)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {"in": x})
    original = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.concatenate([np.array(original([one[None]])[0]) for one in x])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    (output,) = session.get_outputs()
    assert output.name == read_tflite(file).names[made]
    assert output.shape == ["N", *expected.shape[1:]]


def test_a_layout_is_turned_once(tmp_path: Path) -> None:
    """In and out of channels first, however many operators of pictures lie between."""
    writer = Writer(1, 8, 10, 4)
    file = writer.write(tmp_path / "net.tflite", joined(writer))
    convert({"net.tflite": file}, tmp_path / "net.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert kinds.count("Transpose") == 2


def test_sparse_weights_are_filled_in(tmp_path: Path) -> None:
    """Rows of listed columns, and blocks of four columns of which some are there."""
    rows = np.where(RNG.random((5, 8)) < 0.4, numbers(5, 8), 0).astype(np.float32)
    listed = [np.nonzero(row)[0] for row in rows]
    segments = np.cumsum([0, *map(len, listed)])
    blocks = np.where(np.repeat(RNG.random((5, 2)) < 0.5, 4, 1), numbers(5, 8), 0).astype(np.float32)
    there = [np.nonzero(row.reshape(2, 4).any(1))[0] for row in blocks]
    begins = np.cumsum([0, *map(len, there)])
    kept = [row.reshape(2, 4)[which] for row, which in zip(blocks, there, strict=True)]
    writer = Writer(1, 8)
    by_rows = writer.levels([0, 1], [], 5, (segments.astype(np.uint8), np.concatenate(listed).astype(np.uint16)))
    by_blocks = writer.levels([0, 1, 2], [1], 5, (begins.astype(np.int32), np.concatenate(there).astype(np.uint8)), 4)
    first = writer.constant(rows[rows != 0], rows.shape, Sparsity=by_rows)
    second = writer.constant(np.concatenate(kept).ravel(), blocks.shape, Sparsity=by_blocks)
    writer.operator("DENSIFY", [first], rows.shape)
    constants = read_tflite(writer.write(tmp_path / "net.tflite", 0)).constants
    np.testing.assert_array_equal(constants[first], rows)
    np.testing.assert_array_equal(constants[second], blocks)


def refused_operators() -> dict[str, tuple[Callable[[Writer], int], str]]:
    def unknown(w: Writer) -> int:
        return w.operator("COS", [0], (1, 8, 10, 4))

    def activated(w: Writer) -> int:
        return w.operator("ADD", [0, 0], (1, 8, 10, 4), "AddOptions", FusedActivationFunction=TANH)

    def turned(w: Writer) -> int:
        order = w.constant(np.array([1, 0, 2, 3], np.int32))
        return w.operator("TRANSPOSE", [0, order], (8, 1, 10, 4), "TransposeOptions")

    def summed(w: Writer) -> int:
        return w.operator(
            "SUM", [0, w.constant(np.array([0], np.int32))], (1, 8, 10, 4), "ReducerOptions", KeepDims=True
        )

    def computed(w: Writer) -> int:
        return w.operator("CONV_2D", [0, 0], (1, 1, 1, 1), "Conv2DOptions", **window(VALID, 1))

    return {
        "unknown": (unknown, "'COS'"),
        "custom": (lambda w: w.operator("CUSTOM", [0], (1, 8, 10, 4)), "'CUSTOM:Own'"),
        "activation": (activated, "ADD"),
        "batch turned": (turned, "TRANSPOSE to leave the batch alone"),
        "batch summed": (summed, "SUM to leave the batch alone"),
        "computed weights": (computed, "CONV_2D to be a constant"),
    }


@pytest.mark.parametrize("name", refused_operators())
def test_what_has_no_translation_is_named(name: str, tmp_path: Path) -> None:
    write, expected = refused_operators()[name]
    writer = Writer(1, 8, 10, 4)
    file = writer.write(tmp_path / "net.tflite", write(writer))
    with pytest.raises(WeightsUnavailable, match=expected):
        convert({"net.tflite": file}, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"no such thing")
    with pytest.raises(WeightsUnavailable, match=r"net\.tflite"):
        read_tflite(tmp_path / "net.tflite")
