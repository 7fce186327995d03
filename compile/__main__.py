"""`python -m compile build | bench`: engines of the models that the settings choose."""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console

from compile.openvino import open_engine, served_precision
from deployments import engine_specs

app = typer.Typer(help="Engines: build them for this machine, or measure them.", no_args_is_help=True)
console = Console(stderr=True)


@app.command()
def build() -> None:
    """Build every engine that is not in the cache yet."""
    for name, spec in engine_specs().items():
        started = perf_counter()
        open_engine(spec).close()
        console.print(f"{name:32} {served_precision(spec):9} ready in {perf_counter() - started:5.1f} s")


@app.command()
def bench(
    threads: Annotated[int, typer.Option(help="CPU threads of each engine", min=1)] = 1,
    repeats: Annotated[int, typer.Option(help="runs of each, of which the median counts", min=1)] = 5,
    out: Annotated[Path | None, typer.Option(help="JSON file to write; standard output where absent")] = None,
) -> None:
    """Each engine against eager torch in float32. Needs the torch extra."""
    from compile.bench import rows

    text = json.dumps(rows(engine_specs(), threads=threads, repeats=repeats), indent=1)
    if out is None:
        sys.stdout.write(text + "\n")
    else:
        out.write_text(text + "\n")


if __name__ == "__main__":
    app()
