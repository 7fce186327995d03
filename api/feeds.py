"""Product feeds: rows of CSV or JSON lines, and the pictures they name."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from graphs.catalogue_index import Item, kind_of
from modiste.errors import BadInput, BrokenFile, FileTooLarge, NotFound, UnsupportedType
from modiste.settings import settings

_PRICE = re.compile(r"(?:([A-Z]{3})\s*)?(\d+(?:[.,]\d{1,2})?)(?:\s*([A-Z]{3}))?")
_TIMEOUT_S = 20.0


def _price(text: object) -> object:
    """ "59.00 EUR", "EUR 59,00" or 59 -> amount and currency."""
    found = _PRICE.fullmatch(str(text).strip())
    if found is None:
        raise ValueError(f'expected a price such as "59.00 EUR", got {text!r}')
    return float(found[2].replace(",", ".")), found[1] or found[3] or ""


def _word(text: object) -> object:
    return str(text).strip().casefold().replace(" ", "_") or "in_stock"


class FeedRow(BaseModel):
    """One article as a feed describes it; other fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True, str_strip_whitespace=True)

    id: Annotated[str, Field(min_length=1, max_length=200)]
    title: Annotated[str, Field(min_length=1, max_length=1000)]
    link: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2000)]
    image_link: Annotated[str, Field(min_length=1, max_length=2000)]
    price: Annotated[tuple[float, str], BeforeValidator(_price)]
    category: Annotated[
        str, Field(validation_alias=AliasChoices("category", "product_type", "google_product_category"))
    ] = ""
    availability: Annotated[str, BeforeValidator(_word)] = "in_stock"

    def item(self) -> Item:
        kind = kind_of(self.category)
        return Item(
            id=self.id,
            title=self.title,
            link=self.link,
            price=self.price[0],
            currency=self.price[1],
            category=self.category,
            kind=kind if kind != "other" else kind_of(self.title),
            availability=self.availability,
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """place: number of the row, from 1, header not counted"""

    place: int
    reason: str


def read_feed(feed: Path) -> Iterator[FeedRow | Refusal]:
    """Each row of a feed, or why it cannot be used.

    raises: NotFound, UnsupportedType, BrokenFile for the feed as a whole
    """
    if not feed.is_file():
        raise NotFound(f"expected a feed at {feed}, got nothing there")
    if feed.suffix not in (".csv", ".jsonl"):
        raise UnsupportedType(f"expected a feed that ends in .csv or .jsonl, got {feed.name}")
    with feed.open(encoding="utf-8-sig", newline="") as lines:
        raw: Iterator[object] = csv.DictReader(lines) if feed.suffix == ".csv" else map(_parsed, lines)
        try:
            for place, fields in enumerate(raw, 1):
                try:
                    yield FeedRow.model_validate(fields)
                except ValidationError as error:
                    problems = "; ".join(
                        f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors(include_url=False)
                    )
                    yield Refusal(place, problems)
        except (UnicodeDecodeError, csv.Error) as error:
            raise BrokenFile(f"expected a feed in UTF-8, but reading stopped: {error}") from error


def _parsed(line: str) -> object:
    try:
        parsed: object = json.loads(line)
    except ValueError:
        return line  # refused with its place, as any row that is not an object
    return parsed


def fetch_picture(link: str, beside: Path) -> bytes:
    """The encoded picture that a row names: a path below the feed's folder, or http(s).

    raises: NotFound, FileTooLarge, BadInput
    """
    if link.startswith(("http://", "https://")):
        return _download(link)
    path = (beside / link).resolve()
    if not path.is_relative_to(beside.resolve()):
        raise BadInput(f"expected a picture below the feed's folder, got {link}")
    if not path.is_file():
        raise NotFound(f"expected a picture at {link}, got nothing there")
    if path.stat().st_size > settings().max_upload_bytes:
        raise FileTooLarge(f"expected at most {settings().max_upload_bytes} bytes, got {path.stat().st_size} in {link}")
    return path.read_bytes()


def _download(link: str) -> bytes:
    try:
        return _attempt(link)
    except httpx.HTTPError as error:
        raise NotFound(f"expected a picture at {link}, got {error}") from error


@retry(
    retry=retry_if_exception_type(httpx.TransportError),
    stop=stop_after_attempt(3),
    wait=wait_exponential(max=5),
    reraise=True,
)
def _attempt(link: str) -> bytes:
    received = bytearray()
    with httpx.stream("GET", link, follow_redirects=True, timeout=_TIMEOUT_S) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            received += chunk
            if len(received) > settings().max_upload_bytes:
                raise FileTooLarge(f"expected at most {settings().max_upload_bytes} bytes from {link}, got more")
    return bytes(received)
