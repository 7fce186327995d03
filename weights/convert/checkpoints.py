"""Official checkpoints in the formats they are published in, as state dicts under the bare network's own keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from modiste.errors import WeightsUnavailable
from weights.convert.torch_pickle import read_pickle

State = dict[str, NDArray[Any]]


def read_checkpoint(path: Path, *, at: Sequence[str] = (), strip: str = "") -> State:
    """The tensors of a .pth, .pt, .ckpt, .tar, .pkl or .safetensors file, in the file's order.

    at:     names to go down by from the file's top, e.g. ("g_ema",) or ("state_dict",); where one is absent, the
            checkpoint is taken to begin there, as files of both kinds are about
    strip:  prefix of the keys that are wanted, which they lose ("module.", "decoder."); others are left out.
            Where no key has it, all are taken as they are
    raises: WeightsUnavailable
    """
    found: Any = _load(path)
    for name in at:
        if isinstance(found, Mapping) and name in found:
            found = found[name]
    tensors = _flattened(found)
    chosen = {key.removeprefix(strip): value for key, value in tensors.items() if key.startswith(strip)}
    if not (chosen or tensors):
        raise WeightsUnavailable(f"Expected tensors in {path.name}; got none.")
    return chosen or tensors


def _load(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return read_pickle(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsUnavailable(f"Expected a safetensors file; {path.name} is none: {error}.") from error


def _flattened(found: Any) -> State:
    """Levels joined by dots; what is no tensor (epochs, options, optimisers' numbers) is left out."""
    if not isinstance(found, Mapping):
        return {}
    state: State = {}
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            state[str(name)] = value
        elif isinstance(value, Mapping):
            state |= {f"{name}.{inner}": tensor for inner, tensor in _flattened(value).items()}
    return state
