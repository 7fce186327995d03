"""Upstream formats turned into ONNX (opset 17, batch named "N") without torch.

Each converter is a module with `convert(files, out)`: `files` maps the manifest's file names to paths, in the
manifest's order; `out` is the ONNX file to write. Of an entry with parts it gets one part's files at a time: those
that differ in their suffix only. A changed converter gets a new version here: that changes the digest of every entry
it makes, so that stale conversions and engines are never used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

Convert = Callable[[Mapping[str, Path], Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    module: str
    version: int


CONVERTERS: Mapping[str, Converter] = {
    "openvino_ir": Converter(module="weights.convert.openvino_ir", version=2),
    "upstream_onnx": Converter(module="weights.convert.upstream_onnx", version=1),
    "tflite": Converter(module="weights.convert.tflite", version=2),
    "tfjs": Converter(module="weights.convert.tfjs", version=1),
    "face_api": Converter(module="weights.convert.face_api", version=1),
    "ncnn": Converter(module="weights.convert.ncnn", version=1),
    "efficientnet_lite": Converter(module="weights.convert.efficientnet_lite", version=1),
    "pix2pix": Converter(module="weights.convert.pix2pix", version=1),
    "latent_encoder": Converter(module="weights.convert.latent_encoder", version=1),
}


def load_converter(name: str) -> Convert:
    """The function behind a name. Imported here and not above: where all is converted, serving needs no `onnx`."""
    convert: Convert = import_module(CONVERTERS[name].module).convert
    return convert
