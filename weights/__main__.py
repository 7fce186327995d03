"""`python -m weights fetch | put | verify | list | licences | convert | official`; exit 1 where something is amiss."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Column, Table
from safetensors.numpy import save_file

from modiste.errors import ModisteError, NotFound
from weights import manifest, store
from weights.convert.official import official_beside, official_state
from weights.licences import licence_report
from weights.manifest import entry, select

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Ids = Annotated[list[str] | None, typer.Argument(help="ids in the manifest; all where none is given")]


@app.command()
def fetch(ids: Ids = None) -> None:
    """Bring the weights into the store, sha256-verified, and convert those that need it; resumes."""
    entries = select(ids or ())
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        store.fetch([of.id for of in entries], advance)
        moved = sum(task.completed for task in bars.tasks)
    kept = sum(file.bytes or 0 for of in entries for file in of.files.values())
    typer.echo(f"{len(entries)} weights ({_mb(kept)}) are in {store.root()}; {_mb(moved)} were fetched now.")


@app.command()
def verify(ids: Ids = None) -> None:
    """Hash every file again and name those that are absent or wrong; repairs nothing."""
    entries = select(ids or ())
    problems = store.verify([of.id for of in entries])
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{len(entries)} weights are as listed.")


@app.command("list")
def show() -> None:
    """What the manifest lists, and what of it is in the store."""
    table = Table(Column("id", no_wrap=True), "MB", "commercial", "in store", "from", box=None)
    for of in manifest.load_manifest().values():
        table.add_row(
            of.id,
            f"{sum(file.bytes or 0 for file in of.files.values()) / 1e6:.1f}",
            "yes" if of.commercial else "no",
            "yes" if store.complete(of) else "no",
            next(iter(of.files.values())).url,
        )
    Console().print(table)


@app.command()
def licences(ids: Ids = None) -> None:
    """Licence, origin and training data of the weights."""
    typer.echo(licence_report(ids or ()))


@app.command()
def convert(ids: Ids = None) -> None:
    """Convert again those weights that need it, though they are converted already."""
    for of in select(ids or ()):
        if ids or of.converter:
            store.convert(of)
            for part in of.parts or ("",):
                typer.echo(f"{of.id}: {store.artefact(of.id, part)}")


@app.command()
def put(id: str, files: list[Path]) -> None:
    """Bring the FILES of an entry that a person has to fetch into the store, in the order in which it lists them."""
    names = list(entry(id).files)
    if len(names) != len(files):
        raise NotFound(f"Expected {len(names)} files of {id} ({', '.join(names)}); got {len(files)}.")
    store.put(id, dict(zip(names, files, strict=True)))
    typer.echo(f"{id}: {', '.join(names)} in {store.root()}")


@app.command()
def official(network: str, file: Path, keys: Path, out: Path) -> None:
    """A published network's official FILE as safetensors under the bare network's keys.

    KEYS is the list of a parity kit, key -> [shape, type]. What the network's use takes from the file beside its
    weights, such as a mean latent, goes into OUT's neighbour that ends in .beside.safetensors.
    """
    listed: dict[str, tuple[list[int], str]] = json.loads(keys.read_text())
    state = official_state(network, file, {key: tuple(shape) for key, (shape, _) in listed.items()})
    save_file(state, out)
    if beside := official_beside(network, file):
        save_file(beside, out.with_suffix(".beside.safetensors"))
    typer.echo(f"{network}: {len(state)} tensors in {out}")


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=2)),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
    )


def main() -> None:
    try:
        app(standalone_mode=True)
    except ModisteError as error:
        typer.echo(error.detail, err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
