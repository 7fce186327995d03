"""`python -m compile build | report`: engines of the models that the settings choose."""

import sys
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from compile.build import BATCHES
from compile.gate import EngineRefused
from compile.prune import prune as prune_folder
from compile.report import REPORTS, reports
from deployments import engine_name, model_class, models_in_use
from deployments.engines import open_engine_of, served_precision, target_of
from modiste.spec import Precision, Target

app = typer.Typer(help="Engines: build and judge them for this machine.", no_args_is_help=True)
console = Console(stderr=True)


@app.command()
def build(
    model: Annotated[
        list[str] | None, typer.Option(help="id of a model; none: those in use", show_default=False)
    ] = None,
    target: Annotated[Target | None, typer.Option(help="what to build with; none: what the settings say")] = None,
    precision: Annotated[Precision | None, typer.Option(help="none: what the spec says for the target")] = None,
) -> None:
    """Build and judge every engine that is not in the cache yet. Exit 1 where the parity gate refused one."""
    refused = False
    for model_id in model or models_in_use():
        of = model_class(model_id).spec
        for name, spec in of.engines.items():
            on = target or target_of(of)
            served = precision or served_precision(model_id, spec, on)
            started = perf_counter()
            try:
                open_engine_of(model_id, name, target=on, precision=served).close()
                told = f"ready in {perf_counter() - started:5.1f} s"
            except EngineRefused as error:
                refused, told = True, f"[red]refused[/red]: {error}"
            console.print(f"{engine_name(model_id, name):32} {on:9} {served:9} {told}")
    if refused:
        raise typer.Exit(1)


@app.command()
def report(
    as_json: Annotated[bool, typer.Option("--json", help="everything, as JSON")] = False,
) -> None:
    """Every engine in this machine's cache: how far from float32, seconds, sizes, milliseconds."""
    found = reports()
    if as_json:
        sys.stdout.write(REPORTS.dump_json(found, indent=1).decode() + "\n")
        return
    columns = ("engine", "target", "precision", "nearest to its limit", "error", "limit", "build s", "open s", "MB",
               "memory MB")  # fmt: skip
    table = Table(*columns, *(f"ms at batch {batch}" for batch in BATCHES))
    for row in found:
        worst = row.worst
        table.add_row(
            row.engine, row.target, row.precision + (f" {row.int8_share:.0%}" if row.int8_share else ""),
            f"{worst.output} on {worst.case}: {worst.metric}",
            f"{worst.error:.2g}", f"{worst.limit:g}", f"{row.build_s:.1f}", f"{row.open_s:.2f}",
            f"{row.bytes / 2**20:.1f}", f"{row.memory_mb:.0f}",
            *(f"{row.ms[batch]:.1f}" if batch in row.ms else "" for batch in BATCHES),
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def prune(
    unused_days: Annotated[float, typer.Option(help="engines not opened for that long go", min=0)] = 30.0,
) -> None:
    """Remove unused engines and what broken writes left from this machine's cache; a bucket needs a lifecycle rule."""
    pruned = prune_folder(unused_days * 24 * 60 * 60)
    console.print(f"{pruned.files} files removed, {pruned.bytes / 2**20:.1f} MB freed")


if __name__ == "__main__":
    app()
