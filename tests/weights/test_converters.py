"""Converters on small models written here in those formats, against plain numpy."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert import CONVERTERS, face_api, load_converter, ncnn, tfjs

Array = NDArray[np.float32]
RNG = np.random.default_rng(0)


def run(graph: Path, x: Array) -> Array:
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled([x])[0])


def convolve(x: Array, kernel: Array, *, stride: int, pads: tuple[int, int]) -> Array:
    """x: [C, H, W]; kernel: [out, in / groups, h, w]; pads: before and after, in both directions."""
    x = np.pad(x, ((0, 0), pads, pads))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (1, 2))[:, ::stride, ::stride]
    if kernel.shape[1] == 1:
        return np.asarray(np.einsum("chwij,cij->chw", windows, kernel[:, 0]), np.float32)
    return np.asarray(np.einsum("chwij,ocij->ohw", windows, kernel), np.float32)


def test_every_converter_can_be_loaded() -> None:
    for name in CONVERTERS:
        assert callable(load_converter(name))


# tf.js


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def convolution(name: str, op: str, inputs: list[str], stride: int, fused: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "op": op,
        "input": inputs,
        "attr": {
            "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
            "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
            "padding": text("SAME"),
            "fused_ops": {"list": {"s": [text(value)["s"] for value in fused]}},
        },
    }


def write_tfjs(
    folder: Path, nodes: list[dict[str, Any]], tensors: dict[str, tuple[NDArray[Any], Any]]
) -> dict[str, Path]:
    """tensors: name to (what is stored, quantization); written over two shards."""
    weights, blob = [], b""
    for name, (stored, quantised) in tensors.items():
        entry: dict[str, Any] = {"name": name, "shape": list(stored.shape), "dtype": stored.dtype.name}
        if quantised:
            entry |= {"dtype": "float32", "quantization": quantised}
        weights.append(entry)
        blob += stored.tobytes()
    files = {"model.json": folder / "model.json"}
    for number, part in enumerate((blob[:10], blob[10:]), 1):
        files[f"shard{number}.bin"] = folder / f"shard{number}.bin"
        files[f"shard{number}.bin"].write_bytes(part)
    manifest = [{"paths": ["shard1.bin", "shard2.bin"], "weights": weights}]
    files["model.json"].write_text(
        json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": manifest, "format": "graph-model"})
    )
    return files


PLACEHOLDER = {
    "name": "input",
    "op": "Placeholder",
    "attr": {"shape": {"shape": {"dim": [{"size": "1"}, {"size": "-1"}, {"size": "-1"}, {"size": "3"}]}}},
}


def test_tfjs_convolutions_resizing_and_quantised_weights(tmp_path: Path) -> None:
    kernel = RNG.integers(0, 255, (3, 3, 3, 4)).astype(np.uint8)
    bias = RNG.normal(size=4).astype(np.float16)
    depthwise = RNG.normal(size=(3, 3, 4, 1)).astype(np.float32)
    nodes = [
        {"name": "probability", "op": "Softmax", "input": ["resized"], "attr": {}},
        {
            "name": "resized",
            "op": "ResizeBilinear",
            "input": ["deep", "size"],
            "attr": {"align_corners": {"b": False}, "half_pixel_centers": {"b": True}},
        },
        convolution("deep", "FusedDepthwiseConv2dNative", ["first", "depthwise"], 1, []),
        convolution("first", "_FusedConv2D", ["input", "kernel", "bias"], 2, ["BiasAdd", "Relu6"]),
        *({"name": name, "op": "Const", "attr": {}} for name in ("kernel", "bias", "depthwise", "size")),
        PLACEHOLDER,
    ]
    files = write_tfjs(
        tmp_path,
        nodes,
        {
            "kernel": (kernel, {"dtype": "uint8", "scale": 0.01, "min": -1.2}),
            "bias": (bias, {"dtype": "float16"}),
            "depthwise": (depthwise, None),
            "size": (np.array([8, 10], np.int32), None),
        },
    )
    tfjs.convert(files, tmp_path / "net.onnx")
    x = RNG.uniform(-1, 1, (2, 3, 8, 10)).astype(np.float32)
    weights = (kernel.astype(np.float32) * 0.01 - 1.2).transpose(3, 2, 0, 1)
    expected = []
    for picture in x:
        first = convolve(picture, weights, stride=2, pads=(0, 1)) + bias.astype(np.float32)[:, None, None]
        deep = convolve(np.clip(first, 0, 6), depthwise.transpose(2, 3, 0, 1), stride=1, pads=(1, 1))
        expected.append(_twice(deep))
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), np.stack(expected), atol=1e-4)


def _twice(x: Array) -> Array:
    """Bilinear to double size, pixel centres at halves."""
    for axis in (1, 2):
        before = np.concatenate([np.take(x, [0], axis), np.delete(x, -1, axis)], axis)
        after = np.concatenate([np.delete(x, 0, axis), np.take(x, [-1], axis)], axis)
        pair = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :]).astype(np.float32)
    return x


def test_tfjs_sizes_follow_the_picture(tmp_path: Path) -> None:
    """Shape arithmetic, pooling, gates, concatenation: what real segmentation networks have at their ends."""
    plain = {name: {"i": "0"} for name in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask")}
    pool = {
        "ksize": {"list": {"i": ["1", "2", "2", "1"]}},
        "strides": {"list": {"i": ["1", "2", "2", "1"]}},
        "padding": text("VALID"),
    }
    nodes = [
        PLACEHOLDER,
        {"name": "average", "op": "AvgPool", "input": ["input"], "attr": pool},
        {"name": "largest", "op": "MaxPool", "input": ["input"], "attr": pool},
        {"name": "both", "op": "ConcatV2", "input": ["average", "largest", "last"], "attr": {}},
        {"name": "mean", "op": "Mean", "input": ["both", "axes"], "attr": {"keep_dims": {"b": True}}},
        {"name": "scaled", "op": "Mul", "input": ["mean", "scale"], "attr": {}},
        {"name": "gate", "op": "Sigmoid", "input": ["scaled"], "attr": {}},
        {"name": "gated", "op": "Mul", "input": ["both", "gate"], "attr": {}},
        {"name": "shape", "op": "Shape", "input": ["both"], "attr": {}},
        *(
            {
                "name": f"side{i}",
                "op": "StridedSlice",
                "input": ["shape", f"at{i}", f"at{i + 1}", "at1"],
                "attr": plain | {"shrink_axis_mask": {"i": "1"}},
            }
            for i in (1, 2)
        ),
        *({"name": f"twice{i}", "op": "Mul", "input": [f"side{i}", "two"], "attr": {}} for i in (1, 2)),
        {"name": "size", "op": "Pack", "input": ["twice1", "twice2"], "attr": {}},
        {
            "name": "out",
            "op": "ResizeBilinear",
            "input": ["gated", "size"],
            "attr": {"half_pixel_centers": {"b": True}},
        },
        {"name": "label", "op": "ArgMax", "input": ["out", "last"], "attr": {}},
    ]
    scale = RNG.normal(size=6).astype(np.float32)
    integers = {"last": -1, "axes": [1, 2], "at1": [1], "at2": [2], "at3": [3], "two": 2}
    constants: dict[str, tuple[NDArray[Any], Any]] = {n: (np.array(v, np.int32), None) for n, v in integers.items()}
    constants["scale"] = (scale, None)
    nodes += [{"name": name, "op": "Const", "attr": {}} for name in constants]
    tfjs.convert(write_tfjs(tmp_path, nodes, constants), tmp_path / "net.onnx")
    for height, width in ((6, 8), (10, 4)):
        x = RNG.uniform(-1, 1, (1, 3, height, width)).astype(np.float32)
        blocks = x[0].reshape(3, height // 2, 2, width // 2, 2)
        both = np.concatenate([blocks.mean((2, 4)), blocks.max((2, 4))])
        gate = 1 / (1 + np.exp(-both.mean((1, 2)) * scale))
        expected = _twice(both * gate[:, None, None])[None]
        np.testing.assert_allclose(run(tmp_path / "net.onnx", x), expected, atol=1e-5)


def test_tfjs_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    nodes = [PLACEHOLDER, {"name": "odd", "op": "Erf", "input": ["input"], "attr": {}}]
    with pytest.raises(WeightsUnavailable, match="'Erf'"):
        tfjs.convert(write_tfjs(tmp_path, nodes, {}), tmp_path / "net.onnx")


def test_tfjs_shards_must_be_whole(tmp_path: Path) -> None:
    nodes = [PLACEHOLDER, {"name": "scaled", "op": "Mul", "input": ["input", "scale"], "attr": {}}]
    files = write_tfjs(tmp_path, nodes, {"scale": (np.ones(3, np.float32), None)})
    whole = files["shard2.bin"].read_bytes()
    files["shard2.bin"].write_bytes(whole[:-1])
    with pytest.raises(WeightsUnavailable, match="scale is cut off"):
        tfjs.convert(files, tmp_path / "net.onnx")
    files["shard2.bin"].write_bytes(whole + b"!")
    with pytest.raises(WeightsUnavailable, match="got 13"):
        tfjs.convert(files, tmp_path / "net.onnx")


# ncnn

PARAM = """7767517
7 8
Input        in    0 1 a
Split        fork  1 2 a b c
Convolution  one   1 1 b d 0=3 1=3 4=1 5=1 6=81 9=2 -23310=1,2.000000e-01
Eltwise      sum   2 1 d c e 0=1 -23301=2,2.000000e-01,1.000000e+00
Concat       cat   2 1 e c f 0=0
Interp       up    1 1 f g 0=1 1=2.000000e+00 2=2.000000e+00
Convolution  two   1 1 g out 0=2 1=1 6=12 9=1
"""


def write_ncnn(folder: Path, param: str, blob: bytes) -> dict[str, Path]:
    files = {name: folder / name for name in ("net.param", "net.bin")}
    files["net.param"].write_text(param)
    files["net.bin"].write_bytes(blob)
    return files


def test_ncnn_two_convolutions(tmp_path: Path) -> None:
    first = RNG.normal(size=(3, 3, 3, 3)).astype(np.float16)  # 81 values: filled up to 4 bytes
    bias = RNG.normal(size=3).astype(np.float32)
    second = RNG.normal(size=(2, 6, 1, 1)).astype(np.float32)
    blob = struct.pack("<I", 0x01306B47) + first.tobytes() + b"\0\0" + bias.tobytes()
    blob += struct.pack("<I", 0) + second.tobytes()
    ncnn.convert(write_ncnn(tmp_path, PARAM, blob), tmp_path / "net.onnx")
    x = RNG.uniform(size=(2, 3, 5, 7)).astype(np.float32)
    expected = []
    for picture in x:
        d = convolve(picture, first.astype(np.float32), stride=1, pads=(1, 1)) + bias[:, None, None]
        e = 0.2 * np.where(d > 0, d, 0.2 * d) + picture
        g = np.concatenate([e, picture]).repeat(2, 1).repeat(2, 2)
        expected.append(np.maximum(convolve(g, second, stride=1, pads=(0, 0)), 0))
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), np.stack(expected), atol=1e-4)


def test_ncnn_must_be_used_up_and_known(tmp_path: Path) -> None:
    blob = struct.pack("<I", 0) + bytes(81 * 4) + bytes(12) + struct.pack("<I", 0) + bytes(48)
    ncnn.convert(write_ncnn(tmp_path, PARAM, blob), tmp_path / "net.onnx")
    for content, param, reason in (
        (blob + b"!", PARAM, "1 bytes are left"),
        (blob[:-4], PARAM, "48 more bytes"),
        (b"abcd" + blob[4:], PARAM, "got tag"),
        (blob, PARAM.replace("Interp", "Sigmoid"), "'Sigmoid'"),
        (blob, PARAM.replace("7767517", "7767518"), "7767517"),
        (blob, PARAM.replace("up    1 1 f g 0=1", "up    1 1 f g 0=2"), "nearest"),
    ):
        with pytest.raises(WeightsUnavailable, match=reason):
            ncnn.convert(write_ncnn(tmp_path, param, content), tmp_path / "net.onnx")


# face-api


def test_face_api_folds_the_scales_and_fills_the_shortcuts(tmp_path: Path) -> None:
    """The whole network on quantised noise, against the same in numpy."""
    tensors: dict[str, tuple[NDArray[Any], Any]] = {}

    def add(name: str, entering: int, leaving: int, size: int) -> None:
        spread = 3 / (255 * size * np.sqrt(entering))
        filters = RNG.integers(0, 256, (size, size, entering, leaving)).astype(np.uint8)
        tensors[f"{name}/conv/filters"] = (filters, {"dtype": "uint8", "scale": spread, "min": -127 * spread})
        for part in ("conv/bias", "scale/weights", "scale/biases"):
            tensors[f"{name}/{part}"] = (RNG.uniform(0.1, 0.9, leaving).astype(np.float32), None)

    add("conv32_down", 3, 32, 7)
    width = 32
    for block in face_api.BLOCKS:
        wider = int(block.removeprefix("conv").partition("_")[0])
        add(f"{block}/conv1", width, wider, 3)
        add(f"{block}/conv2", wider, wider, 3)
        width = wider
    tensors["fc"] = (RNG.normal(size=(256, 128)).astype(np.float32), None)
    files = write_tfjs(tmp_path, [], tensors)
    manifest = tmp_path / "weights_manifest.json"
    manifest.write_text(json.dumps(json.loads(files["model.json"].read_text())["weightsManifest"]))
    shards = {name: path for name, path in files.items() if name != "model.json"}
    face_api.convert({manifest.name: manifest} | shards, tmp_path / "net.onnx")

    def layer(name: str, x: Array, stride: int, pad: int) -> Array:
        stored, quantised = tensors[f"{name}/conv/filters"]
        kernel = (stored * np.float32(quantised["scale"]) + np.float32(quantised["min"])).transpose(3, 2, 0, 1)
        bias, scale, shift = (
            tensors[f"{name}/{p}"][0][:, None, None] for p in ("conv/bias", "scale/weights", "scale/biases")
        )
        y: Array = (convolve(x, kernel, stride=stride, pads=(pad, pad)) + bias) * scale + shift
        return y

    face = RNG.uniform(-0.5, 0.5, (3, 150, 150)).astype(np.float32)
    x = np.maximum(layer("conv32_down", face, 2, 0), 0)
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max((3, 4))
    for block in face_api.BLOCKS:
        down = "_down" in block
        y = layer(f"{block}/conv1", x, 2 if down else 1, 0 if down else 1)
        y = layer(f"{block}/conv2", np.maximum(y, 0), 1, 1)
        if down:
            half = x.shape[1] // 2
            x = x[:, : 2 * half, : 2 * half].reshape(-1, half, 2, half, 2).mean((2, 4))
            room = np.zeros((y.shape[0], half, half), np.float32)
            padded, shortcut = room.copy(), room
            padded[:, : y.shape[1], : y.shape[2]] = y
            shortcut[: x.shape[0]] = x
            x, y = shortcut, padded
        x = np.maximum(x + y, 0)
    expected = x.mean((1, 2)) @ tensors["fc"][0]
    found = run(tmp_path / "net.onnx", face[None])[0]
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_graphs_pin_the_opset_and_free_the_batch(tmp_path: Path) -> None:
    blob = struct.pack("<I", 0) + bytes(81 * 4) + bytes(12) + struct.pack("<I", 0) + bytes(48)
    ncnn.convert(write_ncnn(tmp_path, PARAM, blob), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert [opset.version for opset in model.opset_import] == [17]
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.shape.dim[0].dim_param == "N"
