"""Edges, sketches and looks of articles, as the published networks' models take and give them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments import model_class
from deployments.base import Model
from deployments.fashion_clip.model import FashionCLIP, middle
from deployments.fashion_siglip.model import FashionSigLIP
from deployments.pix2pix_unet.colour_hints import POINTS, as_input, with_hints
from deployments.pix2pix_unet.model import Pix2PixUNet
from deployments.roles import Article, Sketch
from modiste.errors import NoSketch
from modiste.image import Mask, RGBImage
from modiste.sketch import normalise_sketch
from modiste.spec import EngineSpec

EDGES = {
    "dexined": (103.939, 116.779, 123.68),
    "teed": (104.007, 116.669, 122.679),
    "ldc": (104.007, 116.669, 122.679),
}
EMBEDDERS = (FashionSigLIP, FashionCLIP)
SIZES = [(512, 512), (300, 200), (200, 300), (1000, 700), (400, 900)]


def sized(model: type[Model[Any, Any]], side: int) -> EngineSpec:
    """The engine's spec with square planes of another size."""
    spec = model.spec.engines["main"]
    (taken,) = spec.inputs
    return replace(spec, inputs=(replace(taken, shape=("N", 3, side, side)),))


class Answers:
    """An engine whose answer is known: what `answer` makes of its one input."""

    def __init__(self, spec: EngineSpec, answer: Any) -> None:
        self.spec, self.answer = spec, answer
        self.fed: list[NDArray[Any]] = []

    def __call__(self, feeds: Tensors) -> Tensors:
        (taken,), (given,) = self.spec.inputs, self.spec.outputs
        assert set(feeds) == {taken.name}
        fed = feeds[taken.name]
        assert fed.dtype == np.float32 and fed.shape[1:] == taken.shape[1:]
        self.fed.append(fed)
        return {given.name: np.stack([np.asarray(self.answer(one), np.float32) for one in fed])}

    def close(self) -> None: ...


def picture(height: int = 90, width: int = 120, seed: int = 0) -> RGBImage:
    """Coloured patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return RGBImage(np.asarray(cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8))


# --- edges ----------------------------------------------------------------------------------------------------------


def frame(height: int, width: int, thickness: int) -> NDArray[np.uint8]:
    """A rectangle's outline from a quarter to three quarters of a picture, across and down."""
    drawn = np.zeros((height, width), np.uint8)
    corners = [(round(width * f - 0.5), round(height * f - 0.5)) for f in (0.25, 0.75)]
    cv2.rectangle(drawn, corners[0], corners[1], 255, thickness)
    return drawn


def edges_of(model_id: str, logits: NDArray[np.float32], image: RGBImage) -> Mask:
    (found,) = model_class(model_id)({"main": Answers(model_class(model_id).spec.engines["main"], lambda _: logits)})(
        [image]
    )
    assert isinstance(found, np.ndarray)
    return Mask(found)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("model_id", EDGES)
def test_a_planted_edge_becomes_a_thin_line_in_its_place(model_id: str, height: int, width: int) -> None:
    logits = np.where(frame(512, 512, 7)[None] > 0, 4.0, -4.0).astype(np.float32)
    lines = edges_of(model_id, logits, picture(height, width))
    assert lines.shape == (height, width) and lines.dtype == np.uint8
    assert set(np.unique(lines)) == {0, 255}
    assert not cv2.erode(lines, np.ones((3, 3), np.uint8)).any()
    reach = 2 + 2 * max(height, width) // 512
    near = cv2.dilate(lines, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    expected = frame(height, width, 1)
    assert (near[expected > 0] > 0).mean() > 0.99
    around = cv2.dilate(expected, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    assert not lines[around == 0].any()


def test_an_edge_counts_by_what_else_the_picture_shows() -> None:
    """A network that is nowhere sure still draws what it holds most probable."""
    ring = frame(512, 512, 5)[None] > 0
    faint = edges_of("dexined", np.where(ring, -1.0, -4.0).astype(np.float32), picture())
    clear = edges_of("dexined", np.where(ring, 4.0, -4.0).astype(np.float32), picture())
    assert np.array_equal(faint, clear)
    beside = np.where(ring, -1.0, -4.0).astype(np.float32)
    beside[0, 5:9, 100:400] = 6.0
    stronger = edges_of("dexined", beside, picture(512, 512))
    assert stronger[:20].any() and not stronger[100:].any()


def test_where_nothing_stands_out_there_is_no_line() -> None:
    noise = np.random.default_rng(0).normal(-5, 0.3, (1, 512, 512)).astype(np.float32)
    assert not edges_of("dexined", noise, picture()).any()


@pytest.mark.parametrize(("model_id", "means"), EDGES.items())
def test_the_network_sees_blue_green_red_minus_the_means(model_id: str, means: tuple[float, ...]) -> None:
    engine = Answers(model_class(model_id).spec.engines["main"], lambda planes: planes[:1])
    colour = (200, 30, 90)
    model_class(model_id)({"main": engine})([RGBImage(np.full((40, 70, 3), colour, np.uint8))])
    (fed,) = engine.fed
    assert fed.shape == (1, 3, 512, 512)
    assert np.allclose(fed, (np.array(colour[::-1]) - means).reshape(1, 3, 1, 1), atol=1e-4)


@pytest.mark.parametrize("model_id", EDGES)
def test_edges_of_a_batch_are_those_of_each_picture(model_id: str) -> None:
    spec = sized(model_class(model_id), 64)
    model = model_class(model_id)({"main": Answers(spec, lambda planes: planes[:1] / 50)})
    pictures = [picture(seed=0), picture(5, 7, seed=1), picture(300, 40, seed=2)]
    for alone, together in zip([model([x])[0] for x in pictures], model(pictures), strict=True):
        assert alone.any() and np.array_equal(alone, together)


# --- sketches -------------------------------------------------------------------------------------------------------

TEE = [(44, 12), (84, 12), (119, 40), (108, 58), (90, 46), (92, 114), (36, 114), (38, 46), (20, 58), (8, 40)]
RED, BLUE = (200, 30, 30), (30, 60, 190)


def sketch(*dots: tuple[tuple[int, int], tuple[int, int, int]], size: int = 512) -> RGBImage:
    paper = np.full((size, size, 3), 255, np.uint8)
    cv2.polylines(paper, [np.array(TEE, np.int32) * size // 128], True, (0, 0, 0), max(1, size // 256))
    for (x, y), colour in dots:
        reach = size // 256
        paper[y - reach : y + reach + 1, x - reach : x + reach + 1] = colour
    return RGBImage(paper)


def painter(side: int = 256) -> tuple[Model[Any, Any], Answers]:
    """The model over a network that gives back what it sees."""
    engine = Answers(sized(Pix2PixUNet, side), lambda planes: planes)
    return Pix2PixUNet({"main": engine}), engine


@pytest.mark.parametrize(("drawn", "side"), [(128, 256), (512, 256), (1500, 256), (512, 512)])
def test_the_network_sees_black_lines_on_white(drawn: int, side: int) -> None:
    model, engine = painter(side)
    (found,) = model([Sketch(image=sketch(size=drawn), category=None)])
    assert set(np.unique(engine.fed[0])) == {-1.0, 1.0}
    assert found.image.shape == (side, side, 3) and set(np.unique(found.image)) == {0, 255}
    rows, columns = np.nonzero(found.image[..., 0] == 0)
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - side * 7 / 8) <= 1 + side / 128
    assert abs((rows.min() + rows.max()) / 2 - (side - 1) / 2) <= 2
    assert abs((columns.min() + columns.max()) / 2 - (side - 1) / 2) <= 2
    assert not cv2.erode(255 - found.image[..., 0], np.ones((3, 3), np.uint8)).any()
    assert found.category == "top" and not found.coloured


def test_hints_are_painted_as_the_published_training_painted_them() -> None:
    drawing = sketch(((240, 200), RED), ((270, 300), BLUE), ((230, 400), RED))
    apart = normalise_sketch(drawing, 256, POINTS)
    count, _, _, middles = cv2.connectedComponentsWithStats(apart.hint_mask.astype(np.uint8))
    assert count - 1 >= 3
    points = np.rint(middles[1:, ::-1]).astype(np.int64)
    single = [p for p in points if apart.hint_mask[p[0] - 2 : p[0] + 3, p[1] - 2 : p[1] + 3].sum() == 9]
    assert len(single) == len(points)
    lines = np.repeat((255 * (1 - apart.edges)).astype(np.uint8)[..., None], 3, axis=2)
    colours = np.rint(apart.hint_rgb * 127.5 + 127.5).astype(np.uint8)
    expected = with_hints(RGBImage(lines), RGBImage(colours), points)
    assert np.abs(as_input(apart) - expected).max() < 0.6 / 127.5
    model, engine = painter()
    (found,) = model([Sketch(image=drawing, category=None)])
    assert np.array_equal(engine.fed[0][0].transpose(1, 2, 0), as_input(apart))
    assert found.coloured
    seen = {tuple(found.image[y, x] // 8) for y, x in points}
    assert seen == {tuple(np.array(RED) // 8), tuple(np.array(BLUE) // 8)}


def test_a_stroke_keeps_its_length_in_hints() -> None:
    paper = np.array(sketch())
    cv2.line(paper, (200, 200), (300, 400), RED, 8)
    model, _ = painter()
    (found,) = model([Sketch(image=RGBImage(paper), category="dress")])
    rows, columns = np.nonzero(np.ptp(found.image.astype(int), axis=2) > 40)
    assert abs(np.ptp(rows) - 100) < 8 and abs(np.ptp(columns) - 50) < 8
    assert found.category == "dress" and found.coloured


def test_sketches_of_a_batch_are_those_of_each() -> None:
    model, _ = painter()
    asked = [
        Sketch(image=sketch(), category=None),
        Sketch(image=sketch(((240, 200), RED)), category="skirt"),
        Sketch(image=sketch(size=200), category="hat"),
    ]
    together = model(asked)
    assert [found.category for found in together] == ["top", "skirt", "hat"]
    assert [found.coloured for found in together] == [False, True, False]
    for alone, found in zip([model([x])[0] for x in asked], together, strict=True):
        assert np.array_equal(alone.image, found.image)
        assert (alone.category, alone.coloured) == (found.category, found.coloured)


def test_blank_paper_is_no_sketch() -> None:
    model, _ = painter()
    with pytest.raises(NoSketch):
        model([Sketch(image=RGBImage(np.full((200, 200, 3), 255, np.uint8)), category="top")])


# --- looks ----------------------------------------------------------------------------------------------------------


def embedder(of: type[Model[Any, Any]], side: int = 32) -> tuple[Model[Any, Any], Answers]:
    """The model over a network that gives back what it sees, row by row."""
    engine = Answers(sized(of, side), np.ravel)
    return of({"main": engine}), engine


@pytest.mark.parametrize("of", EMBEDDERS)
def test_embeddings_have_length_one_alone_and_together(of: type[Model[Any, Any]]) -> None:
    model, _ = embedder(of)
    articles = [Article(image=picture(h, w, seed)) for seed, (h, w) in enumerate([(90, 120), (300, 40), (7, 5)])]
    together = model(articles)
    for alone, found in zip([model([x])[0] for x in articles], together, strict=True):
        assert found.dtype == np.float32 and found.shape == (3 * 32 * 32,)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(alone, found)
    assert together[0] @ together[1] < 0.9


@pytest.mark.parametrize("of", EMBEDDERS)
def test_colours_count_only_where_they_mean_something(of: type[Model[Any, Any]]) -> None:
    model, _ = embedder(of)
    image = picture()
    turned = RGBImage(np.array(image))
    turned[..., 0], turned[..., 2] = image[..., 2], image[..., 0]
    grey = RGBImage(np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2))
    coloured, plain, other, own_grey = model(
        [Article(image=image), Article(image=image, coloured=False), Article(image=turned), Article(image=grey)]
    )
    assert coloured @ other < 0.95 and coloured @ plain < 0.95
    assert np.array_equal(plain, own_grey)


def test_siglip_sees_the_whole_picture_and_clip_its_middle() -> None:
    image = np.full((100, 300, 3), 255, np.uint8)
    image[:, :60] = 0
    for of, dark in ((FashionSigLIP, 0.2), (FashionCLIP, 0.0)):
        model, engine = embedder(of, 64)
        model([Article(image=RGBImage(image))])
        (planes,) = engine.fed[0]
        assert (planes[0] < 0).mean() == pytest.approx(dark, abs=0.03)


@pytest.mark.parametrize(("height", "width"), [(300, 200), (200, 301), (97, 64), (224, 224)])
def test_the_middle_is_square_and_in_the_middle(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10] = 255
    found = middle(RGBImage(image), 224)
    assert found.shape == (224, 224, 3)
    rows, columns = np.nonzero(found[..., 0] > 127)
    assert abs(rows.mean() - 111.5) < 3 and abs(columns.mean() - 111.5) < 3


@pytest.mark.torch
@pytest.mark.parametrize(("height", "width"), [(300, 200), (200, 301), (500, 500), (97, 64)])
def test_pictures_are_prepared_as_the_publishers_libraries_prepare_them(height: int, width: int) -> None:
    from compile.torch_vision import make_importable

    make_importable()
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    image = picture(height, width)
    squash = image_transform_v2(
        PreprocessCfg(
            size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", resize_mode="squash"
        ),
        is_train=False,
    )
    middle_of = CLIPImageProcessorPil()
    for of, expected in (
        (FashionSigLIP, squash(Image.fromarray(image)).numpy()),
        (FashionCLIP, middle_of(Image.fromarray(image), return_tensors="np")["pixel_values"][0]),
    ):
        model, engine = embedder(of, 224)
        model([Article(image=image)])
        assert np.abs(engine.fed[0][0] - expected).max() < 1e-5


# --- small networks, real engines -----------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("model_id", [*EDGES, "pix2pix_unet", "fashion_siglip", "fashion_clip"])
def test_a_model_over_a_small_network_keeps_its_promise(model_id: str, tmp_path: Path) -> None:
    from reduced import open_reduced

    model = open_reduced(model_id, tmp_path)
    asked: list[Any]
    if model_id == "pix2pix_unet":
        asked = [Sketch(image=sketch(*([((240, 200), RED)] * n)), category=None) for n in range(3)]
    elif model_id in EDGES:
        asked = [picture(seed=seed) for seed in range(3)]
    else:
        asked = [Article(image=picture(seed=seed), coloured=seed < 2) for seed in range(3)]
    together = model(asked)
    singles = [model([one])[0] for one in asked]
    model.close()
    for alone, found in zip(singles, together, strict=True):
        kept, again = (getattr(result, "image", result) for result in (found, alone))
        assert np.array_equal(kept, again)
        if model_id in EDGES:
            assert kept.shape == (90, 120) and kept.dtype == np.uint8 and set(np.unique(kept)) <= {0, 255}
        elif model_id == "pix2pix_unet":
            assert kept.shape == (256, 256, 3) and kept.dtype == np.uint8 and kept.std() > 0
        else:
            assert kept.ndim == 1 and np.linalg.norm(kept) == pytest.approx(1, abs=1e-5)
    assert not np.array_equal(getattr(together[0], "image", together[0]), getattr(together[1], "image", together[1]))
