"""Every engine on a GPU at its real size, and the flows on top: `make bench-gpu`. Needs torch; nothing else is a must.

Rows are added to the results as they are measured, cheap ways of running for all engines before dear ones for any, so
that a run that ends early, or is ended by its time limit, leaves what it had. What could not be run says why.

ms are medians. Torch's own ways are timed on the device alone, by its events; the engines "cuda" and "tensorrt" as they
serve, with the copies from and to the host. The floor is what the arithmetic or the memory traffic takes at the rates
of a matrix product and a copy that are measured first.
"""

import gc
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated

import torch
import typer

from deployments.full_size import FullSize, full_size_engines, keyed_kits
from loadtests.gpu_ways import BATCHES, WAYS, Plan, Row, Subject, machine
from modiste.settings import settings
from modiste.spec import Precision, Target

ROOT = Path(__file__).resolve().parent.parent
RESULTS, KITS = ROOT / "loadtests" / "results", ROOT / "tests" / "kits"
FIRST = ("stylegan2_ada.synthesis", "gpen", "faceshifter", "hrviton_gen", "densepose.forward", "graphonomy",
         "fashion_siglip")  # fmt: skip
"""Engines that goals are set for; they go first."""


def rows(plan: Plan, done: Sequence[Row]) -> Iterator[Row]:
    """One for each engine, way and batch that is not among those done; then one for each flow."""
    ends = monotonic() + plan.seconds
    have = {(row["row"], row["name"]) for row in done}
    engines = [of for of in full_size_engines(keyed_kits(plan.kits)) if not (of.same or of.missing)]
    wanted = [of for of in engines if plan.models is None or of.name.partition(".")[0] in plan.models]
    wanted.sort(key=lambda of: (FIRST.index(of.name) if of.name in FIRST else len(FIRST), of.weights_gb))
    for ways in (("cost", "float32", "low", "graphs"), ("cuda",), ("tensorrt",), ("compiled",)):
        for of in wanted:
            for batch in plan.batches:
                missing = [way for way in ways if ("gpu", f"{of.name} {batch} {way}") not in have]
                if missing and monotonic() < ends:
                    yield from _measured(of, batch, missing, plan)


def _measured(of: FullSize, batch: int, ways: Sequence[str], plan: Plan) -> Iterator[Row]:
    about = {"row": "gpu", "engine": of.name, "batch": batch}
    try:
        with torch.inference_mode():
            subject = Subject(of, batch, plan.device)
    except (RuntimeError, ValueError, OSError) as error:
        yield {**about, "name": f"{of.name} {batch} {ways[0]}", "way": ways[0], "missed": told(error)}
        return
    for way in ways:
        row = {**about, "name": f"{of.name} {batch} {way}", "way": way}
        try:
            with torch.inference_mode():
                yield row | WAYS[way](subject, plan)
        except (RuntimeError, ValueError, AssertionError, OSError, ImportError, AttributeError, TypeError) as error:
            yield row | {"missed": told(error)}
    del subject
    gc.collect()
    if plan.device.type == "cuda":
        torch.cuda.empty_cache()
    if "compiled" in ways:
        torch.compiler.reset()


def told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def main(
    kits: Annotated[list[Path] | None, typer.Option(help="folders with parity kits; none: tests/kits")] = None,
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the command itself")] = "cuda",
    model: Annotated[list[str] | None, typer.Option(help="ids; none: all")] = None,
    precision: Annotated[Precision, typer.Option(help="the low one")] = "float16",
    batch: Annotated[list[int] | None, typer.Option(help="none: 1 and 8")] = None,
    runs: Annotated[int, typer.Option(min=1, help="of each, of which the median counts")] = 50,
    seconds: Annotated[float, typer.Option(help="after which nothing new is begun")] = 420.0,
    target: Annotated[Target, typer.Option(help="what engines of the flows are built with")] = "tensorrt",
    flows: Annotated[bool, typer.Option(help="also the flows, with the default edition's weights")] = True,
    out: Annotated[Path | None, typer.Option(help="rows are added; none: loadtests/results/<date>-gpu.jsonl")] = None,
) -> None:
    """Measure, and add each row to the results at once. The same command goes on where it was ended."""
    on = torch.device(device)
    if on.type == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("expected a CUDA device; torch sees none")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    written = out or RESULTS / f"{datetime.now(UTC).date().isoformat()}-gpu.jsonl"
    done = [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []
    plan = Plan(
        device=on,
        kits=kits or [KITS],
        seconds=seconds,
        models=model,
        precision=precision,
        batches=batch or BATCHES,
        runs=runs,
    )
    with written.open("a") as rows_of:
        for row in _all(plan, done, target if flows else None):
            typer.echo(json.dumps(row), err=True)
            rows_of.write(json.dumps(row) + "\n")
            rows_of.flush()


def _all(plan: Plan, done: Sequence[Row], target: Target | None) -> Iterator[Row]:
    if not done:
        yield machine(plan.device)
    yield from rows(plan, done)
    if target is not None:
        from loadtests import stages  # needs more than torch: the whole serving environment

        os.environ["MODISTE_TARGET"] = target
        settings.cache_clear()
        have = {row["name"] for row in done if row["row"] == "flow"}
        yield from (row | {"target": target} for row in stages.rows() if row["name"] not in have)


if __name__ == "__main__":
    typer.run(main)
