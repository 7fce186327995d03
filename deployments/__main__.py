"""`python -m deployments models | golden | export | parity | measure | speed | memory | plan`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deployments import model_class, models_in_use
from deployments.page import FIGURES, models_page
from weights.manifest import load_manifest

SPEED = Path("loadtests/results/networks.jsonl")
main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@main.command()
def models() -> None:
    """docs/models.md, written from the specs and the manifest."""
    sys.stdout.write(models_page() + "\n")


@main.command()
def golden() -> None:
    """deployments/golden.npz, where faces and joints lie in the golden pictures; by the default edition's models."""
    import numpy as np

    from deployments.golden_pictures import PLACES, find_places

    np.savez_compressed(PLACES, allow_pickle=False, **find_places())


@main.command()
def export(models: Annotated[list[str] | None, typer.Argument(help="ids; none: those in use")] = None) -> None:
    """The graphs of models with published networks, from their official checkpoints. Needs the torch environment."""
    from deployments.exporting import export_engine

    for model in models or models_in_use():
        for name, spec in model_class(model).spec.engines.items():
            if load_manifest()[spec.weights].network is not None:
                typer.echo(f"{model} {name}: {export_engine(spec)}")


@main.command()
def measure(folders: list[Path]) -> None:
    """deployments/networks.json, from all parity kits in these folders. Needs the torch environment; takes minutes."""
    from deployments.measure import measure as measured

    FIGURES.write_text(json.dumps(measured(folders), indent=1, ensure_ascii=False) + "\n")


@main.command()
def memory(folders: Annotated[list[Path], typer.Argument(help="with parity kits, whose keys are taken")]) -> None:
    """deployments/gpu_memory.json, what each model takes of a GPU; exit 1 where one declares less, or far more.

    Counted from graphs and networks; needs the torch environment and no GPU.
    """
    from deployments.gpu_memory import TABLE, misdeclared
    from deployments.measure import memories

    TABLE.write_text(json.dumps(memories(folders), indent=1) + "\n")
    for wrong in (found := misdeclared()):
        typer.echo(wrong)
    if found:
        raise typer.Exit(1)


@main.command()
def plan(
    gpu_memory: Annotated[str, typer.Option(help='of one GPU, as "24GB"')],
    gpus: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Which replicas of the models in use go on which GPU, and what is left; exit 1 where not all models fit."""
    from deployments.placement import memory_mb
    from deployments.plan import fits, planned, shown

    try:
        found = planned(gpus=gpus, total_mb=memory_mb(gpu_memory))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(width=None if sys.stdout.isatty() else 120)
    for each in shown(found):
        console.print(each)
    if not fits(found):
        raise typer.Exit(1)


@main.command()
def parity(folder: Path, model: str | None = typer.Option(None, help="id of one network or procedure")) -> None:
    """Every parity kit in a folder against our networks; exit 1 on any miss. Needs the torch environment."""
    from deployments.parity import check_folder

    table = Table("kit", "network", "worst", "output", "tolerance", "s", "missed")
    missed = False
    for row in check_folder(folder, model):
        missed |= row.missed is not None
        table.add_row(
            row.kit, row.network or "-", "-" if row.worst is None else f"{row.worst:.1e}", row.output or "-",
            f"{row.tolerance:.0e}", f"{row.seconds:.1f}", row.missed or "",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if missed or not table.rows:
        raise typer.Exit(1)


@main.command()
def speed(
    folders: Annotated[list[Path], typer.Argument(help="with parity kits, whose keys and weights are taken")],
    model: Annotated[str | None, typer.Option(help="id of the one model whose networks are measured")] = None,
    out: Annotated[Path, typer.Option(help="a row of JSON is added for each as it is done")] = SPEED,
    threads: Annotated[int, typer.Option(min=1, help="of eager torch and of OpenVINO")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="least runs of each, of which the median counts")] = 3,
    memory_gb: Annotated[float, typer.Option(help="weights over this, counted four times, are skipped (GB)")] = 12.0,
) -> None:
    """Every engine at its real size, eager against OpenVINO; published networks against their reference's time, too.

    Rows that OUT has already are not measured again: after a break, give the same command. To measure anew, remove
    the file. Each row has a process of its own. Wants a quiet machine; needs the torch environment. Exit 1 where
    OpenVINO is not faster or its outputs differ, where eager takes over 1.1 times what the reference took on two
    cores, and where a network could not be run; what was skipped says why.
    """
    from deployments.speed import Limits, machine, rows

    limits = Limits(threads=threads, repeats=repeats, memory_gb=memory_gb)
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else [machine()]
    with out.open("a") as written:
        if not out.stat().st_size:
            written.write(json.dumps(done[0]) + "\n")
        for row in rows(folders, model, limits, done):
            typer.echo(json.dumps(row), err=True)
            written.write(json.dumps(row) + "\n")
            written.flush()
            done.append(row)
    latest = {(row["row"], row["name"]): row for row in done if row["row"] != "machine"}
    columns = ("row", "name", "load", "input", "clock", "eager_s", "openvino_s", "bfloat16_s", "reference_s", "ratio",
               "worst", "bfloat16_error")  # fmt: skip
    table = Table(*columns, "missed or skipped")
    for row in latest.values():
        table.add_row(*(str(row.get(column, "")) for column in columns), row.get("missed") or row.get("skipped") or "")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if any("missed" in row for row in latest.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
