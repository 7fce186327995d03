"""Every engine of every model at the size that it runs at, to measure: default weights where a registry carries them,
and a kit's deterministic weights for published networks. Needs torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from compile import kit as kits
from compile.export import export
from compile.kit import Kit
from compile.source import graph_file
from deployments import MODELS, engine_name, model_class
from deployments.networks import Module, network, recognise
from deployments.parity import load
from modiste.spec import EngineSpec
from weights.convert.official import OFFICIAL
from weights.manifest import listed_manifest

FACTS: Mapping[str, Any] = json.loads(Path(__file__).with_name("speed.json").read_text())
"""kits: weights -> the kit with the keys of that checkpoint, where kits of several sizes are about its network;
reference: kit -> seconds that the reference itself took, as the kits' reports say, and with which inputs, where the
network does not know better itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullSize:
    """name: "model" or "model.engine"; kit: None where the weights are real; same: name of an equal engine before it;
    missing: why it cannot be built"""

    name: str
    spec: EngineSpec
    kit: Kit | None = None
    same: str = ""
    missing: str = ""

    @property
    def network(self) -> str | None:
        return listed_manifest()[self.spec.weights].network

    @property
    def weights_gb(self) -> float:
        """In float32."""
        if self.kit is None:
            return 0.0 if self.missing else graph_file(self.spec).stat().st_size / 1e9
        return 4 * sum(prod(shape) for shape in self.kit.shapes.values()) / 1e9


def full_size_engines(found: Sequence[Kit], only: str | None = None) -> Iterator[FullSize]:
    """found: kits whose keys and rules published networks are built from; only: id of the one model that is wanted"""
    known = {kit.name: recognise(kit.shapes) for kit in found}
    taken: dict[str, EngineSpec] = {}
    for model_id in MODELS if only is None else (only,):
        for name, spec in model_class(model_id).spec.engines.items():
            called = engine_name(model_id, name)
            same = next((other for other, has in taken.items() if has == spec), "")
            taken[called] = spec
            identifier = listed_manifest()[spec.weights].network
            if same:
                yield FullSize(name=called, spec=spec, same=same)
            elif identifier is None:
                yield FullSize(name=called, spec=spec)
            else:
                about = [kit for kit in found if known[kit.name] == identifier]
                chosen = _kit(spec.weights, FACTS["kits"].get(spec.weights), identifier, about)
                if isinstance(chosen, Kit):
                    yield FullSize(name=called, spec=spec, kit=chosen)
                else:
                    yield FullSize(name=called, spec=spec, missing=chosen)


def keyed_kits(folders: Sequence[Path]) -> list[Kit]:
    """All kits of these folders, and parts of kits, that hold keys."""
    return [part for folder in folders for kit in kits.read_kits(folder) for part in (kit, *kit.parts) if part.shapes]


def built(kit: Kit, identifier: str) -> Module:
    net = network(identifier).build(kit.shapes, kit.arch).requires_grad_(False)
    load(net, kit)
    return net


def module_of(of: FullSize) -> Module:
    """The engine's torch module in evaluation mode."""
    if of.kit is None:
        from compile.eager import graph_module

        return graph_module(of.spec, graph_file(of.spec))
    assert of.network is not None
    # Only its shape matters here: the mean latent of every StyleGAN2.
    beside = {name: torch.zeros(512) for name in OFFICIAL[of.network].beside}
    return network(of.network).parts[of.spec.part](built(of.kit, of.network), beside).eval()


def graph_of(of: FullSize, module: Module, folder: Path) -> Path:
    """The engine's ONNX: the stored one, or one that is written into the folder."""
    if of.kit is None:
        return graph_file(of.spec)
    export(module, of.spec.inputs, of.spec.outputs, folder / "model.onnx", of.spec.sizes)
    return folder / "model.onnx"


def _kit(weights: str, named: str | None, identifier: str, about: Sequence[Kit]) -> Kit | str:
    """The kit whose keys a checkpoint has, with the rules of any about the same network; or why there is none."""
    shapes = OFFICIAL[identifier].shapes
    if not about and shapes is not None:
        known = shapes()
        return Kit(name=f"none; {identifier} is in one size", shapes=known, dtypes=dict.fromkeys(known, "float32"))
    chosen = {kit.name: kit for kit in about if named in (None, kit.name)}
    if len(chosen) != 1:
        return f"expected one kit with the keys of {weights}, got {sorted(chosen) or 'none'} in these folders"
    (kit,) = chosen.values()
    rules = kit.rules or next((other.rules for other in about if other.rules), ())
    # As served: what no shape tells is as the official checkpoint has it.
    return replace(kit, rules=rules, arch={}, golden={}, inputs={})
