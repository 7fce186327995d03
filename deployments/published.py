"""The published networks' rows of docs/models.md, out of what was measured where torch is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).with_name("networks.json")
Rows = list[dict[str, str]]


def published(figures: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """figures: networks.json; returns a row for each checkpoint, and one for each kit."""
    origins = [row for who, found in figures.items() for row in _origins(who, found)]
    measured = [_measured(who, kit) for who, found in figures.items() for kit in found["kits"] or [{}]]
    return origins, measured


def _origins(network: str, found: Mapping[str, Any]) -> Rows:
    """One row even where nothing was published."""
    return [
        {
            "network": network,
            "paper": found["paper"],
            "code": found["licence"],
            "checkpoint": f"[{file['name']}]({file['url']})" if file else "none published",
            "sha256": f"`{file['sha256'][:12]}`" if file and file["sha256"] else "-",
            "size": f"{file['bytes'] / 1e6:.1f}" if file and file["bytes"] else "-",
            "licence": file["licence"] if file else "-",
            "commercial": ("yes" if file["commercial"] else "no") if file else "-",
        }
        for file in found["checkpoints"] or [None]
    ]


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
