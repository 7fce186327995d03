"""Official checkpoints as the ONNX graphs of the engines that models run. Needs torch; serving never comes here."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from compile.export import export
from compile.source import exported_file
from deployments.networks import Module, network
from modiste.errors import WeightsUnavailable
from modiste.spec import EngineSpec
from weights.convert.official import official_beside, official_shapes, official_state
from weights.manifest import entry
from weights.store import path


def export_engine(spec: EngineSpec) -> Path:
    """Write the ONNX graph of a published network's part into the store, from its official checkpoint.

    raises: WeightsUnavailable where the checkpoint is absent or is not one of that network
    """
    net, beside = load_official(spec.weights)
    return write_graph(spec, net, beside)


def load_official(weights: str) -> tuple[Module, Mapping[str, Any]]:
    """The network with the weights of a manifest entry, fetched where absent, and the tensors beside them."""
    identifier = entry(weights).network
    assert identifier is not None, weights
    of, file = network(identifier), next(iter(path(weights).values()))
    shapes = official_shapes(identifier, file)
    if not of.knows(shapes):
        raise WeightsUnavailable(f"Expected the keys of {identifier} in {file.name}; got {list(shapes)[:8]}....")
    with torch.device("meta"):
        net = of.build(shapes, {})
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    state = official_state(identifier, file, expected)
    net = of.build(shapes, {})
    net.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=True)
    return net, {name: torch.from_numpy(value) for name, value in official_beside(identifier, file).items()}


def load_part(spec: EngineSpec) -> Module:
    """The module of an engine, with the weights of its official checkpoint, in evaluation mode."""
    return part_of(spec, *load_official(spec.weights))


def part_of(spec: EngineSpec, net: Module, beside: Mapping[str, Any]) -> Module:
    """net, beside: as `load_official` gives them"""
    identifier = entry(spec.weights).network
    assert identifier is not None, spec.weights
    return network(identifier).parts[spec.part](net, beside).eval()


def write_graph(spec: EngineSpec, net: Module, beside: Mapping[str, Any]) -> Path:
    """net, beside: as `load_official` gives them. The graph appears under its name when it is whole."""
    part = part_of(spec, net, beside)
    written = exported_file(spec)
    written.parent.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=written.parent.parent, prefix=".export-"))
    try:
        export(part, spec.inputs, spec.outputs, staged / written.name, spec.sizes)
        shutil.rmtree(written.parent, ignore_errors=True)
        staged.rename(written.parent)
    except BaseException:
        shutil.rmtree(staged)
        raise
    return written
