"""Models of the paper edition with small networks and deterministic weights: real code and real engines, no quality.

Needs the torch environment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from compile import kit as kits
from compile.engine import Engine
from compile.kit import Kit, Shapes
from compile.openvino import OpenVINOEngine, open_engine
from deployments import model_class, open_model
from deployments.base import Model
from deployments.networks import Module, network
from modiste.spec import EngineSpec
from weights.manifest import entry

KITS = Path(__file__).parents[1] / "kits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """One engine's network, small.

    of:      name of a kit in tests/kits whose keys and rules it takes, or what makes a small network of the same kind
    arch:    for the network's `build`, where `of` is a kit that needs another than its own
    rules:   of the weights where `of` makes the network, as in kits
    tensors: shapes of the engine's inputs and outputs where they are not those of the model's spec
    beside:  tensors beside the weights
    """

    of: str | Callable[[], Module]
    arch: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[tuple[str, str], ...] = ()
    tensors: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    beside: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


REDUCED: Mapping[str, Mapping[str, Reduced]] = {}
"""model -> engine -> its small network; models that are not here run as they are."""


def open_reduced(model_id: str, folder: Path) -> Model[Any, Any]:
    """folder: for graphs, which are written where they are absent"""
    if model_id not in REDUCED:
        return open_model(model_id)
    found = model_class(model_id)
    engines = {name: open_small(model_id, name, spec, folder) for name, spec in found.spec.engines.items()}
    return found(engines)


def open_small(model_id: str, name: str, spec: EngineSpec, folder: Path) -> Engine:
    if name not in REDUCED[model_id]:
        return open_engine(spec)
    from compile.export import export

    small, path = small_spec(model_id, name, spec), folder / f"{model_id}-{name}.onnx"
    if not path.exists():
        export(small_part(model_id, name, spec), small.inputs, small.outputs, path, small.sizes)
    core = ov.Core()
    graph = core.read_model(path)
    parameters = [graph.input(tensor.name).get_node() for tensor in small.inputs]
    results = [graph.output(tensor.name).get_node() for tensor in small.outputs]
    options = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    return OpenVINOEngine(small, core.compile_model(ov.Model(results, parameters, model_id), "CPU", options))


def small_spec(model_id: str, name: str, spec: EngineSpec) -> EngineSpec:
    shapes = REDUCED[model_id][name].tensors
    inputs, outputs = (
        tuple(replace(tensor, shape=shapes.get(tensor.name, tensor.shape)) for tensor in tensors)
        for tensors in (spec.inputs, spec.outputs)
    )
    return replace(spec, inputs=inputs, outputs=outputs)


def small_part(model_id: str, name: str, spec: EngineSpec) -> Module:
    """The engine's module with deterministic weights."""
    import torch

    identifier, row = entry(spec.weights).network, REDUCED[model_id][name]
    assert identifier is not None, f"{model_id} {name} runs no published network"
    of, kit = network(identifier), _kit(row)
    assert of.knows(kit.shapes), f"{model_id} {name}: the small network is not one of {identifier}"
    net = of.build(kit.shapes, {**kit.arch, **row.arch})
    state = net.state_dict()
    for key, values in kits.weights(kit).items():
        state[key].copy_(torch.from_numpy(values))
    beside = {key: torch.from_numpy(value) for key, value in row.beside.items()}
    return of.parts[spec.part](net, beside).eval()


def _kit(row: Reduced) -> Kit:
    if isinstance(row.of, str):
        everyone = {kit.name: kit for found in kits.read_kits(KITS) for kit in (found, *found.parts)}
        return everyone[row.of]
    state = row.of().state_dict()
    shapes: Shapes = {key: tuple(value.shape) for key, value in state.items()}
    dtypes = {key: str(value.dtype).removeprefix("torch.") for key, value in state.items()}
    return Kit(name="small", shapes=shapes, dtypes=dtypes, rules=row.rules)
