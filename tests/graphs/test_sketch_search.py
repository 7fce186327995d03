"""A drawing, what is painted after it, and what the catalogue has that is like it."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from api.catalogue import import_feed
from deployments.line_art.model import LineArt
from graphs.catalogue_index import CatalogueIndex
from graphs.local import LocalRunner
from graphs.sketch_search import SketchSearchOptions, SketchSearchRequest, SketchSearchResult
from modiste.errors import NoSketch, NotFound
from modiste.image import RGBImage, decode
from modiste.settings import settings

TEE = [(44, 12), (84, 12), (119, 40), (108, 58), (90, 46), (92, 114), (36, 114), (38, 46), (20, 58), (8, 40)]


def sketch(hint: tuple[int, int, int] | None = None) -> RGBImage:
    paper = np.full((512, 512, 3), 255, np.uint8)
    cv2.polylines(paper, [np.array(TEE, np.int32) * 4], True, (0, 0, 0), 2)
    if hint is not None:
        cv2.line(paper, (240, 190), (270, 330), hint, 9)
    return RGBImage(paper)


@pytest.mark.parametrize(
    "option",
    [
        {"k": 0},
        {"k": 49},
        {"category": "shoe"},
        {"price_min": -1},
        {"price_min": 9, "price_max": 8},
        {"kinds": ["shoe"]},
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SketchSearchOptions.model_validate(option)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Iterator[LocalRunner]:
    """A runner beside a catalogue of the sample shop."""
    with pytest.MonkeyPatch.context() as environment, LocalRunner() as runner:
        environment.setenv("MODISTE_STATE", str(tmp_path_factory.mktemp("state")))
        settings.cache_clear()
        tally = import_feed(
            samples / "catalogue" / "feed.csv", CatalogueIndex(), partial(runner.call, "FashionEmbedding")
        )
        assert tally.written == 144
        yield runner
    settings.cache_clear()


def search(runner: LocalRunner, drawing: RGBImage, **options: object) -> SketchSearchResult:
    request = SketchSearchRequest(sketch=drawing, options=SketchSearchOptions.model_validate(options))
    result: SketchSearchResult = runner.run("sketch_search", request).result
    return result


@pytest.fixture(scope="module")
def colours(samples: Path) -> dict[str, str]:
    with (samples / "catalogue" / "feed.csv").open() as feed:
        return {row["id"]: row["color"] for row in csv.DictReader(feed)}


@pytest.mark.weights
def test_a_drawn_tee_finds_tops(runner: LocalRunner) -> None:
    found = search(runner, sketch(), k=5)
    assert found.category == "top" and not found.coloured
    assert found.garment.shape == (512, 512, 3)
    assert len(found.items) == len(found.pictures) == 5
    assert all(item.kind == "top" and item.link.startswith("https://") for item in found.items)
    assert sum("t-shirt" in item.title for item in found.items) >= 3
    scores = [item.score for item in found.items]
    assert scores == sorted(scores, reverse=True) and 0.5 < scores[0] <= 1
    assert search(runner, sketch(), k=5).items == found.items


@pytest.mark.weights
@pytest.mark.parametrize(
    ("hint", "near"),
    [
        ((200, 40, 40), {"red", "coral", "burgundy", "orange", "pink"}),
        ((40, 90, 190), {"blue", "navy", "sky", "teal", "purple", "lilac"}),
        ((60, 130, 70), {"green", "olive", "sage", "teal"}),
    ],
)
def test_hints_bring_their_colours(
    runner: LocalRunner, colours: dict[str, str], hint: tuple[int, int, int], near: set[str]
) -> None:
    found = search(runner, sketch(hint), k=3)
    assert found.coloured
    middle = found.garment[150:360, 180:330].reshape(-1, 3).mean(axis=0)
    assert np.abs(middle - hint).max() < 80
    assert len([item for item in found.items if any(name in colours[item.id] for name in near)]) >= 2


@pytest.mark.weights
def test_filters(runner: LocalRunner) -> None:
    cheap = search(runner, sketch(), k=8, price_max=30.0)
    assert cheap.items and all(item.price <= 30 for item in cheap.items)
    wide = search(runner, sketch(), k=8, kinds=("dress", "skirt"), price_min=40.0, availability="in_stock")
    assert {item.kind for item in wide.items} <= {"dress", "skirt"} and min(item.price for item in wide.items) >= 40
    assert search(runner, sketch(), category="hat").items == ()
    assert search(runner, sketch(), availability="preorder").pictures == ()


@pytest.mark.weights
@pytest.mark.parametrize(
    ("prefix", "word"),
    [("g03", "t-shirt"), ("g04", "long-sleeve"), ("g07", "trousers"), ("g08", "chinos"), ("g13", "jacket")],
)
def test_drawings_of_garments_find_their_like(runner: LocalRunner, samples: Path, prefix: str, word: str) -> None:
    (path,) = (samples / "garments").glob(f"{prefix}_*.jpg")
    (lines,) = LineArt({})([decode(path.read_bytes())])
    drawing = RGBImage(np.repeat((255 - lines)[..., None], 3, axis=2))
    found = search(runner, drawing, k=6)
    assert any(word in item.title for item in found.items)


@pytest.mark.weights
def test_what_cannot_be_searched(runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSketch):
        search(runner, RGBImage(np.full((300, 300, 3), 255, np.uint8)))
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setenv("MODISTE_STATE", str(tmp_path))
        settings.cache_clear()
        with pytest.raises(NotFound, match="expected a catalogue"):
            search(runner, sketch())
    settings.cache_clear()
