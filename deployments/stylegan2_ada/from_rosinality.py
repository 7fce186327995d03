"""Checkpoints of the rosinality layout under the keys of the adaptive-augmentation layout: the same pictures.

Both hold the same generator: only names and superfluous axes differ, no filter is flipped and nothing is scaled.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

OPERATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "as is": lambda tensor: tensor,
        "drop leading 1": lambda tensor: tensor[0],
        "reshape to 0-D": lambda tensor: tensor.reshape(()),
        "flatten": lambda tensor: tensor.reshape(-1),
        "take [0,0]": lambda tensor: tensor[0, 0],
    }
)
"""What is done to a tensor of the rosinality layout."""

_LAYER = {
    "weight": ("conv.weight", "drop leading 1"),
    "noise_strength": ("noise.weight", "reshape to 0-D"),
    "bias": ("activate.bias", "as is"),
    "affine.weight": ("conv.modulation.weight", "as is"),
    "affine.bias": ("conv.modulation.bias", "as is"),
}
_COLOURS = {
    "weight": ("conv.weight", "drop leading 1"),
    "bias": ("bias", "flatten"),
    "affine.weight": ("conv.modulation.weight", "as is"),
    "affine.bias": ("conv.modulation.bias", "as is"),
}


def source_of(key: str) -> tuple[str, str] | None:
    """Where a key of the adaptive-augmentation layout comes from.

    returns: the rosinality key and the name of the operation; None for FIR filters, which are constants, and for
             `mapping.w_avg`, which rosinality files keep beside the network as `latent_avg`
    raises:  KeyError for a key that is no generator's
    """
    if key == "mapping.w_avg" or key.endswith("resample_filter"):
        return None
    if key == "synthesis.b4.const":
        return "input.input", "drop leading 1"
    network, part, rest = key.split(".", 2)
    if network == "mapping":
        return f"style.{int(part.removeprefix('fc')) + 1}.{rest}", "as is"
    level = int(part.removeprefix("b")).bit_length() - 3  # 4 -> 0, 8 -> 1, ...
    layer, _, name = rest.partition(".")
    if layer == "torgb":
        theirs, operation = _COLOURS[name]
        return f"{f'to_rgbs.{level - 1}' if level else 'to_rgb1'}.{theirs}", operation
    number = 2 * level - 1 + {"conv0": 0, "conv1": 1}[layer] if level else 0
    if name == "noise_const":
        return f"noises.noise_{number}", "take [0,0]"
    theirs, operation = _LAYER[name]
    return f"{f'convs.{number - 1}' if number else 'conv1'}.{theirs}", operation


def convert(state: Mapping[str, Array], mean: Array, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """State-dict of the rosinality layout -> that of the adaptive-augmentation layout.

    state:  of `g_ema`
    mean:   `latent_avg`, [512] or [1, 512]
    wanted: keys and shapes of the adaptive-augmentation layout
    raises: KeyError where a tensor is absent
    """
    row = np.array([1, 3, 3, 1], np.float32) / np.float32(8)
    constants = {"w_avg": mean.reshape(-1), "resample_filter": np.outer(row, row)}
    converted = {}
    for key in wanted:
        source = source_of(key)
        converted[key] = (
            constants[key.rpartition(".")[2]] if source is None else OPERATIONS[source[1]](state[source[0]])
        )
    return converted
