"""How often the flows do well on pictures drawn by seed.

    python -m demo.survey run --photos DIR --portraits DIR --garments DIR --out out/survey
    python -m demo.survey table docs/survey.csv

`run` draws pictures by seed, sends them through the flows in one process and writes a side-by-side picture of each
and outcomes.csv. A person looks at the pictures and fills the verdicts (good, acceptable, bad; refusals come
filled in) of a copy, docs/survey.csv; `table` counts them for the README.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, get_type_hints

import cv2
import numpy as np
import typer

from graphs import graph_class
from graphs.local import LocalRunner
from modiste.errors import BadInput
from modiste.image import RGBImage, decode

app = typer.Typer(help="A survey of the flows on pictures drawn by seed.", no_args_is_help=True)

COUNT = 20
SHEET_HEIGHT = 480
WORN_TOPS = re.compile(r"[mw][hjstb]\d.*_main\.jpg")
"""Names of the store photos that show a top on a person from the front."""
FLAT_GARMENTS = ("T-Shirt", "Longsleeve", "Shirt", "Polo", "Hoodie", "Blouse", "Top", "Pants", "Skirt", "Dress")


@app.command()
def run(
    photos: Annotated[Path, typer.Option(help="store photos of people", file_okay=False)],
    portraits: Annotated[Path, typer.Option(help="portrait photos", file_okay=False)],
    garments: Annotated[Path, typer.Option(help="flat garment photos, one folder per kind", file_okay=False)],
    out: Annotated[Path, typer.Option(help="folder for pictures and outcomes.csv")] = Path("out/survey"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    flow: Annotated[list[str] | None, typer.Option(help="only these flows")] = None,
) -> None:
    """Send the drawn pictures through the flows."""
    out.mkdir(parents=True, exist_ok=True)
    worn = drawn([p for p in sorted(photos.glob("*.jpg")) if WORN_TOPS.fullmatch(p.name)], COUNT, seed)
    people = drawn(sorted(portraits.glob("*.jpg")), COUNT, seed)
    flat = [drawn(sorted((garments / kind).glob("*.jpg")), 2, seed) for kind in FLAT_GARMENTS]
    cases = list(requests(worn, people, [path for kind in zip(*flat, strict=True) for path in kind]))
    with LocalRunner() as runner, (out / "outcomes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["flow", "inputs", "verdict", "note", "seconds"])
        for number, (name, inputs, options) in enumerate(cases):
            if flow and name not in flow:
                continue
            pictures = {field: decode(path.read_bytes()) for field, path in inputs.items()}
            started = perf_counter()
            try:
                face = {}
                if name == "virtual_model":  # as a user does: the first face that suits the photo
                    face = {"face": ask(runner, "virtual_faces", pictures, {"n": 1}).tokens[0]}
                result = ask(runner, name, pictures, options | face)
                verdict, note = "", ""
                shown = [*pictures.values(), *pictures_of(result)]
                cv2.imwrite(str(out / f"{number:03}_{name}.jpg"), side_by_side(shown)[..., ::-1])
            except BadInput as refusal:
                verdict, note = "refused", f"{refusal.code}: {refusal.detail}"
                cv2.imwrite(
                    str(out / f"{number:03}_{name}_refused.jpg"), side_by_side(list(pictures.values()))[..., ::-1]
                )
            inputs_text = " + ".join(path.name for path in inputs.values())
            table.writerow([name, inputs_text, verdict, note, round(perf_counter() - started, 1)])
            file.flush()
            sys.stdout.write(f"{number:03} {name:14} {inputs_text} {verdict} {note}\n")


@app.command()
def table(judged: Annotated[Path, typer.Argument(help="outcomes with verdicts", exists=True)]) -> None:
    """Count the verdicts, as a Markdown table."""
    counts: dict[str, Counter[str]] = {}
    with judged.open(newline="") as file:
        for row in csv.DictReader(file):
            counts.setdefault(row["flow"], Counter())[row["verdict"]] += 1
    verdicts = ("good", "acceptable", "bad", "refused")
    lines = [
        "| flow | pictures | good | acceptable | bad | refused with a reason |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in counts.items():
        unknown = set(found) - set(verdicts)
        if unknown:
            raise typer.BadParameter(f"expected verdicts {verdicts}, got {sorted(unknown)} for {name}")
        lines.append(f"| {name} | {found.total()} | " + " | ".join(str(found[v]) for v in verdicts) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


def requests(
    worn: Sequence[Path], people: Sequence[Path], flat: Sequence[Path]
) -> Iterator[tuple[str, dict[str, Path], dict[str, Any]]]:
    """(flow, uploads by field, options) of every case."""
    for path in worn:
        yield "virtual_model", {"photo": path}, {}
    for path in worn:
        yield "anonymize", {"image": path}, {}
    for number, path in enumerate(people):
        yield "id_photo", {"portrait": path}, {"suit": ("m_suit_navy", "f_suit_black")[number % 2]}
    for person, garment in zip(worn, flat, strict=True):
        yield "try_on", {"person": person, "garment": garment}, {}


def ask(runner: LocalRunner, name: str, pictures: dict[str, RGBImage], options: dict[str, Any]) -> Any:
    """Run a flow; its result."""
    graph = graph_class(name)
    return runner.run(
        name, graph.request(**pictures, options=get_type_hints(graph.request)["options"](**options))
    ).result


def drawn(paths: Sequence[Path], count: int, seed: int) -> list[Path]:
    """`count` of the paths, the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(len(paths), size=count, replace=False)
    return [paths[i] for i in chosen]


def pictures_of(result: object) -> list[RGBImage]:
    """Every picture that a flow's result holds, in order."""
    values = [getattr(result, name) for name in result.__dataclass_fields__]  # type: ignore[attr-defined]
    flat = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
    return [RGBImage(one) for one in flat if isinstance(one, np.ndarray) and one.ndim == 3]


def side_by_side(pictures: Sequence[RGBImage]) -> RGBImage:
    """All at one height, in a row."""
    rows = [
        cv2.resize(p, (round(p.shape[1] * SHEET_HEIGHT / p.shape[0]), SHEET_HEIGHT), interpolation=cv2.INTER_AREA)
        for p in pictures
    ]
    return RGBImage(np.hstack(rows))


if __name__ == "__main__":
    app()
