"""Weights of a Keras model in HDF5, under a network's own keys.

Keras numbers layers by a count that keeps growing within a process, so layers are matched by their order. h5py comes
with the torch environment.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert.checkpoints import State

OURS: Mapping[str, str] = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Keras's name of a tensor -> torch's."""
AXES = (3, 2, 0, 1)
"""Of a kernel: [height, width, in, out] to [out, in, height, width], and for transposed convolutions [height, width,
out, in] to [in, out, height, width]."""


def read_keras(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> State:
    """The tensors of a .h5 file that holds a model or its weights; its layers take the names of the network's layers,
    which have to be in the same order.

    shapes: key -> shape that the network has; only names and order are looked at
    raises: WeightsUnavailable
    """
    ours = list(dict.fromkeys(key.rpartition(".")[0] for key in shapes))
    theirs = list(_layers(path))
    if len(ours) != len(theirs):
        raise WeightsUnavailable(f"Expected {len(ours)} layers with weights in {path.name}; got {len(theirs)}.")
    return {f"{ours[n]}.{name}": value for n, layer in enumerate(theirs) for name, value in layer.items()}


def _layers(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise WeightsUnavailable(f"Expected an HDF5 file; {path.name} is none: {error}.") from error
    with file:
        top = file.get("model_weights", file)
        if "layer_names" not in top.attrs:
            raise WeightsUnavailable(f"Expected the weights of a Keras model; {path.name} names no layers.")
        for layer in map(_text, top.attrs["layer_names"]):
            names = list(map(_text, top[layer].attrs["weight_names"]))
            if names:
                yield dict(_tensor(name, np.asarray(top[layer][name])) for name in names)


def _tensor(name: str, value: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    kind = name.rpartition("/")[2].partition(":")[0]
    if kind not in OURS:
        raise WeightsUnavailable(f"Expected a Keras tensor among {', '.join(OURS)}; got {name!r}.")
    return OURS[kind], value.transpose(AXES) if value.ndim == 4 else value


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
