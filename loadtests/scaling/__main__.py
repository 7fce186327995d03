"""`python -m loadtests.scaling service | seen | growth | predicted | capacity | page`: how deployments scale."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from jinja2 import Environment, FileSystemLoader
from rich.console import Console
from rich.table import Table

from deployments import model_class
from deployments.scaling import ACCEPTED_WAIT_S, LOOK_BACK_S, RARE, measured, scaling_of

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(stderr=True)
ROOT = Path(__file__).resolve().parents[2]
SEEN = ROOT / "loadtests" / "results" / "scaling-seen.json"
PREDICTED = ROOT / "loadtests" / "results" / "scaling-predicted.json"
QUIET = 0.15
"""Cores that others may keep busy while a figure is taken."""
MIX, P95_S, RATES = "virtual_model=0.6,sketch_search=0.4", 1.0, (1.0, 4.0, 16.0)
"""What the page asks for as an example."""
GROWTH = "scaling-{flow}"
"""In docs/: a plot, and beside it the figures that it shows."""


@app.command()
def service(seconds: Annotated[float, typer.Option(help="spent on each call of each flow, at least")] = 0.3) -> None:
    """deployments/service.json: what every model and flow takes on this machine; about seven minutes."""
    from loadtests.machine import machine
    from loadtests.scaling import service as of

    of.write(of.measure(machine(), seconds))
    page()


@app.command()
def seen() -> None:
    """What Serve tells a policy under three loads; a minute."""
    from loadtests.scaling import seen as of

    _write(SEEN, of.measure())
    page()


@app.command()
def growth(
    flow: str = "sketch_search",
    rate: Annotated[float, typer.Option(help="requests per second at the height")] = 7.0,
    seconds: Annotated[float, typer.Option(min=180, help="that the whole takes")] = 210.0,
    downscale: Annotated[float, typer.Option(min=15, help="delay before fewer replicas (s); served with: 300")] = 20.0,
) -> None:
    """One flow's load on a server of its own: docs/scaling-<flow>.svg and .json; exit 1 where others grow, or nothing
    shrinks."""
    from loadtests.scaling import growth as of
    from loadtests.scaling.growth_plot import draw

    steps = [(0.05 * seconds, 0.0), (0.37 * seconds, rate), (0.2 * seconds, rate / 5), (0.38 * seconds, 0.0)]
    found = of.measure(flow, steps, downscale) | {"date": datetime.now(UTC).date().isoformat()}
    written = ROOT / "docs" / f"{GROWTH.format(flow=flow)}.json"
    found["amiss"] = of.amiss(found)
    written.write_text(json.dumps(found) + "\n")
    draw(found, written.with_suffix(".svg"))
    for said in found["amiss"]:
        console.print(f"[red]{said}[/red]")
    if found["amiss"]:
        raise typer.Exit(1)
    page()


@app.command()
def predicted(
    flow: Annotated[list[str] | None, typer.Option()] = None,
    replicas: Annotated[list[int] | None, typer.Option(min=1)] = None,
    seconds: Annotated[float, typer.Option(help="of load at each rate")] = 20.0,
) -> None:
    """The simulation against servers with 1 and 2 replicas at several rates; three minutes for each flow."""
    from loadtests.scaling import predicted as of

    known = json.loads(PREDICTED.read_text()) if PREDICTED.exists() else []
    for name in flow or ["sketch_search", "virtual_model"]:
        for count in replicas or [1, 2]:
            rows = of.compare(name, count, seconds)
            known = [row for row in known if (row["flow"], row["replicas"]) != (name, count)] + rows
            _write(PREDICTED, known)
    page()


@app.command()
def capacity(
    rate: Annotated[float, typer.Option(min=0.001, help="requests per second, of all flows together")],
    mix: Annotated[str, typer.Option(help='shares, as "virtual_model=0.6,sketch_search=0.4"')],
    p95: Annotated[float, typer.Option(min=0.001, help="seconds that 95 of 100 requests of each flow may take")],
    gpu: Annotated[str | None, typer.Option(help="type; none: machines with CPUs alone, as the measured one")] = None,
    gpu_times: Annotated[Path | None, typer.Option(help="rows of `make bench-gpu` on that type")] = None,
    speed_up: Annotated[float | None, typer.Option(min=1, help="ASSUMED: times faster than a core of ours")] = None,
    cores: Annotated[int, typer.Option(min=1, help="CPU cores of the machine for each GPU")] = 16,
) -> None:
    """How many machines or GPUs a load needs, by simulation. Exit 1 where no number that was tried is enough."""
    from loadtests.scaling import capacity as of

    try:
        rates = of.rates_of(mix, rate)
        if gpu is None:
            answer = of.machines_needed(rates, p95)
        else:
            answer = of.gpus_needed(rates, p95, _gpu(gpu, gpu_times, speed_up, cores))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    table = Table("deployment", "replicas", "busy")
    for name, count in sorted(answer.replicas.items()):
        table.add_row(name, str(count), f"{answer.outcome.busy[name]:.0%}" if name in answer.outcome.busy else "")
    Console().print(table)
    for name, seconds in answer.p95_s.items():
        typer.echo(f"{name}: {rates[name]:g}/s, p95 {seconds:.2f} s")
    unit = f"{gpu} GPUs with {cores} cores each" if gpu else f"machines with {measured()['machine']['cores']} cores"
    typer.echo(f"{'enough' if answer.enough else 'NOT enough'}: {answer.units} {unit}")
    if not answer.enough:
        raise typer.Exit(1)


def _gpu(name: str, times: Path | None, speed_up: float | None, cores: int) -> Any:
    from loadtests.scaling import capacity as of

    if name not in of.GPU_MEMORY_MB:
        raise ValueError(f"expected one of {', '.join(of.GPU_MEMORY_MB)}, got {name!r}")
    if (times is None) == (speed_up is None):
        raise ValueError("expected --gpu-times or --speed-up: no time on a GPU was measured here")
    if times is not None:
        return of.gpu_from_rows(name, of.GPU_MEMORY_MB[name], cores, times)
    assert speed_up is not None
    console.print(
        f"[bold red]ASSUMPTION[/bold red]: every model takes a {speed_up:g}th on a {name} of what it takes on one core "
        "here. Nobody measured that; what follows is as good as that number."
    )
    return of.gpu_from_factor(name, of.GPU_MEMORY_MB[name], cores, speed_up)


@app.command()
def page() -> None:
    """docs/scaling.md from what was measured."""
    from loadtests.page import newest
    from loadtests.scaling import steadiness
    from loadtests.scaling.capacity import machines_needed, rates_of
    from loadtests.scaling.predicted import unloaded

    bench = newest("*-cpu.json")
    shown = sorted((ROOT / "docs").glob(GROWTH.format(flow="*") + ".json"))
    content = {
        "service": measured(),
        "scaling": {name: scaling_of(name, model_class(name).spec.resources) for name in measured()["models"]},
        "rare": sorted(RARE),
        "accepted_wait_s": ACCEPTED_WAIT_S,
        "look_back_s": LOOK_BACK_S,
        "seen": _read(SEEN),
        "growths": [json.loads(path.read_text()) for path in shown],
        "predicted": _read(PREDICTED),
        "unloaded": unloaded(json.loads(bench.read_text())["overhead"]) if bench else {},
        "quiet": QUIET,
        "mix": MIX,
        "p95_s": P95_S,
        "capacity": {rate: machines_needed(rates_of(MIX, rate), P95_S) for rate in RATES},
        "levels": steadiness.LEVELS,
        "steadiness": steadiness.table(),
    }
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    written = ROOT / "docs" / "scaling.md"
    written.write_text(templates.get_template("scaling.md.j2").render(content) + "\n")
    console.print(f"written: {written}")


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _write(path: Path, found: Any) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app()
