"""docs/performance.md, written from the results that benchmarks left."""

import json
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from jinja2 import Environment, FileSystemLoader

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "loadtests" / "results"
WAYS = ("float32", "low", "graphs", "compiled", "cuda", "tensorrt")


def write_page() -> Path:
    """raises: FileNotFoundError where the CPU's benchmarks have not run yet"""
    serving = newest("*-cpu.json")
    if serving is None:
        raise FileNotFoundError("expected results of `make bench` in loadtests/results, got none")
    gpu = newest("*-gpu.jsonl")
    content: dict[str, Any] = {
        **json.loads(serving.read_text()),
        "source": serving.name,
        "gate": _judged(RESULTS / "engines.json"),
        "networks": by_kind(RESULTS / "networks.jsonl"),
        **(_of_gpu(gpu) if gpu else {"gpu": None}),
    }
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    written = ROOT / "docs" / "performance.md"
    written.write_text(templates.get_template("performance.md.j2").render(content) + "\n")
    return written


def _judged(reports: Path) -> list[dict[str, Any]]:
    """Each with the check that is nearest to its limit."""
    found: list[dict[str, Any]] = json.loads(reports.read_text())
    return [row | {"worst": max(row["checks"], key=lambda check: check["error"] / check["limit"])} for row in found]


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


def _of_gpu(results: Path) -> dict[str, Any]:
    kinds = by_kind(results)
    machine, engines = kinds["machine"][0], _engines(kinds.get("gpu", []))
    for row in engines:
        fastest = min((row[way] for way in WAYS if isinstance(row[way], float)), default=None)
        arithmetic, traffic = row["gflop"] / machine["tflops"], row["mb"] / machine["gb_s"]
        row["floor"] = round(max(arithmetic, traffic), 3)
        row["gap"] = round(fastest / row["floor"], 1) if fastest and row["floor"] else ""
    return {"gpu": kinds, "gpu_source": results.name, "gpu_engines": engines, "gpu_means": _means(engines)}


def _engines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each engine and batch, with a column for each way: milliseconds, or nothing where it was not run."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        blank = {"engine": row["engine"], "batch": row["batch"], "gflop": 0.0, "mb": 0.0, "error": ""}
        line = found.setdefault((row["engine"], row["batch"]), blank | dict.fromkeys(WAYS, ""))
        if row["way"] == "cost":
            line |= {key: row.get(key, 0.0) for key in ("gflop", "mb")}
        elif "ms" in row:
            line |= {row["way"]: float(row["ms"]), "error": row["error"]}
    return list(found.values())


def _means(engines: list[dict[str, Any]]) -> dict[str, float]:
    """How many times the second the first is faster, over engines and batches that have both."""
    means = {}
    for fast, slow in (
        ("tensorrt", "float32"),
        ("tensorrt", "compiled"),
        ("graphs", "float32"),
        ("graphs", "compiled"),
    ):
        ratios = [row[slow] / row[fast] for row in engines if row[slow] and row[fast]]
        if ratios:
            means[f"{fast} over {slow}"] = round(geometric_mean(ratios), 2)
    return means
