"""Sketches, catalogue pictures and what makes them alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments import open_model
from deployments.efficientnet_lite0.cutout import LONG_SIDE, SIDE, cut_out
from deployments.efficientnet_lite0.model import EfficientNetLite0, colours, silhouette
from deployments.line_art.model import LineArt
from deployments.pix2pix_garment.model import Pix2PixGarment
from deployments.roles import Article, Sketch
from modiste.image import Embedding, RGBImage, decode
from modiste.sketch_category import Bits, filled, guess
from modiste.spec import EngineSpec

KINDS = {"g01": "top", "g02": "top", "g04": "top", "g06": "top", "g07": "trousers", "g08": "trousers", "g11": "dress"}


def picture(
    colour: tuple[int, int, int],
    ground: int = 255,
    size: int = 300,
    box: tuple[int, int, int, int] = (90, 40, 210, 260),
) -> RGBImage:
    image = np.full((size, size, 3), ground, np.uint8)
    left, top, right, bottom = (side * size // 300 for side in box)
    image[top:bottom, left:right] = colour
    return RGBImage(image)


def garment(samples: Path, prefix: str) -> RGBImage:
    (path,) = (samples / "garments").glob(f"{prefix}_*.jpg")
    return decode(path.read_bytes())


# --- cut-outs, colour and shape -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ground", "size"), [(255, 300), (240, 300), (200, 900), (30, 120)])
def test_an_article_is_cut_out_alike_on_any_plain_ground(ground: int, size: int) -> None:
    found = cut_out(picture((180, 60, 40), ground, size))
    rows, columns = np.nonzero(found.mask)
    assert abs(np.ptp(rows) + 1 - LONG_SIDE) <= 3
    assert abs(np.ptp(columns) + 1 - LONG_SIDE * 120 / 220) <= 5
    assert abs(rows.mean() - (SIDE - 1) / 2) < 1.5 and abs(columns.mean() - (SIDE - 1) / 2) < 1.5
    assert (found.image[:10] == 255).all()
    assert np.abs(found.image[112, 112].astype(int) - (180, 60, 40)).max() <= 3


def test_white_on_white_is_found_by_its_shading() -> None:
    image = np.full((300, 300, 3), 255, np.uint8)
    cv2.rectangle(image, (60, 40), (240, 260), (247, 246, 247), cv2.FILLED)
    assert np.ptp(np.nonzero(cut_out(RGBImage(image)).mask)[0]) > 150
    cv2.rectangle(image, (60, 40), (240, 260), (225, 225, 228), 3)
    mask = cut_out(RGBImage(image)).mask
    assert mask[112, 112] == 255 and mask[112, 5] == 0


def test_a_picture_without_plain_ground_counts_as_a_whole() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 100, 3), np.uint8)
    assert abs(int((cut_out(RGBImage(noise)).mask > 0).sum()) - LONG_SIDE * LONG_SIDE // 2) < 600
    blank = RGBImage(np.full((64, 64, 3), 255, np.uint8))
    assert cut_out(blank).mask.any()


def test_near_colours_are_nearer_than_far_ones() -> None:
    red, coral, navy, grey, black = (
        colours(cut_out(picture(c)))
        for c in ((200, 30, 40), (240, 100, 90), (30, 40, 100), (120, 120, 120), (20, 20, 20))
    )
    assert red @ red == pytest.approx(1, abs=1e-5)
    assert red @ coral > max(red @ navy, red @ grey, red @ black)
    assert grey @ black < 0.9 and navy @ black > red @ black


def test_shape_ignores_colour_and_place() -> None:
    one = silhouette(cut_out(picture((20, 80, 40))))
    same = silhouette(cut_out(picture((200, 80, 140), box=(20, 70, 140, 290))))
    other = silhouette(cut_out(picture((20, 80, 40), box=(40, 90, 260, 210))))
    assert one @ same > 0.97
    assert one @ other < 0.6


class Constant:
    """The engine of a network to which everything looks the same."""

    spec: EngineSpec = EfficientNetLite0.spec.engines["main"]

    def __call__(self, feeds: Tensors) -> Tensors:
        assert set(feeds) == {"image"} and np.abs(feeds["image"]).max() <= 1.01
        return {"embedding": np.ones((len(feeds["image"]), 1280), np.float32)}

    def close(self) -> None: ...


def test_colours_count_only_where_they_mean_something() -> None:
    model = EfficientNetLite0({"main": Constant()})
    red, navy = (Article(image=picture(c)) for c in ((200, 30, 40), (30, 40, 100)))
    plain = [Article(image=article.image, coloured=False) for article in (red, navy)]
    embedded = model([red, navy, *plain])
    assert embedded[0] @ embedded[1] < 0.85
    assert embedded[2] @ embedded[3] > 0.99
    assert all(np.linalg.norm(e) == pytest.approx(1, abs=1e-5) for e in embedded)
    assert np.allclose(model([navy])[0], embedded[1])


# --- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [300, 1200])
def test_line_art_is_one_pixel_wide_and_on_the_edge(size: int) -> None:
    (lines,) = LineArt({})([picture((120, 130, 125), size=size)])
    assert lines.shape == (size, size) and set(np.unique(lines)) == {0, 255}
    wide = cv2.erode(lines, np.ones((3, 3), np.uint8))
    assert not wide.any()
    ring = np.zeros((size, size), np.uint8)
    cv2.rectangle(
        ring, (90 * size // 300, 40 * size // 300), (210 * size // 300, 260 * size // 300), 255, 1 + 8 * size // 300
    )
    assert not lines[ring == 0].any()
    assert np.count_nonzero(lines) > 0.9 * 2 * (120 + 220) * size / 300


def test_line_art_of_nothing_is_empty() -> None:
    (lines,) = LineArt({})([RGBImage(np.full((50, 80, 3), 200, np.uint8))])
    assert lines.shape == (50, 80) and not lines.any()


# --- kinds of sketches ----------------------------------------------------------------------------------------------


def outline(points: list[tuple[int, int]], gap: int = 0) -> Bits:
    drawn = np.zeros((128, 128), np.uint8)
    cv2.polylines(drawn, [np.array(points, np.int32)], True, 1)
    drawn[64 : 64 + gap, :64] = 0
    return drawn > 0


SKIRT = [(44, 20), (84, 20), (116, 108), (12, 108)]
SHORTS = [(24, 16), (104, 16), (118, 110), (74, 112), (64, 60), (54, 112), (10, 110)]
TEE = [(44, 12), (84, 12), (119, 40), (108, 58), (90, 46), (92, 114), (36, 114), (38, 46), (20, 58), (8, 40)]
TROUSERS = [(42, 8), (86, 8), (92, 119), (72, 119), (64, 50), (56, 119), (36, 119)]


@pytest.mark.parametrize("gap", [0, 2, 5, 9])
def test_open_outlines_are_filled(gap: int) -> None:
    inside = filled(outline(SKIRT, gap))
    assert inside[64, 64] and not inside[64, 10] and not inside[3, 3]
    assert 0.9 < inside.sum() / filled(outline(SKIRT)).sum() < 1.1


@pytest.mark.parametrize(
    ("points", "kind"), [(SKIRT, "skirt"), (SHORTS, "trousers"), (TEE, "top"), (TROUSERS, "trousers")]
)
def test_the_outline_tells_the_kind(points: list[tuple[int, int]], kind: str) -> None:
    assert guess(outline(points).astype(np.float32)) == kind


class Grey:
    """The engine of a painter that paints everything grey."""

    spec: EngineSpec = Pix2PixGarment.spec.engines["main"]

    def __call__(self, feeds: Tensors) -> Tensors:
        return {"garment": np.zeros((len(feeds["sketch"]), 3, 128, 128), np.float32)}

    def close(self) -> None: ...


def sketch(points: list[tuple[int, int]], hint: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    paper = np.full((512, 512, 3), 255, np.uint8)
    cv2.polylines(paper, [np.array(points, np.int32) * 4], True, (0, 0, 0), 2)
    if hint is not None:
        cv2.line(paper, (240, 150), (270, 190), hint, 9)
    return paper


def test_the_painter_says_what_it_understood() -> None:
    model = Pix2PixGarment({"main": Grey()})
    found = model(
        [
            Sketch(image=RGBImage(sketch(TEE)), category=None),
            Sketch(image=RGBImage(sketch(TEE, (200, 30, 30))), category="dress"),
        ]
    )
    assert [(garment.category, garment.coloured) for garment in found] == [("top", False), ("dress", True)]
    assert found[0].image.shape == (128, 128, 3) and (found[0].image == 128).all()


# --- real weights ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedder() -> Iterator[Any]:
    model = open_model("efficientnet_lite0")
    yield model
    model.close()


@pytest.mark.weights
def test_articles_of_one_cut_or_colour_are_neighbours(embedder: Any, samples: Path) -> None:
    paths = sorted((samples / "catalogue" / "images").glob("*_solid_*.jpg"))
    names = [path.stem.split("_", 1)[1].split("_solid_") for path in paths]
    assert len(paths) > 60
    embeddings = np.stack(embedder([Article(image=decode(path.read_bytes())) for path in paths]))
    alike = embeddings @ embeddings.T - 2 * np.eye(len(paths))
    nearest = [names[int(row.argmax())] for row in alike]
    shared = [near[0] == own[0] or near[1] == own[1] for near, own in zip(nearest, names, strict=True)]
    assert np.mean(shared) > 0.7


@pytest.mark.weights
def test_an_article_is_known_again(embedder: Any, samples: Path) -> None:
    """Mirrored, smaller, brighter, on another ground: still itself rather than any other."""
    names = sorted(path.stem for path in (samples / "garments").glob("*.jpg"))
    pictures = [garment(samples, name.split("_")[0]) for name in names]
    changed = []
    for image in pictures:
        small = cv2.resize(image[:, ::-1], None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
        changed.append(RGBImage(np.clip(small.astype(np.float32) * 1.04, 0, 255).astype(np.uint8)))
    own: list[Embedding] = embedder([Article(image=image) for image in pictures])
    again: list[Embedding] = embedder([Article(image=image) for image in changed])
    alike = np.stack(again) @ np.stack(own).T
    assert (alike.argmax(axis=1) == np.arange(len(names))).all()
    assert np.diag(alike).min() > 0.85


@pytest.mark.weights
@pytest.mark.parametrize(("prefix", "kind"), KINDS.items())
def test_line_drawings_of_garments_become_garments(samples: Path, prefix: str, kind: str) -> None:
    (lines,) = LineArt({})([garment(samples, prefix)])
    model = open_model("pix2pix_garment")
    drawing = RGBImage(np.repeat((255 - lines)[..., None], 3, axis=2))
    (found,) = model([Sketch(image=drawing, category=None)])
    model.close()
    assert found.category == kind and not found.coloured
    painted = found.image.min(axis=2) < 235
    assert 0.15 < painted.mean() < 0.85
    assert not painted[:3].any() or painted[:3].mean() < 0.1
