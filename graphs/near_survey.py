"""How alike people in photos and the faces near them are: `python -m graphs.near_survey PHOTO...`

What the limit of `virtual_faces` leaves of the faces that it makes, by the models in use.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from graphs.local import LocalRunner
from graphs.virtual_faces import VirtualFaces, drawn, same_person
from modiste.image import Embedding, RGBImage, decode

TRUNCATIONS = (0.0, 0.35, 0.5)


@dataclass(frozen=True, slots=True)
class Survey:
    """cosines: of the faces at each truncation; person, again: who is in the photo, and who the centre itself is."""

    cosines: list[list[float]]
    person: Embedding
    again: Embedding


async def look(graph: VirtualFaces, photo: RGBImage, faces: int, seed: int) -> Survey:
    person = await graph.person(photo)
    centre = await graph.invert(person.aligned)
    # At truncation 0 all faces are the same.
    made = [await graph.offers(drawn(seed, faces if t else 1), t, centre, person) for t in TRUNCATIONS]
    cosines = [[offer.cosine for offer in offers if offer.cosine is not None] for offers in made]
    return Survey(cosines, person.identity, await graph.virtual_identity(made[0][0].face))


def main(
    photos: Annotated[list[Path], typer.Argument(help="each shows one person")], faces: int = 5, seed: int = 5
) -> None:
    limit = same_person()
    with LocalRunner() as runner:
        graph = VirtualFaces(runner.calls(VirtualFaces))
        every = [asyncio.run(look(graph, decode(photo.read_bytes()), faces, seed)) for photo in photos]
    typer.echo("| truncation | faces | median | highest | under the limit | people with none |")
    typer.echo("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for truncation, rows in zip(TRUNCATIONS, zip(*(survey.cosines for survey in every), strict=True), strict=True):
        values = np.array(rows)
        under = values < limit
        typer.echo(
            f"| {truncation} | {values.size} | {np.median(values):.3f} | {values.max():.3f} | {under.mean():.0%} "
            f"| {int((~under.any(axis=1)).sum())} of {len(rows)} |"
        )
    alike = np.array([survey.again for survey in every]) @ np.array([survey.person for survey in every]).T
    own = int((alike.argmax(axis=1) == np.arange(len(every))).sum())
    typer.echo(f"of all people in the photos, {own} of {len(every)} centres are most like their own")


if __name__ == "__main__":
    typer.run(main)
