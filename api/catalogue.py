"""The catalogue's keeper: `python -m api.catalogue import feed.csv | list | delete ID...`.

A feed is CSV with a header, or JSON lines, with the fields of shopping feeds: id, title, link, image_link, price,
availability, and category or product_type. Articles that are as they were are skipped, so importing again costs what
changed. A running server sees the change at its next search.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from api.feeds import FeedRow, Refusal, fetch_picture, read_feed
from deployments.roles import Article
from graphs.catalogue_index import CatalogueIndex, Entry
from graphs.local import LocalRunner
from modiste.errors import ModisteError
from modiste.image import Embedding, RGBImage, decode, encode

STORED_SIDE = 640
"""Longest side of the picture that is kept for showing."""
CHUNK = 16
"""Articles written at once; what is written survives an interruption."""

Embed = Callable[[Sequence[Article]], list[Embedding]]

main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@dataclass(slots=True)
class Tally:
    """What an import did. refused: one line per row that could not be used; gone: removed, not in the feed any more"""

    written: int = 0
    unchanged: int = 0
    gone: int = 0
    refused: list[str] = field(default_factory=list)


def import_feed(feed: Path, index: CatalogueIndex, embed: Embed, *, prune: bool = False) -> Tally:
    """Bring the index up to date with a feed; rows that cannot be used are reported and left as they were.

    embed: pictures to embeddings; prune: also remove articles that the feed does not name
    raises: NotFound, UnsupportedType, BrokenFile for the feed as a whole
    """
    tally, known, waiting = Tally(), index.sources(), []
    named = set()
    for row in track(list(read_feed(feed)), description="Importing", console=Console(stderr=True), transient=True):
        if isinstance(row, Refusal):
            tally.refused.append(f"row {row.place}: {row.reason}")
            continue
        named.add(row.id)
        try:
            encoded = fetch_picture(row.image_link, feed.parent)
            source = hashlib.sha256(row.model_dump_json().encode() + b"\n" + encoded).hexdigest()
            if known.get(row.id) == source:
                tally.unchanged += 1
                continue
            waiting.append((row, source, decode(encoded)))
        except ModisteError as error:
            tally.refused.append(f"{row.id}: {error.detail}")
        if len(waiting) == CHUNK:
            tally.written += _write(waiting, index, embed)
            waiting = []
    tally.written += _write(waiting, index, embed)
    if prune:
        tally.gone = index.delete({item.id for item in index.items()} - named)
    return tally


def _write(rows: Sequence[tuple[FeedRow, str, RGBImage]], index: CatalogueIndex, embed: Embed) -> int:
    # The last of several rows with one id counts, as if they had come one after the other.
    latest = {row.id: (row, source, picture) for row, source, picture in rows}
    embeddings = embed([Article(image=picture) for _, _, picture in latest.values()])
    index.upsert(
        [
            Entry(item=row.item(), picture=encode(_shrunk(picture), "jpeg", quality=88), embedding=found, source=source)
            for (row, source, picture), found in zip(latest.values(), embeddings, strict=True)
        ]
    )
    return len(latest)


def _shrunk(picture: RGBImage) -> RGBImage:
    scale = STORED_SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return RGBImage(np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8))


@main.command("import")
def _import(
    feed: Annotated[Path, typer.Argument(help="feed.csv or feed.jsonl")],
    prune: Annotated[bool, typer.Option(help="also remove articles that the feed does not name")] = False,
) -> None:
    """Add the articles of a feed, or bring them up to date."""
    with LocalRunner() as runner:
        try:
            tally = import_feed(
                feed, CatalogueIndex(), lambda articles: runner.call("FashionEmbedding", articles), prune=prune
            )
        except ModisteError as error:
            raise typer.BadParameter(error.detail) from error
    for line in tally.refused:
        typer.echo(line, err=True)
    typer.echo(
        f"{tally.written} written, {tally.unchanged} unchanged, {tally.gone} removed, {len(tally.refused)} refused; "
        f"{len(CatalogueIndex())} in the catalogue"
    )
    if tally.refused:
        raise typer.Exit(1)


@main.command("list")
def _list() -> None:
    """What the catalogue holds."""
    table = Table("id", "kind", "title", "price", "availability")
    for item in CatalogueIndex().items():
        table.add_row(item.id, item.kind, item.title, f"{item.price:.2f} {item.currency}", item.availability)
    Console().print(table)


@main.command("delete")
def _delete(ids: Annotated[list[str], typer.Argument(help="article ids")]) -> None:
    """Remove articles."""
    typer.echo(f"{CatalogueIndex().delete(ids)} removed")


if __name__ == "__main__":
    main()
