"""The catalogue: feeds, upserts, deletion, restarts, search."""

import json
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from api.catalogue import import_feed, main
from api.feeds import FeedRow, Refusal, fetch_picture, read_feed
from deployments.roles import Article
from graphs import catalogue_index
from graphs.catalogue_index import CatalogueIndex, Entry, Filter, Item, kind_of
from modiste.errors import BadInput, BrokenFile, FileTooLarge, NotFound, UnsupportedType
from modiste.image import Embedding, RGBImage, decode, encode
from modiste.settings import settings

COLOURS = {"red": (200, 30, 30), "green": (30, 150, 60), "blue": (30, 60, 180)}


def by_colour(articles: Sequence[Article]) -> list[Embedding]:
    """Embeddings without a network: the mean colour."""
    means = [article.image.reshape(-1, 3).mean(axis=0).astype(np.float32) for article in articles]
    return [Embedding(mean / np.linalg.norm(mean)) for mean in means]


@pytest.fixture
def index(tmp_path: Path) -> CatalogueIndex:
    return CatalogueIndex(tmp_path / "state")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a feed of three articles and their pictures."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, colour in COLOURS.items():
        (folder / f"{name}.png").write_bytes(encode(RGBImage(np.full((90, 60, 3), colour, np.uint8))))
    write(folder, rows())
    return folder


def rows() -> list[dict[str, str]]:
    return [
        {
            "id": name,
            "title": f"{name} thing",
            "link": f"https://shop.example/{name}",
            "image_link": f"{name}.png",
            "price": f"{10 * number}.50 EUR",
            "product_type": kind,
            "availability": "in stock",
        }
        for number, (name, kind) in enumerate(zip(COLOURS, ("T-Shirts", "Denim > Jeans", "Skirts"), strict=True), 1)
    ]


def write(folder: Path, articles: list[dict[str, str]]) -> None:
    lines = [",".join(articles[0]), *(",".join(article.values()) for article in articles)]
    (folder / "feed.csv").write_text("\n".join(lines) + "\n")


def ids(index: CatalogueIndex) -> list[str]:
    return [item.id for item in index.items()]


def test_import_and_search(shop: Path, index: CatalogueIndex) -> None:
    tally = import_feed(shop / "feed.csv", index, by_colour)
    assert (tally.written, tally.unchanged, tally.gone, tally.refused) == (3, 0, 0, [])
    (query,) = by_colour([Article(image=RGBImage(np.full((8, 8, 3), (180, 40, 40), np.uint8)))])
    matches = index.search(query, 2, Filter())
    assert [match.item.id for match in matches] == ["red", "green"]
    assert matches[0].score > 0.98 > matches[1].score
    assert matches[0].item == Item(
        id="red", title="red thing", link="https://shop.example/red", price=10.5, currency="EUR",
        category="T-Shirts", kind="top", availability="in_stock",
    )  # fmt: skip
    assert np.abs(decode(matches[0].picture).astype(int) - COLOURS["red"]).max() < 6


def test_unchanged_articles_are_not_embedded_again(shop: Path, index: CatalogueIndex) -> None:
    import_feed(shop / "feed.csv", index, by_colour)
    seen: list[Article] = []

    def watched(articles: Sequence[Article]) -> list[Embedding]:
        seen.extend(articles)
        return by_colour(articles)

    assert import_feed(shop / "feed.csv", index, watched).unchanged == 3
    assert seen == []
    changed = rows()
    changed[1]["price"] = "99 EUR"
    write(shop, changed)
    tally = import_feed(shop / "feed.csv", index, watched)
    assert (tally.written, tally.unchanged, len(seen), len(index)) == (1, 2, 1, 3)
    assert next(item for item in index.items() if item.id == "green").price == 99
    (shop / "blue.png").write_bytes((shop / "red.png").read_bytes())
    assert import_feed(shop / "feed.csv", index, watched).written == 1


def test_what_was_imported_survives_a_restart(shop: Path, index: CatalogueIndex, tmp_path: Path) -> None:
    import_feed(shop / "feed.csv", index, by_colour)
    again = CatalogueIndex(tmp_path / "state")
    assert ids(again) == ["blue", "green", "red"]
    assert import_feed(shop / "feed.csv", again, by_colour).unchanged == 3


def test_a_reader_sees_what_another_writes(shop: Path, index: CatalogueIndex, tmp_path: Path) -> None:
    import_feed(shop / "feed.csv", index, by_colour)
    reader = CatalogueIndex(tmp_path / "state")
    assert len(reader) == 3
    assert index.delete(["red", "nobody", "it's"]) == 1
    (query,) = by_colour([Article(image=RGBImage(np.full((8, 8, 3), COLOURS["red"], np.uint8)))])
    assert ids(reader) == ["blue", "green"]
    assert "red" not in [match.item.id for match in reader.search(query, 3, Filter())]


def test_pruning_removes_what_the_feed_no_longer_names(shop: Path, index: CatalogueIndex) -> None:
    import_feed(shop / "feed.csv", index, by_colour)
    write(shop, rows()[:2])
    assert import_feed(shop / "feed.csv", index, by_colour).gone == 0
    assert import_feed(shop / "feed.csv", index, by_colour, prune=True).gone == 1
    assert ids(index) == ["green", "red"]


def test_a_picture_that_is_gone_does_not_remove_its_article(shop: Path, index: CatalogueIndex) -> None:
    import_feed(shop / "feed.csv", index, by_colour)
    (shop / "red.png").unlink()
    (shop / "blue.png").write_bytes(b"no picture")
    tally = import_feed(shop / "feed.csv", index, by_colour, prune=True)
    assert (tally.unchanged, tally.gone, len(index)) == (1, 0, 3)
    assert [line.split(":")[0] for line in tally.refused] == ["red", "blue"]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (Filter(kinds=("skirt", "top")), {"red", "blue"}),
        (Filter(price_min=20.5), {"green", "blue"}),
        (Filter(price_max=20.5), {"red", "green"}),
        (Filter(price_min=15, price_max=25), {"green"}),
        (Filter(availability="out_of_stock"), set()),
        (Filter(availability="in_stock' OR 'a'='a"), set()),
        (Filter(kinds=("hat",)), set()),
    ],
)
def test_filters(shop: Path, index: CatalogueIndex, only: Filter, expected: set[str]) -> None:
    import_feed(shop / "feed.csv", index, by_colour)
    (query,) = by_colour([Article(image=RGBImage(np.full((8, 8, 3), 90, np.uint8)))])
    assert {match.item.id for match in index.search(query, 9, only)} == expected


def test_an_empty_catalogue_finds_nothing(index: CatalogueIndex) -> None:
    assert len(index) == 0 and index.items() == [] and index.sources() == {}
    assert index.search(Embedding(np.ones(4, np.float32)), 3, Filter()) == []
    assert index.delete(["a"]) == 0


def test_embeddings_of_other_weights_are_not_compared(
    shop: Path, index: CatalogueIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_feed(shop / "feed.csv", index, by_colour)
    monkeypatch.setattr(catalogue_index, "maker", lambda: "another network")
    assert index.search(by_colour([Article(image=RGBImage(np.full((8, 8, 3), 90, np.uint8)))])[0], 3, Filter()) == []
    assert import_feed(shop / "feed.csv", index, by_colour).written == 3
    assert len(index) == 3


def test_upsert_replaces_by_id(index: CatalogueIndex) -> None:
    item = Item(id="a'b", title="t", link="l", price=1, currency="EUR", category="", kind="other", availability="")
    for title in ("t", "u"):
        entry = Entry(
            item=Item(**{**{name: getattr(item, name) for name in Item.__slots__}, "title": title}),
            picture=b"",
            embedding=Embedding(np.ones(4, np.float32)),
            source="s",
        )
        index.upsert([entry])
    assert [found.title for found in index.items()] == ["u"]
    index.upsert([])
    assert index.delete(["a'b"]) == 1


# --- feeds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("top", "top"),
        ("Apparel > Women > Denim > Jeans", "trousers"),
        ("chinos", "trousers"),
        ("Shirt dresses", "dress"),
        ("Skirts", "skirt"),
        ("Baseball caps", "hat"),
        ("Capes", "other"),
        ("Field jacket", "top"),
        ("T-shirt", "top"),
        ("", "other"),
        ("Phone cases", "other"),
    ],
)
def test_what_shops_call_things(category: str, kind: str) -> None:
    assert kind_of(category) == kind


@pytest.mark.parametrize(
    ("text", "price"),
    [("59.00 EUR", (59, "EUR")), ("EUR 59,5", (59.5, "EUR")), ("7", (7, "")), ("12.30USD", (12.3, "USD"))],
)
def test_prices(text: str, price: tuple[float, str]) -> None:
    assert FeedRow.model_validate({**rows()[0], "price": text}).price == price


def test_rows_that_cannot_be_used_are_named(shop: Path) -> None:
    articles = rows()
    articles[0]["price"] = "cheap"
    articles[1]["link"] = "javascript:alert(1)"
    write(shop, articles)
    found = list(read_feed(shop / "feed.csv"))
    assert [type(row) for row in found] == [Refusal, Refusal, FeedRow]
    assert isinstance(found[0], Refusal) and found[0].place == 1 and "price" in found[0].reason
    assert isinstance(found[1], Refusal) and "link" in found[1].reason


def test_json_lines(shop: Path) -> None:
    lines = [json.dumps({**rows()[0], "price": 5, "id": 17}), "{broken", "[]"]
    (shop / "feed.jsonl").write_text("\n".join(lines))
    first, second, third = read_feed(shop / "feed.jsonl")
    assert isinstance(first, FeedRow) and first.id == "17" and first.price == (5, "")
    assert isinstance(second, Refusal) and isinstance(third, Refusal) and third.place == 3


def test_feeds_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(read_feed(tmp_path / "none.csv"))
    (tmp_path / "feed.xml").write_text("<rss/>")
    with pytest.raises(UnsupportedType, match=r"csv or \.jsonl"):
        list(read_feed(tmp_path / "feed.xml"))
    (tmp_path / "feed.csv").write_bytes(b"id,title\n1,caf\xe9\n")
    with pytest.raises(BrokenFile, match="UTF-8"):
        list(read_feed(tmp_path / "feed.csv"))


def test_pictures_lie_below_the_feed(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop.parent / "secret.png").write_bytes((shop / "red.png").read_bytes())
    for link in ("../secret.png", str(shop.parent / "secret.png")):
        with pytest.raises(BadInput, match="below the feed"):
            fetch_picture(link, shop)
    with pytest.raises(NotFound):
        fetch_picture("none.png", shop)
    monkeypatch.setenv("MODISTE_MAX_UPLOAD_BYTES", "50")
    settings.cache_clear()
    with pytest.raises(FileTooLarge, match="at most 50 bytes"):
        fetch_picture("red.png", shop)
    settings.cache_clear()


@pytest.fixture
def web(shop: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(shop)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_pictures_on_the_web(shop: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch_picture(f"{web}/red.png", shop) == (shop / "red.png").read_bytes()
    with pytest.raises(NotFound, match="404"):
        fetch_picture(f"{web}/none.png", shop)
    monkeypatch.setenv("MODISTE_MAX_UPLOAD_BYTES", "50")
    settings.cache_clear()
    with pytest.raises(FileTooLarge, match="at most 50 bytes"):
        fetch_picture(f"{web}/red.png", shop)
    settings.cache_clear()


# --- the command line, with the real network ------------------------------------------------------------------------


@pytest.mark.weights
def test_command_line(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODISTE_STATE", str(tmp_path / "state"))
    settings.cache_clear()
    run = partial(CliRunner().invoke, main)
    imported = run(["import", str(shop / "feed.csv")])
    assert imported.exit_code == 0 and "3 written" in imported.output and "3 in the catalogue" in imported.output
    assert "3 unchanged" in run(["import", str(shop / "feed.csv")]).output
    listed = run(["list"]).output
    assert "red thing" in listed and "trousers" in listed
    assert "1 removed" in run(["delete", "red"]).output
    assert run(["import", str(shop / "none.csv")]).exit_code == 2
    articles = rows()
    articles[2]["image_link"] = "none.png"
    write(shop, articles)
    partly = run(["import", str(shop / "feed.csv")])
    assert partly.exit_code == 1 and "none.png" in partly.output and "2 in the catalogue" not in partly.output
    settings.cache_clear()
