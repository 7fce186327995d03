"""`python -m loadtests`: every benchmark in one run, into loadtests/results/ and docs/performance.md."""

import json
import os
import platform
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import openvino as ov
import psutil
import typer
from jinja2 import Environment, FileSystemLoader
from rich.console import Console

from loadtests import anonymize_against_deface, hops, overhead, server

ROOT = Path(__file__).resolve().parent.parent
console = Console(stderr=True)


def main(
    engines_python: Annotated[Path, typer.Option(help="interpreter of an environment that also has torch")],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each engine in the engine bench")] = 1,
) -> None:
    """Measure everything and write the results."""
    measured: dict[str, Any] = {"machine": machine(), "engine_threads": threads}
    with tempfile.TemporaryDirectory() as scratch:
        console.rule("engines")
        rows = Path(scratch) / "engines.json"
        command = [
            str(engines_python),
            "-m",
            "compile",
            "bench",
            "--threads",
            str(threads),
            "--repeats",
            "3",
            "--out",
            str(rows),
        ]
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        measured["engines"] = json.loads(rows.read_text())
        console.rule("server")
        measured["server"] = server.measure(Path(scratch) / "state")
    console.rule("overhead of HTTP and Ray Serve")
    measured["overhead"] = overhead.measure(runs=15)
    console.rule("one call between processes")
    measured["hops"] = hops.measure()
    console.rule("anonymize against deface")
    measured["anonymize"] = anonymize_against_deface.measure()
    write(measured)


def machine() -> dict[str, Any]:
    cpu = ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "matrix_units": sorted(flag for flag in flags if flag.startswith("amx") or flag == "avx512_bf16"),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "openvino": ov.get_version(),
    }


def write(measured: dict[str, Any]) -> None:
    """The JSON file, and the page that shows it."""
    name = f"{measured['machine']['date']}-{measured['machine']['cores']}core-cpu.json"
    (ROOT / "loadtests" / "results" / name).write_text(json.dumps(measured, indent=1) + "\n")
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    page = templates.get_template("performance.md.j2").render(measured, source=name)
    (ROOT / "docs" / "performance.md").write_text(page + "\n")
    console.print(f"written: loadtests/results/{name}, docs/performance.md")


if __name__ == "__main__":
    typer.run(main)
