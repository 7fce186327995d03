"""What the sketch network is trained on, and its ONNX graph. No torch."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from modiste.lines import thin
from weights.convert.pix2pix import convert
from weights.recipes.sketch_to_garment.card import PUBLISHED, table
from weights.recipes.sketch_to_garment.dataset import (
    Garment,
    example,
    is_held_out,
    load,
    measured,
)
from weights.recipes.sketch_to_garment.edges import drawn_edges, edges, unsteady
from weights.recipes.sketch_to_garment.hints import points, random_hints
from weights.recipes.sketch_to_garment.prepare import CATEGORIES, TILE, fault, tile


def shirt(colour: tuple[int, int, int] = (180, 40, 60), size: int = TILE) -> NDArray[np.uint8]:
    """A T-shirt of one colour with a dark stripe, RGBA on white."""
    outline = np.array(
        [
            (50, 15),
            (10, 50),
            (28, 68),
            (42, 56),
            (42, 145),
            (118, 145),
            (118, 56),
            (132, 68),
            (150, 50),
            (110, 15),
        ]
    )
    canvas = np.full((size, size, 4), (255, 255, 255, 0), np.uint8)
    cv2.fillPoly(canvas, [outline.astype(np.int32) * size // TILE], (*colour, 255))
    band = slice(90 * size // TILE, 104 * size // TILE)
    canvas[band][canvas[band][..., 3] > 0] = (20, 20, 30, 255)
    return canvas


@pytest.fixture
def garments() -> dict[str, list[Garment]]:
    colours = [(180, 40, 60), (40, 160, 60), (60, 60, 200)]
    return {
        category: [Garment(id=f"{category}-{n}", category=category, tile=shirt(c)) for n, c in enumerate(colours)]
        for category in CATEGORIES
    }


def test_edges_follow_outline_and_seams() -> None:
    pixels = shirt(size=128)
    photograph, matte = pixels[..., :3], np.ascontiguousarray(pixels[..., 3])
    outline, bold = edges(photograph, matte, "outline"), edges(photograph, matte, "bold")
    assert outline.dtype == np.float32 and set(np.unique(outline)) == {0.0, 1.0}
    rim = cv2.morphologyEx((matte > 0).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    assert not outline[~rim].any()
    # Every row of the body has a line on either side, and the stripe shows only where inner lines are wanted.
    assert all(outline[row].sum() >= 2 for row in range(50, 110))
    inner = bold[60:95, 40:90].sum()
    assert inner > 60 and outline[60:95, 40:90].sum() == 0


def test_lines_are_one_pixel_wide() -> None:
    pixels = shirt(size=128)
    for seed in range(5):
        lines = drawn_edges(pixels[..., :3], np.ascontiguousarray(pixels[..., 3]), np.random.default_rng(seed)) > 0
        assert lines.any()
        solid = lines[1:, 1:] & lines[:-1, 1:] & lines[1:, :-1] & lines[:-1, :-1]
        assert solid.sum() <= 0.02 * lines.sum()


def test_thinning_keeps_what_is_connected() -> None:
    thick = np.zeros((64, 64), np.uint8)
    cv2.circle(thick, (32, 32), 20, 1, 7)
    cv2.line(thick, (32, 32), (60, 60), 1, 5)
    centre = thin(thick > 0)
    pieces = [cv2.connectedComponents(m.astype(np.uint8), connectivity=8)[0] for m in (thick, centre)]
    assert pieces[0] == pieces[1]
    assert 100 < centre.sum() < 0.3 * thick.sum()
    assert np.array_equal(thin(centre), centre)


def test_unsteady_hand_displaces_a_little() -> None:
    lines = np.zeros((128, 128), np.bool_)
    lines[64, 20:108] = True
    moved = unsteady(lines, 1.0, np.random.default_rng(3))
    near = cv2.dilate(lines.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert not moved[~near].any()
    assert not np.array_equal(moved, lines)
    assert 60 < moved.sum() < 130


def test_hints_have_the_colour_of_the_garment_and_lie_on_it() -> None:
    pixels = shirt((200, 30, 40), size=128)
    photograph, matte = np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3])
    given = points(photograph, matte, 20, np.random.default_rng(0))
    assert 60 < given.mask.sum() <= 180
    assert not given.mask[matte == 0].any()
    assert not given.rgb[given.mask == 0].any()
    reddish = np.abs((given.rgb[given.mask > 0] + 1) * 127.5 - (200, 30, 40)).max(axis=1) < 2
    assert reddish.mean() > 0.6
    assert all(random_hints(photograph, matte, np.random.default_rng(seed)).mask.any() for seed in range(20))


def test_examples_are_numbered(garments: dict[str, list[Garment]]) -> None:
    sketch, target = example(garments, 7, seed=1)
    again, target_again = example(garments, 7, seed=1)
    assert np.array_equal(sketch, again) and np.array_equal(target, target_again)
    assert not np.array_equal(sketch, example(garments, 8, seed=1)[0])
    assert not np.array_equal(sketch, example(garments, 7, seed=2)[0])
    assert sketch.shape == (10, 128, 128) and sketch.dtype == np.float32
    assert target.shape == (3, 128, 128) and target.dtype == np.float32
    assert target.min() >= -1 and target.max() == 1
    assert sorted(sketch[5:].mean(axis=(1, 2))) == [0, 0, 0, 0, 1]


def test_every_kind_is_seen_and_some_sketches_have_no_hints(garments: dict[str, list[Garment]]) -> None:
    sketches = [example(garments, index, seed=0)[0] for index in range(60)]
    assert {int(np.argmax(sketch[5:, 0, 0])) for sketch in sketches} == set(range(5))
    assert 2 <= sum(not sketch[4].any() for sketch in sketches) <= 20


def test_measuring_does_not_depend_on_chance(garments: dict[str, list[Garment]]) -> None:
    garment = garments["top"][0]
    (first, photograph), (second, _) = measured(garment), measured(garment)
    assert np.array_equal(first, second)
    rows, columns = np.nonzero((photograph < 250).any(axis=2))
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 112) <= 2
    assert not measured(garment, 0)[0][1:5].any()


def test_split_is_a_tenth_and_stays(tmp_path: Path) -> None:
    held_out = [is_held_out(f"{number:05d}") for number in range(5000)]
    assert 0.08 < np.mean(held_out) < 0.12
    for category in CATEGORIES:
        (tmp_path / category).mkdir()
        for number in range(30):
            cv2.imwrite(str(tmp_path / category / f"{number:05d}.png"), shirt())
    sides = [load(tmp_path, held_out=side) for side in (False, True)]
    ids = [{garment.id for garment in side["hat"]} for side in sides]
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 30


@pytest.mark.parametrize(
    ("rows", "columns", "reason"),
    [
        (slice(20, 80), slice(30, 70), None),
        (slice(40, 60), slice(40, 60), "garment under 8% of the picture"),
        (slice(0, 100), slice(1, 99), "garment over 92% of the picture"),
        (slice(0, 100), slice(0, 85), None),
    ],
)
def test_doubtful_mattes_are_named(rows: slice, columns: slice, reason: str | None) -> None:
    matte = np.zeros((100, 100), np.float32)
    matte[rows, columns] = 1.0
    assert fault(matte) == reason


def test_pieces_and_soft_mattes_are_doubtful() -> None:
    matte = np.zeros((100, 100), np.float32)
    matte[10:40, 10:90] = matte[60:90, 10:90] = 1.0
    assert fault(matte) == "in several pieces"
    matte[10:90, 10:90] = 0.6
    assert fault(matte) == "uncertain outline"


def test_tile_is_centred_on_white() -> None:
    photograph = np.full((300, 200, 3), (120, 140, 90), np.uint8)
    photograph[60:260, 50:150] = (200, 30, 40)
    matte = np.zeros((300, 200), np.float32)
    matte[60:260, 50:150] = 1.0
    cut = tile(photograph, matte)
    rows, columns = np.nonzero(cut[..., 3] > 127)
    assert abs(np.ptp(rows) + 1 - 140) <= 1 and abs(np.ptp(columns) + 1 - 70) <= 1
    assert abs((rows.min() + rows.max()) / 2 - 79.5) <= 1
    assert (cut[cut[..., 3] == 0][:, :3] == 255).all()
    assert np.abs(cut[80, 80, :3].astype(int) - (200, 30, 40)).max() <= 1


def test_table_stands_beside_the_published_figures() -> None:
    row = {"pictures": 9, "ssim": 0.8, "ssim_without_hints": 0.7, "ssim_of_blank": 0.6}
    text = table({category: dict(row) for category in CATEGORIES})
    for category, published in PUBLISHED.items():
        assert f"| {category} | 9 | 0.800 | 0.700 | 0.600 | {published:.2f} |" in text
    assert "| dress | 9 | 0.800 | 0.700 | 0.600 | - |" in text


def test_graph_accepts_any_batch_and_batches_do_not_mix(tmp_path: Path) -> None:
    """The converter reads sizes off the weights, so a tiny network is as good as the real one."""
    rng = np.random.default_rng(0)
    down, up = (16, 32, 32, 32, 32, 32, 16), (32, 32, 32, 32, 32, 16, 8)
    weights: dict[str, NDArray[np.float16]] = {}

    def layer(name: str, *shape: int) -> None:
        weights[name] = (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float16)

    before = (13, *down[:-1])
    for level in range(7):
        layer(f"down.{level}.conv.weight", down[level], before[level], 4, 4)
        if 0 < level < 6:
            weights[f"down.{level}.norm.weight"] = np.ones(down[level], np.float16)
            weights[f"down.{level}.norm.bias"] = np.zeros(down[level], np.float16)
        else:
            weights[f"down.{level}.conv.bias"] = np.zeros(down[level], np.float16)
        skip = 0 if level == 0 else down[6 - level]
        layer(f"up.{level}.conv.weight", up[level], (down[6] if level == 0 else up[level - 1]) + skip, 3, 3)
        weights[f"up.{level}.norm.weight"] = np.ones(up[level], np.float16)
        weights[f"up.{level}.norm.bias"] = np.zeros(up[level], np.float16)
    layer("last.weight", 3, up[-1] + 13, 3, 3)
    weights["last.bias"] = np.zeros(3, np.float16)
    save_file(weights, tmp_path / "weights.safetensors")
    convert({"weights": tmp_path / "weights.safetensors"}, tmp_path / "network.onnx")
    graph = onnx.load(tmp_path / "network.onnx")
    assert graph.opset_import[0].version == 17
    assert graph.graph.input[0].name == "sketch" and graph.graph.output[0].name == "garment"
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    network = openvino.Core().compile_model(tmp_path / "network.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    sketches = rng.normal(0, 1, (3, 10, 128, 128)).astype(np.float32)
    together = network([sketches])[0]
    assert together.shape == (3, 3, 128, 128) and np.abs(together).max() <= 1
    singles = np.concatenate([network([sketches[i : i + 1]])[0] for i in range(3)])
    assert np.allclose(together, singles, atol=1e-4)
