"""What stands around the published body networks: decoding, grouping, boxes, surfaces, label maps."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.densepose import boxes
from deployments.densepose.surface import Surface, coloured, iuv, over, surface
from deployments.graphonomy import parse as graphonomy
from deployments.graphonomy.knowledge import ADJACENCY, NEARNESS
from deployments.lightweight_openpose import group as openpose
from deployments.lightweight_openpose.prepare import enlarged
from deployments.lightweight_openpose.prepare import prepare as openpose_input
from deployments.posenet import decode as posenet
from deployments.posenet.prepare import body_25
from deployments.posenet.prepare import prepare as posenet_input
from deployments.schp import parse as schp
from modiste.dense_pose import COLOURS
from modiste.image import LabelMap, RGBImage
from modiste.labels import JOINT

STRIDE = 16
Array = NDArray[np.float32]


def person(at: tuple[int, int], cells: int = 40) -> tuple[Array, list[Array]]:
    """Keypoints (y, x) spread around a place, and the maps that say exactly that."""
    rng = np.random.default_rng(at[0])
    points = (np.array(at) + rng.integers(-100, 100, (17, 2))).astype(np.float32)
    heatmap = np.zeros((17, cells, cells), np.float32)
    offset = np.zeros((2, 17, cells, cells), np.float32)
    forward, backward = np.zeros((2, 16, cells, cells), np.float32), np.zeros((2, 16, cells, cells), np.float32)
    for part, point in enumerate(points):
        row, column = np.round(point / STRIDE).astype(int)
        heatmap[part, row, column] = 0.9 - part / 100
        offset[:, part, row, column] = point - np.array((row, column)) * STRIDE
    for edge, (inner, outer) in enumerate(posenet.EDGES):
        for maps, source, target in ((forward, inner, outer), (backward, outer, inner)):
            row, column = np.round(points[source] / STRIDE).astype(int)
            maps[:, edge, row, column] = points[target] - points[source]
    return points, [heatmap, *(maps.reshape(-1, cells, cells) for maps in (offset, forward, backward))]


def test_each_posenet_person_is_found_where_it_is() -> None:
    (first, one), (second, two) = person((150, 160)), person((440, 420))
    heatmap, offset, forward, backward = (a + b for a, b in zip(one, two, strict=True))
    people = posenet.decode(heatmap, offset, forward, backward, STRIDE)
    assert len(people.scores) == 2
    nearer = np.argsort([np.abs(points - first).max() for points in people.points])
    assert np.abs(people.points[nearer] - (first, second)).max() < 1e-3
    assert np.abs(people.scores - (0.9 - np.arange(17) / 100).mean()).max() < 1e-6
    assert len(posenet.decode(heatmap, offset, forward, backward, STRIDE, most=1).scores) == 1


def test_posenet_finds_nobody_in_an_empty_picture() -> None:
    heatmap, offset, forward, backward = (np.zeros((channels, 9, 7), np.float32) for channels in (17, 34, 32, 32))
    assert posenet.decode(heatmap, offset, forward, backward, STRIDE).points.shape == (0, 17, 2)


def test_posenet_points_return_to_the_picture_as_body_25() -> None:
    tensor, scale = posenet_input(RGBImage(np.zeros((333, 250, 3), np.uint8)), STRIDE)
    assert tensor.shape == (1, 3, 321, 241)
    points, scores = np.random.default_rng(0).random((17, 2)) * 200, np.full(17, 0.8)
    scores[posenet.NAMES.index("left_hip")] = 0.01
    found = body_25(points, scores, scale)
    right = points[posenet.NAMES.index("right_shoulder")] * scale
    left = points[posenet.NAMES.index("left_shoulder")] * scale
    assert np.abs(found[JOINT["right_shoulder"], :2] - right[::-1]).max() < 1e-3
    assert np.abs(found[JOINT["neck"]] - (*((left + right) / 2)[::-1], 0.8)).max() < 1e-3
    for name in ("left_hip", "mid_hip", "left_heel"):
        assert not found[JOINT[name]].any()


def limbs_of(points: Array) -> tuple[Array, Array]:
    """Heat maps and fields of people at [P, 18, 2] (x, y)."""
    heatmaps, fields = np.zeros((120, 160, 19), np.float32), np.zeros((120, 160, 38), np.float32)
    for body in points:
        for kind, (x, y) in enumerate(body.astype(int)):
            heatmaps[y, x, kind] = 1
        for (a, b), channels in zip(openpose.LIMBS, openpose.FIELDS, strict=True):
            line = np.zeros((120, 160), np.uint8)
            cv2.line(line, body[a].astype(int).tolist(), body[b].astype(int).tolist(), 1, 5)
            direction = (body[b] - body[a]) / np.linalg.norm(body[b] - body[a])
            fields[line > 0, channels[0]], fields[line > 0, channels[1]] = direction
    return heatmaps, fields


def test_openpose_limbs_join_the_keypoints_of_one_person() -> None:
    turns = np.arange(18) * 2.4
    one = np.stack((40 + 30 * np.cos(turns), 60 + 45 * np.sin(turns)), 1).astype(np.float32).round()
    both = np.stack((one, one + np.array((75, 0), np.float32)))
    people = openpose.group(*limbs_of(both))
    assert people.members.shape == (2, 18)
    found = people.points[people.members][..., :2]
    assert all(np.abs(found[order] - both).max() == 0 for order in [np.argsort(found[:, 0, 0])])
    assert openpose.group(np.zeros((8, 8, 19), np.float32), np.zeros((8, 8, 38), np.float32)).members.shape == (0, 18)


def test_openpose_points_return_to_the_picture() -> None:
    picture = np.zeros((500, 301, 3), np.uint8)
    picture[200:204, 100:104] = 255
    tensor, placement = openpose_input(RGBImage(picture))
    assert tensor.shape == (1, 3, 256, 256)
    y, x = np.unravel_index(tensor[0, 0].argmax(), tensor.shape[2:])
    assert np.abs(placement.back(np.array((x, y)) / 2) - (101.5, 201.5)).max() < 3
    assert enlarged(np.zeros((38, 4, 6), np.float32)).shape == (16, 24, 38)


def overlapping(box: Array, others: Array) -> Array:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = sides.clip(0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    return np.asarray(common / ((box[2:] - box[:2]).prod() + areas - common), np.float32)


def test_densepose_people_do_not_overlap_and_the_best_stay() -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((300, 2)).astype(np.float32) * 200
    proposed = np.concatenate((corner, corner + 20 + 60 * rng.random((300, 2))), 1).astype(np.float32)
    logits = rng.normal(0, 3, (300, 2)).astype(np.float32)
    found = boxes.people(proposed, logits, np.zeros((300, 4), np.float32), (300, 300))
    assert 10 < len(found.boxes) <= boxes.MOST and (np.diff(found.scores) <= 0).all()
    for i, box in enumerate(found.boxes[1:], 1):
        assert overlapping(box, found.boxes[:i]).max() <= boxes.OVERLAP + 1e-6
    best = proposed[(logits[:, 0] - logits[:, 1]).argmax()]
    assert np.abs(found.boxes[0] - best).max() < 1e-4


def test_the_anchor_that_is_sure_becomes_a_proposal_moved_by_its_delta() -> None:
    tensor, where = boxes.prepare(RGBImage(np.zeros((200, 300, 3), np.uint8))), boxes.placed(200, 300)
    assert tensor.shape == (1, 3, *where.padded) == (1, 3, 800, 1216)
    assert where.size == (800, 1200) and np.allclose(where.back, 0.25)
    assert np.abs(tensor[0, :, :, 1200:]).max() == 0
    padded = (tensor.shape[2], tensor.shape[3])
    every = np.concatenate(boxes.anchors(*padded))
    logits, deltas = np.full(len(every), -9, np.float32), np.zeros((len(every), 4), np.float32)
    (sure,) = np.flatnonzero((np.abs(every - (400 - 64, 400 - 64, 400 + 64, 400 + 64)) < 1e-3).all(1))
    logits[sure], deltas[sure] = 9, (0.25, -0.25, np.log(2), 0)
    first = boxes.proposals(logits, deltas, padded, where.size)[0]
    assert np.abs(first - (432 - 128, 368 - 64, 432 + 128, 368 + 64)).max() < 1e-3


def test_a_surface_lies_in_its_box_with_its_parts_own_coordinates() -> None:
    coarse, fine = np.zeros((2, 112, 112), np.float32), np.zeros((25, 112, 112), np.float32)
    coarse[1, :, 56:], coarse[0, :, :56] = 1, 1
    fine[3, :56], fine[7, 56:] = 1, 1
    u, v = np.zeros_like(fine), np.zeros_like(fine)
    u[3], u[7], v[7] = 0.25, 0.5, 1
    found = surface(coarse, fine, u, v, np.array((10.9, 20.2, 34.95, 80.3), np.float32))
    assert found.corner == (10, 20) and found.parts.shape == (60, 24)
    assert not found.parts[:, :12].any() and (found.parts[:30, 12:] == 3).all() and (found.parts[30:, 12:] == 7).all()
    assert np.allclose(found.uv[0, :30, 12:], 0.25) and np.allclose(found.uv[1, 30:, 12:], 1)
    picture = iuv(found, 70, 100)  # the box goes on below the picture
    assert picture[69, 30].tolist() == [7, 127, 255] and not picture[:, :22].any()


def test_densepose_colours_cover_only_the_person() -> None:
    found = Surface(
        parts=LabelMap(np.array([[0, 1], [24, 12]], np.uint8)), uv=np.zeros((2, 2, 2), np.float32), corner=(1, 1)
    )
    picture = coloured(found, 4, 4)
    assert picture[1, 2].tolist() == [37, 60, 163] and picture[2, 1].tolist() == [249, 251, 14]
    assert picture.any(2).sum() == 3
    mixed = over(RGBImage(np.full((4, 4, 3), 90, np.uint8)), found, 0.5)
    assert (mixed[1, 1] == 90).all() and mixed[2, 2].tolist() == [int(45 + c / 2) for c in COLOURS[12]]


@pytest.mark.parametrize("side", [schp.LIP, schp.ATR])
@pytest.mark.parametrize("size", [(300, 200), (120, 411)])
def test_schp_labels_return_to_where_the_picture_was(side: int, size: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    picture[30:90, 50:150] = 255
    seen = schp.prepare(RGBImage(picture), side)[0, :1]
    labels = schp.labels(np.concatenate((-seen, seen)), side, *size)
    assert (labels != picture[..., 0] // 255).mean() < 2e-4


def test_graphonomy_sums_the_picture_and_its_mirror_image() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    pair = graphonomy.prepare(RGBImage(picture))
    assert np.abs(pair[0] - pair[1, :, :, ::-1]).max() == 0
    assert np.abs(pair[0].transpose(1, 2, 0)[:, :, ::-1] - (picture / 127.5 - 1)).max() < 1e-6
    assert graphonomy.prepare(RGBImage(picture), 0.5).shape == (2, 3, 20, 15)
    logits = np.zeros((2, 20, 40, 30), np.float32)
    logits[0, 14, :, :10] = 2  # the left arm of the picture is the right one of its mirror image
    logits[1, 15, :, 20:] = 2
    small = np.zeros((2, 20, 20, 15), np.float32)
    small[:, 5, 10:] = 3
    labels = graphonomy.labels([logits, small])
    assert (labels[:19, :10] == 14).all() and not labels[:19, 10:].any() and (labels[21:] == 5).all()


def test_graphs_of_body_parts_are_what_they_were_built_from() -> None:
    for classes, adjacency in ADJACENCY.items():
        assert adjacency.shape == (classes, classes) and np.abs(adjacency - adjacency.T).max() == 0
        # The roots of the degrees are the eigenvector of the normalised adjacency whose eigenvalue is 1.
        assert abs(np.linalg.eigvalsh(adjacency.astype(np.float64)).max() - 1) < 1e-6
    assert np.abs(NEARNESS[20, 7] - NEARNESS[7, 20].T).max() == 0


@pytest.mark.torch
def test_pooling_boxes_is_the_mean_of_four_points_in_each_cell() -> None:
    torch = pytest.importorskip("torch", reason="needs the torch environment")
    from deployments.densepose.network import pooled

    maps = torch.randn(2, 3, 24, 32)
    at = torch.tensor([[8.0, 12.0, 64.0, 40.0], [-20.0, 0.0, 30.0, 95.0]])
    found = pooled([maps], at, torch.tensor([1, 0]), 4)
    for box, image, cells in zip(at / 4, (1, 0), found, strict=True):
        start, size = box[:2], (box[2:] - box[:2]) / 8
        x, y = (start[:, None] + (torch.arange(8) + 0.5) * size[:, None]).numpy().astype(np.float32)
        grid = np.meshgrid(x, y)
        plane = maps[image].numpy().transpose(1, 2, 0)
        points = bilinear(plane, *grid)
        mean = points.reshape(4, 2, 4, 2, 3).mean((1, 3)).transpose(2, 0, 1)
        assert np.abs(cells.numpy() - mean).max() < 1e-5


def bilinear(plane: Array, x: Array, y: Array) -> Array:
    """Values [h, w, C] of a plane at points; the border goes on for one pixel, then there is nothing."""
    height, width = plane.shape[:2]
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    right, down = (x - left)[..., None], (y - top)[..., None]
    upper = plane[top, left] * (1 - right) + plane[top, left + 1] * right
    lower = plane[top + 1, left] * (1 - right) + plane[top + 1, left + 1] * right
    return np.asarray((upper * (1 - down) + lower * down) * inside[..., None], np.float32)
