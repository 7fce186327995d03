"""The catalogue on disk: articles with their embeddings and pictures, found by likeness.

An embedded LanceDB table. Readers see each change as a whole, also while another process writes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from deployments import model_class, model_for
from modiste.image import Embedding
from modiste.labels import SketchCategory
from modiste.settings import settings
from weights.manifest import digest, entry

Kind = SketchCategory | Literal["other"]
KINDS: tuple[str, ...] = (*get_args(SketchCategory), "other")
TABLE = "items"

_WORDS: Mapping[SketchCategory, str] = {
    "dress": r"dress(es)?|gowns?",
    "skirt": r"skirts?",
    "trousers": r"trousers?|pants|jeans|chinos?|leggings?|shorts|joggers?|slacks|bottoms?",
    "hat": r"hats?|caps?|beanies?|berets?|headwear",
    "top": r"tops?|t-?shirts?|tees?|shirts?|blouses?|polos?|sweaters?|jumpers?|pullovers?|hoodies?|sweatshirts?"
    r"|cardigans?|jackets?|blazers?|coats?|vests?|tanks?|long-?sleeves?|outerwear|knitwear",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """price: in `currency` (ISO 4217); category: as the feed says; kind: what it counts as; link: to the shop"""

    id: str
    title: str
    link: str
    price: float
    currency: str
    category: str
    kind: str
    availability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """picture: JPEG; source: digest of everything that it was made from, so that a change is noticed"""

    item: Item
    picture: bytes
    embedding: Embedding
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """score: cosine of the embeddings; picture: JPEG"""

    item: Item
    score: float
    picture: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Empty tuples and None let everything through; price bounds are inclusive."""

    kinds: tuple[str, ...] = ()
    price_min: float | None = None
    price_max: float | None = None
    availability: str | None = None


def kind_of(category: str) -> str:
    """What a shop's own word for an article counts as: "Women > Denim > Jeans" -> trousers; the last word decides."""
    found = [
        (match.start(), kind)
        for kind, words in _WORDS.items()
        for match in re.finditer(rf"\b(?:{words})\b", category.casefold())
    ]
    return max(found)[1] if found else "other"


def maker() -> str:
    """Which model and weights embeddings come from; those of another maker cannot be compared."""
    model = model_for("FashionEmbedding")
    ids = sorted({engine.weights for engine in model_class(model).spec.engines.values()})
    return " ".join([model, *(digest(entry(identifier))[:16] for identifier in ids)])


class CatalogueIndex:
    """folder: where the table lies; `<state>/catalogue` where None. Made on the first `upsert`."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or settings().state / "catalogue"
        # Every search sees what other processes have written meanwhile.
        import lancedb  # starts threads, so only where a catalogue is opened: the server forks

        self._db = lancedb.connect(self._folder, read_consistency_interval=timedelta(0))

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Add articles, and replace those whose id is there already."""
        if not entries:
            return
        table = self._db.create_table(TABLE, schema=_schema(len(entries[0].embedding)), exist_ok=True)
        rows = [
            {**asdict(e.item), "picture": e.picture, "vector": e.embedding, "source": e.source, "maker": maker()}
            for e in entries
        ]
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def delete(self, ids: Iterable[str]) -> int:
        """Remove articles; returns how many there were."""
        table = self._table()
        before = len(self)
        quoted = ", ".join(_quoted(identifier) for identifier in ids)
        if table is None or not quoted:
            return 0
        table.delete(f"id IN ({quoted})")
        return before - len(self)

    def items(self) -> list[Item]:
        """Everything in the catalogue, by id."""
        return sorted((_item(row) for row in self._rows(list(Item.__slots__))), key=lambda item: item.id)

    def sources(self) -> dict[str, str]:
        """Id -> `Entry.source`, of articles whose embedding can be compared today."""
        return {row["id"]: row["source"] for row in self._rows(["id", "source", "maker"]) if row["maker"] == maker()}

    def search(self, embedding: Embedding, k: int, only: Filter) -> list[Match]:
        """The k most alike, best first."""
        table = self._table()
        if table is None:
            return []
        found = (
            table.search(np.asarray(embedding, np.float32)).distance_type("cosine").where(_where(only), prefilter=True)
        )
        return [
            Match(item=_item(row), score=1 - float(row["_distance"]), picture=row["picture"])
            for row in found.limit(k).to_list()
        ]

    def __len__(self) -> int:
        table = self._table()
        return 0 if table is None else int(table.count_rows())

    def _table(self) -> Any | None:
        return self._db.open_table(TABLE) if TABLE in self._db.list_tables().tables else None

    def _rows(self, columns: list[str]) -> list[dict[str, Any]]:
        table = self._table()
        if table is None:
            return []
        rows: list[dict[str, Any]] = table.search().select(columns).limit(len(self)).to_list()
        return rows


def _schema(dimensions: int) -> pa.Schema:
    texts = [pa.field(name, pa.string()) for name in Item.__slots__ if name != "price"]
    return pa.schema(
        [
            *texts,
            pa.field("price", pa.float64()),
            pa.field("picture", pa.binary()),
            pa.field("vector", pa.list_(pa.float32(), dimensions)),
            pa.field("source", pa.string()),
            pa.field("maker", pa.string()),
        ]
    )


def _where(only: Filter) -> str:
    conditions = [f"maker = {_quoted(maker())}"]
    if only.kinds:
        conditions.append(f"kind IN ({', '.join(_quoted(kind) for kind in only.kinds)})")
    if only.price_min is not None:
        conditions.append(f"price >= {float(only.price_min)}")
    if only.price_max is not None:
        conditions.append(f"price <= {float(only.price_max)}")
    if only.availability is not None:
        conditions.append(f"availability = {_quoted(only.availability)}")
    return " AND ".join(conditions)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _item(row: Mapping[str, Any]) -> Item:
    return Item(**{name: row[name] for name in Item.__slots__})
