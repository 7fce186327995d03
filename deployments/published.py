"""The published networks' rows of docs/models.md, out of what was measured where torch is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weights.manifest import listed_manifest

FIGURES = Path(__file__).with_name("networks.json")
Rows = list[dict[str, str]]


def published(figures: Mapping[str, Any]) -> tuple[Rows, Rows]:
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
