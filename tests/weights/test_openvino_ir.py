"""The OpenVINO IR converter on small networks written here, against OpenVINO itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset8 as op

from modiste.errors import WeightsUnavailable
from weights.convert.openvino_ir import convert

Array = NDArray[np.float32]
RNG = np.random.default_rng(4)


def numbers(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def written(folder: Path, shape: tuple[int, ...], build: Callable[[Any], Any], half: bool = False) -> dict[str, Path]:
    """A network from "in" to "out" as .xml and .bin; half: constants in half precision."""
    x = op.parameter(shape, np.float32, name="in")
    x.output(0).set_names({"in"})
    made = build(x)
    made.output(0).set_names({"out"})
    openvino.save_model(openvino.Model([made], [x], "net"), folder / "net.xml", compress_to_fp16=half)
    return {name: folder / name for name in ("net.xml", "net.bin")}


def both(files: dict[str, Path], x: Array) -> tuple[Array, Array]:
    """What the IR says to one input after another, and its ONNX to all at once."""
    out = files["net.xml"].with_name("net.onnx")
    convert(files, out)
    (found,) = onnxruntime.InferenceSession(out).run(["out"], {"in": x})
    original = openvino.Core().compile_model(files["net.xml"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([np.array(original([one[None]])[0]) for one in x]), found


def haar(x: Any, *, side: int, channels: int) -> Any:
    """Four bands to twice the size: the low band's channels first, then each channel's other three."""
    low, rest = op.variadic_split(x, np.int64(1), np.array([channels, 3 * channels])).outputs()
    shape = op.concat(
        [op.gather(op.shape_of(x), np.array([0]), np.int64(0)), np.array([channels, 3, side, side], np.int64)], 0
    )
    cut = op.variadic_split(op.reshape(rest, shape, special_zero=True), np.int64(2), np.array([1, 1, 1])).outputs()
    bands = [low, *(op.squeeze(part, np.array([2])) for part in cut)]

    def enlarged(band: Any, sign: float, axis: int) -> Any:
        kernel = np.full((channels, 1, 1, 2, 1) if axis == 0 else (channels, 1, 1, 1, 2), 0.7, np.float32)
        kernel.reshape(channels, 2)[:, 1] *= sign
        strides = [2, 1] if axis == 0 else [1, 2]
        return op.group_convolution_backprop_data(band, kernel, strides=strides, pads_begin=[0, 0], pads_end=[0, 0])

    pairs = [
        op.add(enlarged(first, 1, 0), enlarged(second, -1, 0))
        for first, second in zip(bands[::2], bands[1::2], strict=True)
    ]
    return op.add(enlarged(pairs[0], 1, 1), enlarged(pairs[1], -1, 1))


def test_a_mapping_of_latents(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        square = op.reduce_mean(op.power(x, np.float32(2)), np.array([1]), keep_dims=True)
        root = op.power(op.add(square, np.float32(1e-8)), np.float32(0.5))
        unit = op.multiply(x, op.power(root, np.float32(-1)))
        made = op.matmul(unit, op.constant(numbers(5, 6)), False, True)
        leaky = op.prelu(op.add(made, op.constant(numbers(1, 5))), np.array([0.2], np.float32))
        return op.prelu(op.power(leaky, np.float32(3)), np.abs(numbers(5)))

    expected, found = both(written(tmp_path, (1, 6), build), numbers(3, 6))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("half", [False, True])
def test_a_modulated_synthesis(half: bool, tmp_path: Path) -> None:
    """A constant picture repeated for the batch, scaled by a latent, through convolutions of both kinds."""
    plain = {"strides": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1], "dilations": [1, 1]}

    def build(x: Any) -> Any:
        batch = op.gather(op.shape_of(x), np.array([0]), np.int64(0))
        repeats = op.concat([batch, np.array([1, 1, 1], np.int64)], 0)
        start = op.tile(op.constant(numbers(1, 8, 4, 4)), repeats)
        scale = op.reshape(x, op.concat([batch, np.array([-1, 1, 1], np.int64)], 0), special_zero=True)
        seen = op.convolution(op.multiply(start, scale), op.constant(numbers(8, 8, 3, 3)), **plain)
        deep = op.group_convolution(seen, op.constant(numbers(4, 3, 2, 3, 3)), **plain)
        return haar(deep, side=4, channels=3)

    files = written(tmp_path, (1, 8), build, half)
    expected, found = both(files, numbers(3, 8))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    kinds = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert "DepthToSpace" in kinds
    assert not kinds & {"ConvTranspose", "Split", "Shape", "Tile"}


@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)])
def test_windows_that_overlap_or_are_no_squares_stay_as_they_are(kernel: tuple[int, int], tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        strides = [2, min(kernel[1], 4)]
        one, other = (
            op.group_convolution_backprop_data(
                x, op.constant(numbers(4, 1, 1, *kernel)), strides=strides, pads_begin=[0, 0], pads_end=[0, 0]
            )
            for _ in range(2)
        )
        return op.add(one, other)

    expected, found = both(written(tmp_path, (1, 4, 5, 6), build), numbers(2, 4, 5, 6))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert "ConvTranspose" in {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unknown": (op.erf, "'Erf'"),
    "mean over the batch": (lambda x: op.reduce_mean(x, np.array([0]), keep_dims=True), "leave the batch alone"),
    "computed weights": (lambda x: op.matmul(x, op.multiply(x, x), False, True), "to be a constant"),
    "repeated": (lambda x: op.add(op.tile(x, np.array([1, 2])), np.float32(1)), "repeat for a batch only"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_translation_is_named(name: str, tmp_path: Path) -> None:
    build, expected = REFUSED[name]
    with pytest.raises(WeightsUnavailable, match=expected):
        convert(written(tmp_path, (1, 4), build), tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()
