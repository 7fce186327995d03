"""docs/performance.md, written from the results that benchmarks left."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "loadtests" / "results"


def write_page() -> Path:
    """raises: FileNotFoundError where the CPU's benchmarks have not run yet"""
    serving = newest("*-cpu.json")
    if serving is None:
        raise FileNotFoundError("expected results of `make bench` in loadtests/results, got none")
    gpu = newest("*-gpu.jsonl")
    content: dict[str, Any] = {
        **json.loads(serving.read_text()),
        "source": serving.name,
        "networks": by_kind(RESULTS / "networks.jsonl"),
        "gpu": by_kind(gpu) if gpu else None,
        "gpu_source": gpu.name if gpu else None,
    }
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    written = ROOT / "docs" / "performance.md"
    written.write_text(templates.get_template("performance.md.j2").render(content) + "\n")
    return written


def newest(pattern: str) -> Path | None:
    """Names begin with the date."""
    return max(RESULTS.glob(pattern), default=None)


def by_kind(rows: Path) -> dict[str, list[dict[str, Any]]]:
    """The latest row of each name, in the order they were first written."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["row"], {})[row.get("name", "")] = row
    return {kind: list(named.values()) for kind, named in found.items()}
