"""`python -m deployments models | parity`."""

import sys
from pathlib import Path

import typer
from jinja2 import Template
from rich.console import Console
from rich.table import Table

from deployments import EDITIONS, model_class
from weights.manifest import digest, load_manifest

PAGE = Template(
    """# Models

Written by `make models` from `deployments/*/model.py` and `weights/manifest.toml`; do not edit.

| role ({{ edition }} edition) | model | what it is | weights | digest | licence | commercial |
| --- | --- | --- | --- | --- | --- | --- |
{% for row in rows -%}
| {{ row.role }} | [{{ row.model }}](../deployments/{{ row.model }}/README.md) | {{ row.paper }} | {{ row.weights }} | \
{{ row.digest }} | {{ row.licence }} | {{ row.commercial }} |
{% endfor %}
| engine | inputs | outputs | precision | tolerance |
| --- | --- | --- | --- | --- |
{% for engine in engines -%}
| {{ engine.name }} | {{ engine.inputs }} | {{ engine.outputs }} | {{ engine.precision }} | {{ engine.tolerance }} |
{% endfor %}""",
    trim_blocks=False,
)


main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@main.command()
def models() -> None:
    """docs/models.md, written from the specs and the manifest."""
    manifest = load_manifest()
    rows, engines = [], []
    for role, model in EDITIONS["default"].items():
        spec = model_class(model).spec
        entries = [manifest[w] for w in sorted({e.weights for e in spec.engines.values()})]
        rows.append(
            {
                "role": role,
                "model": model,
                "paper": spec.paper,
                "weights": ", ".join(entry.id for entry in entries) or "none",
                "digest": ", ".join(f"`{digest(entry)[:12]}`" for entry in entries),
                "licence": "; ".join(entry.licence for entry in entries) or spec.licence,
                "commercial": "no" if any(not entry.commercial for entry in entries) else "yes",
            }
        )
        for name, engine in spec.engines.items():
            engines.append(
                {
                    "name": model if name == "main" else f"{model}.{name}",
                    "inputs": "<br>".join(f"{t.name} {list(t.shape)} {t.range}" for t in engine.inputs),
                    "outputs": "<br>".join(f"{t.name} {list(t.shape)}" for t in engine.outputs),
                    "precision": engine.precision,
                    "tolerance": engine.tolerance,
                }
            )
    sys.stdout.write(PAGE.render(edition="default", rows=rows, engines=engines) + "\n")


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


if __name__ == "__main__":
    main()
