"""The one interface to a compiled network, whatever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from modiste.spec import EngineSpec

Tensors = Mapping[str, NDArray[Any]]
"""Tensor name -> array; axis 0 is the batch."""


class GPUOutOfMemory(RuntimeError):
    """The GPU has no room for what was asked of an engine; the engine itself is as it was."""


class Engine(Protocol):
    """A compiled network. One call at a time; callers that share one take turns."""

    spec: EngineSpec

    def __call__(self, feeds: Tensors) -> Tensors:
        """Run inputs of any batch size; outputs have the same batch size. Shapes and types as in `spec`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Inputs and what the network gives for them in float32, to judge engines by.

    name: "noise", or "golden" with the number of the picture's call
    """

    name: str
    feeds: Tensors
    expected: Tensors


def check_feeds(spec: EngineSpec, feeds: Tensors) -> int:
    """Refuse inputs that do not fit the spec; returns the batch size.

    raises: ValueError that names the tensor, what was expected and what came
    """
    if set(feeds) != {tensor.name for tensor in spec.inputs}:
        raise ValueError(f"expected inputs {[t.name for t in spec.inputs]}, got {sorted(feeds)}")
    batch = len(next(iter(feeds.values())))
    for tensor in spec.inputs:
        fed = feeds[tensor.name]
        fits = len(fed.shape) == len(tensor.shape) and all(
            isinstance(expected, str) or expected == got for expected, got in zip(tensor.shape, fed.shape, strict=True)
        )
        if not fits or fed.dtype != np.dtype(tensor.dtype) or len(fed) != batch:
            raise ValueError(
                f"{tensor.name}: expected {tensor.dtype} {tensor.shape} with batch {batch}, got {fed.dtype} {fed.shape}"
            )
    return batch
