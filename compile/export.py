"""Network -> ONNX, the form that every engine is built from. Needs torch; serving never comes here.

By torch's exporter that traces (`dynamo=False`): the newer one cannot be used without `onnxscript`, and what is
exported here has no data-dependent Python for it to see.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from modiste.spec import TensorSpec

OPSET = 17
"""Has layer normalisation and grid sampling as single ops, and is read by every runtime that we build engines with."""
TRACED_BATCH = 2
"""A batch of 1 would be broadcast or squeezed away unnoticed."""
LIBRARIES = r"(torch|diffusers|transformers|open_clip|segmentation_models_pytorch|timm)(\.|$)"
"""Modules that networks are made of and that are not ours."""


def export(
    network: Any,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    path: Path,
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Write a network as ONNX. The batch and all other named sizes stay free; the network stays as it was.

    network: torch.nn.Module in evaluation mode, on the CPU; takes the inputs in this order, and returns a tensor or a
             sequence of them in the order of the outputs
    path:    over 2 GB, the weights lie in files of their own beside it
    sizes:   what to trace with for each named size but the batch, "N"
    raises:  ValueError in training mode
    """
    if network.training:
        raise ValueError("expected a network in evaluation mode, got one in training mode")
    traced = {"N": TRACED_BATCH, **(sizes or {})}
    examples = tuple(
        torch.zeros([traced[s] if isinstance(s, str) else s for s in tensor.shape], dtype=getattr(torch, tensor.dtype))
        for tensor in inputs
    )
    free = {
        tensor.name: {axis: size for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in (*inputs, *outputs)
    }
    with torch.no_grad(), _open_attention(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of this exporter, on purpose
        # Layers of libraries check shapes; what our own decide by a traced size is still warned of.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=LIBRARIES)
        warnings.filterwarnings("ignore", message="Constant folding")
        # Instance norm takes the picture's own statistics in inference, too.
        warnings.filterwarnings("ignore", message=r".*operator 'instance_norm' is set to train=True")
        torch.onnx.export(
            network,
            examples,
            str(path),
            input_names=[tensor.name for tensor in inputs],
            output_names=[tensor.name for tensor in outputs],
            dynamic_axes={name: axes for name, axes in free.items() if axes},
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def _open_attention() -> Iterator[None]:
    """Without the fused attention that torch's own module takes in inference and that has no form in ONNX."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
