"""docs/models.md: every model, engine and published network, out of the specs, the manifest and what was measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Template

from deployments import EDITIONS, MODELS, model_class, model_folder
from modiste.spec import EngineSpec
from weights.manifest import WeightEntry, digest, listed_manifest

FIGURES = Path(__file__).with_name("networks.json")
TEMPLATE = Path(__file__).with_name("models.md.j2")
Rows = list[dict[str, str]]


def models_page() -> str:
    editions = {
        f"The {edition} edition": [_model(role, model) for role, model in roles.items()]
        for edition, roles in EDITIONS.items()
    }
    chosen = {model for roles in EDITIONS.values() for model in roles.values()}
    editions["Alternatives"] = [_model(model_class(m).spec.role, m) for m in sorted(MODELS) if m not in chosen]
    engines = [
        _engine(model if name == "main" else f"{model}.{name}", engine)
        for model in MODELS
        for name, engine in model_class(model).spec.engines.items()
    ]
    origins, measured = _published(json.loads(FIGURES.read_text()))
    page: str = Template(TEMPLATE.read_text()).render(
        editions=editions, engines=engines, origins=origins, measured=measured
    )
    return page


def _model(role: str, model: str) -> dict[str, str]:
    spec = model_class(model).spec
    entries = [listed_manifest()[weights] for weights in sorted({e.weights for e in spec.engines.values()})]
    return {
        "role": role,
        "model": model,
        "folder": model_folder(model),
        "paper": spec.paper,
        "weights": ", ".join(entry.id for entry in entries) or "none",
        "digest": ", ".join(map(_digest, entries)),
        "licence": "; ".join(dict.fromkeys(entry.licence for entry in entries)) or spec.licence,
        "commercial": "no" if any(not entry.commercial for entry in entries) else "yes",
    }


def _digest(of: WeightEntry) -> str:
    return f"`{digest(of)[:12]}`" if all(file.sha256 for file in of.files.values()) else "-"


def _engine(name: str, engine: EngineSpec) -> dict[str, str]:
    return {
        "name": name,
        "inputs": "<br>".join(f"{t.name} {list(t.shape)} {t.range}" for t in engine.inputs),
        "outputs": "<br>".join(f"{t.name} {list(t.shape)}" for t in engine.outputs),
        "precision": engine.precision,
        "tolerance": str(engine.tolerance),
    }


def _published(figures: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """figures: networks.json; returns a row for each checkpoint, and one for each kit."""
    origins = [row for who, found in figures.items() for row in _origins(who, found)]
    measured = [_measured(who, kit) for who, found in figures.items() for kit in found["kits"] or [{}]]
    return origins, measured


def _origins(network: str, found: Mapping[str, Any]) -> Rows:
    """One row even where nothing was published."""
    of_both = {"network": network, "paper": found["paper"], "code": found["licence"]}
    nothing = {**of_both, "id": "-", "checkpoint": "-", "sha256": "-", "size": "-", "licence": "-", "commercial": "-"}
    rows = [
        {
            **of_both,
            "id": of.id,
            "checkpoint": f"[{file.name}]({file.url.removeprefix('page:')})",
            "sha256": f"`{file.sha256[:12]}`" if file.sha256 else "-",
            "size": f"{file.bytes / 1e6:.1f}" if file.bytes else "-",
            "licence": of.licence,
            "commercial": "yes" if of.commercial else "no",
        }
        for of in listed_manifest().values()
        if of.network == network
        for file in list(of.files.values())[:1]
    ]
    return rows or [nothing]


def _measured(network: str, kit: Mapping[str, Any]) -> dict[str, str]:
    """One row even where there is no kit to measure by."""
    if not kit:
        names = ("worst", "tolerance", "parameters", "input", "gmacs", "activation_mb")
        return {"network": network, "kit": "none: no reference of it runs", **dict.fromkeys(names, "-")}
    costs = {name: "-" if kit[name] is None else str(kit[name]) for name in ("input", "gmacs", "activation_mb")}
    return {
        "network": network,
        "kit": kit["kit"],
        "worst": "keys" if kit["worst"] is None else f"{kit['worst']:.1e}",
        "tolerance": f"{kit['tolerance']:.0e}",
        "parameters": f"{kit['parameters']:.2f}",
        **costs,
    }
