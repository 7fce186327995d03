"""Weights as TensorFlow.js stores them: a manifest in JSON and binary shards, possibly quantised."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable

STORED = {"float32": "<f4", "int32": "<i4", "bool": "?", "uint8": "<u1", "uint16": "<u2", "float16": "<f2"}


def read_weights(groups: Sequence[Mapping[str, Any]], files: Mapping[str, Path]) -> dict[str, NDArray[Any]]:
    """All tensors by name, in float32, int32 or bool; quantised ones are taken back as value * scale + min.

    groups: the `weightsManifest`; each has tensors in order and the shards they lie in, joined
    files:  the shards by the last part of their path
    """
    tensors: dict[str, NDArray[Any]] = {}
    for group in groups:
        blob = b"".join(files[Path(shard).name].read_bytes() for shard in group["paths"])
        offset = 0
        for tensor in group["weights"]:
            quantised = tensor.get("quantization")
            stored = quantised["dtype"] if quantised else tensor["dtype"]
            if stored not in STORED:
                raise WeightsUnavailable(f"Expected a tensor type among {', '.join(STORED)}; got {stored!r}.")
            dtype = np.dtype(STORED[stored])
            count = math.prod(tensor["shape"])
            if offset + count * dtype.itemsize > len(blob):
                raise WeightsUnavailable(f"Expected whole shards; {tensor['name']} is cut off.")
            values = np.frombuffer(blob, dtype, count, offset).reshape(tensor["shape"])
            offset += count * dtype.itemsize
            if quantised:
                values = values.astype(np.float32)
                if "scale" in quantised:
                    values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
            tensors[tensor["name"]] = values
        if offset != len(blob):
            raise WeightsUnavailable(f"Expected {offset} bytes of weights; got {len(blob)}.")
    return tensors
