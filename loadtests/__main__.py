"""`python -m loadtests serving | page`: benchmarks into loadtests/results/, and docs/performance.md from them."""

import json
import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openvino as ov
import psutil
import typer
from rich.console import Console

from loadtests import anonymize_against_deface, hops, overhead, server
from loadtests.page import RESULTS, write_page

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(stderr=True)


@app.command()
def serving() -> None:
    """The server, the overhead of HTTP and Ray, and video against deface; takes about ten minutes."""
    measured: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as scratch:
        console.rule("server")
        measured["server"] = server.measure(Path(scratch) / "state")
    console.rule("overhead of HTTP and Ray Serve")
    measured["overhead"] = overhead.measure(runs=15)
    console.rule("one call between processes")
    measured["hops"] = hops.measure()
    console.rule("anonymize against deface")
    measured["anonymize"] = anonymize_against_deface.measure()
    name = f"{measured['machine']['date']}-{measured['machine']['cores']}core-cpu.json"
    (RESULTS / name).write_text(json.dumps(measured, indent=1) + "\n")
    page()


@app.command()
def page() -> None:
    """docs/performance.md from the newest results of each kind."""
    console.print(f"written: {write_page()}")


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


if __name__ == "__main__":
    app()
