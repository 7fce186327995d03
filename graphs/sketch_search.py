"""Sketch search: a drawing becomes a picture of a garment, and the catalogue shows what comes nearest to it."""

import asyncio
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.roles import Article, FashionEmbedding, Sketch, SketchToGarment
from graphs.base import Graph, uses
from graphs.catalogue_index import CatalogueIndex, Filter, Kind, Match
from modiste.errors import NotFound
from modiste.image import Embedding, RGBImage, decode
from modiste.labels import SketchCategory
from modiste.telemetry import step

_SHOWN_SIDE = 512


class SketchSearchOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    category: SketchCategory | Literal["auto"] = Field(
        default="auto", description="what is drawn; auto: what the outline looks most like"
    )
    k: int = Field(default=6, ge=1, le=48, description="how many articles at most (count)")
    price_min: float | None = Field(default=None, ge=0, description="lowest price, in the catalogue's currency")
    price_max: float | None = Field(default=None, ge=0, description="highest price, in the catalogue's currency")
    kinds: tuple[Kind, ...] = Field(
        default=(), max_length=6, description="kinds of article to look among; none: the kind that is drawn"
    )
    availability: str | None = Field(
        default=None, max_length=40, description="only articles of this availability, e.g. in_stock"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "SketchSearchOptions":
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"expected price_min up to price_max, got {self.price_min} and {self.price_max}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchSearchRequest:
    """sketch: dark lines on light paper; coloured strokes or dots are colour hints."""

    sketch: RGBImage
    options: SketchSearchOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """score: likeness to the garment picture, up to 1; price in `currency`"""

    id: str
    title: str
    price: float
    currency: str
    link: str
    kind: str
    availability: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchSearchResult:
    """garment: what was understood, 512 x 512 pixels; category: of the sketch, as asked for or as found;
    coloured: the sketch had colour hints, without which colours do not count;
    items: best first, fewer than asked for where the filters leave fewer; pictures: of the items, in their order."""

    garment: RGBImage
    category: SketchCategory
    coloured: bool
    items: tuple[FoundItem, ...]
    pictures: tuple[RGBImage, ...]


class SketchSearch(Graph[SketchSearchRequest, SketchSearchResult]):
    request = SketchSearchRequest
    result = SketchSearchResult

    draw = uses(SketchToGarment)
    embed = uses(FashionEmbedding)

    async def __call__(self, request: SketchSearchRequest) -> SketchSearchResult:
        """raises: NoSketch; NotFound where there is no catalogue"""
        options = request.options
        category = None if options.category == "auto" else options.category
        drawn = await self.draw(Sketch(image=request.sketch, category=category))
        embedding = await self.embed(Article(image=drawn.image, coloured=drawn.coloured))
        only = Filter(
            kinds=options.kinds or (drawn.category,),
            price_min=options.price_min,
            price_max=options.price_max,
            availability=options.availability,
        )
        with step("search"):
            matches = await asyncio.to_thread(_search, embedding, options.k, only)
        shown = cv2.resize(drawn.image, (_SHOWN_SIDE, _SHOWN_SIDE), interpolation=cv2.INTER_CUBIC)
        return SketchSearchResult(
            garment=RGBImage(np.asarray(shown, np.uint8)),
            category=drawn.category,
            coloured=drawn.coloured,
            items=tuple(_found(match) for match in matches),
            pictures=tuple(decode(match.picture) for match in matches),
        )


def _search(embedding: Embedding, k: int, only: Filter) -> list[Match]:
    index = CatalogueIndex()
    if not len(index):
        raise NotFound("expected a catalogue to search, got none; fill it by `python -m api.catalogue import feed.csv`")
    return index.search(embedding, k, only)


def _found(match: Match) -> FoundItem:
    item = match.item
    return FoundItem(
        id=item.id,
        title=item.title,
        price=item.price,
        currency=item.currency,
        link=item.link,
        kind=item.kind,
        availability=item.availability,
        score=round(match.score, 4),
    )
