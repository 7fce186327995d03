"""Torch-TensorRT, for networks that ONNX cannot carry: torch.export -> one TensorRT engine -> its exported program.

Types are explicit: TensorRT computes in what the module says, float32 islands included. A network that TensorRT does
not take whole is refused; nothing runs in torch beside it. Torch-TensorRT's own engine cache stays off (its keys leave
out operators' arguments and weights, and it unpickles); our cache has checked a blob's digest before it comes here.
The library needs a driver to be imported, so nothing but its users does.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from compile import cuda
from compile.backend import Source
from compile.cuda import TorchEngine
from compile.engine import Case
from compile.feeds import random_feeds
from modiste.spec import EngineSpec, Precision

BATCHED = True
used_mb = cuda.used_mb


def runtime(precision: Precision) -> Mapping[str, str]:
    return {**cuda.runtime(precision), **{name: version(name) for name in ("torch-tensorrt", "tensorrt")}}


def build(spec: EngineSpec, source: Source, precision: Precision, cases: Sequence[Case]) -> bytes:
    """raises: RuntimeError where TensorRT does not take the whole network"""
    device = cuda.gpu()
    library = import_module("torch_tensorrt")
    program = exported(spec, cuda.prepared(source.module(), precision, device), device)
    try:
        compiled = library.dynamo.compile(
            program,
            arg_inputs=examples(spec, device),
            device=device,
            require_full_compilation=True,
            min_block_size=1,  # a network of fewer operators would be given back as it is
            immutable_weights=True,
            disable_tf32=True,
            cache_built_engines=False,
            reuse_cached_engines=False,
        )
    except AssertionError as error:  # what the library raises where full compilation is required and impossible
        raise RuntimeError(f"{spec.weights}: {error}") from error
    parts = [name for name, _ in compiled.named_children() if "_run_on_" in name]
    if len(parts) != 1 or "_run_on_acc" not in parts[0]:
        raise RuntimeError(f"{spec.weights}: expected one TensorRT engine, got {parts or 'the network as it was'}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.pt2"
        library.save(
            compiled,
            os.fspath(path),
            output_format="exported_program",
            arg_inputs=examples(spec, device),
            dynamic_shapes=dynamic_shapes(spec),
        )
        return path.read_bytes()


def load(spec: EngineSpec, source: Source, blob: bytes, precision: Precision) -> TorchEngine:
    device = cuda.gpu()
    library = import_module("torch_tensorrt")  # registers the operators that the program calls
    module = torch.export.load(BytesIO(blob)).module()
    library.runtime.set_cudagraphs_mode(True)
    return TorchEngine(spec, module, device=device, captured=False)


def exported(spec: EngineSpec, module: torch.nn.Module, device: torch.device) -> Any:
    """The module as a torch.export.ExportedProgram in any batch and any size that the spec allows.

    Torch-TensorRT takes its optimisation profile from here, whatever inputs it is told of: the limits of the sizes, and
    what was traced as the usual. There is one profile, so that it spans all of the spec's buckets.

    module: takes and gives the spec's tensors in their order
    """
    holder, graph = torch.nn.Module(), torch.fx.Graph()
    holder.add_module("network", module)
    # With a name for each input, which `forward(*tensors)` has not.
    given = graph.call_module("network", tuple(graph.placeholder(f"input_{i}") for i in range(len(spec.inputs))))
    graph.output(given)
    named = torch.fx.GraphModule(holder, graph)
    with torch.no_grad():
        return torch.export.export(named, examples(spec, device), dynamic_shapes=dynamic_shapes(spec), strict=False)


def examples(spec: EngineSpec, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Inputs of the usual sizes in the largest batch, which engines are best at."""
    feeds = random_feeds(spec, batch=spec.max_batch)
    return tuple(torch.from_numpy(feeds[tensor.name]).to(device) for tensor in spec.inputs)


def dynamic_shapes(spec: EngineSpec) -> tuple[dict[int, Any], ...]:
    """Sizes that stay free, by input and axis; the batch is one size, whichever the input."""
    sizes = {size for tensor in spec.inputs for size in tensor.shape if isinstance(size, str) and size != "N"}
    limits = {size: [bucket[size] for bucket in spec.buckets if size in bucket] for size in sizes}
    free = {
        size: torch.export.Dim.DYNAMIC(min=min(least for least, _ in told), max=max(most for _, most in told))
        for size, told in limits.items()
        if told
    }
    if spec.max_batch > 1:
        free["N"] = torch.export.Dim("batch", min=1, max=spec.max_batch)
    return tuple(
        {axis: free[size] for axis, size in enumerate(tensor.shape) if isinstance(size, str) and size in free}
        for tensor in spec.inputs
    )
