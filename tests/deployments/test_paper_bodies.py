"""The published body and garment models around their networks: what engines are given, and what becomes of it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from compile.engine import Tensors, check_feeds
from deployments import EDITIONS, MODELS, model_class, model_folder, open_model
from deployments.cloth_unet.model import placed as placed_garment
from deployments.densepose import boxes as dense_boxes
from deployments.lightweight_openpose.group import CROWD, FIELDS, LIMBS, group
from deployments.modnet.model import fitted
from deployments.posenet.decode import EDGES, NAMES
from deployments.posenet.prepare import placed as placed_in_square
from deployments.roles import ParsingInput
from deployments.schp.parse import ATR_NAMES, LIP_NAMES
from modiste.body_box import body_box
from modiste.image import Keypoints, RGBImage, decode
from modiste.labels import BODY_25, COCO_18, JOINT, BodyPart, Clothes, body_parts
from modiste.settings import settings
from modiste.spec import EngineSpec
from weights.manifest import entry
from weights.store import put

ROOT = Path(__file__).parents[2]
Maps = NDArray[np.float32]
MINE = (
    *("lightweight_openpose", "posenet_101", "graphonomy", "schp_lip", "schp_atr", "densepose"),
    *("isnet_general", "modnet_portrait", "u2net_published", "u2netp", "cloth_unet", "cloth_u2net"),
)


@dataclass
class Known:
    """An engine that gives what a test knows."""

    spec: EngineSpec
    gives: Callable[[Tensors], dict[str, Maps]]

    def __call__(self, feeds: Tensors) -> Tensors:
        check_feeds(self.spec, feeds)
        found = self.gives(feeds)
        assert list(found) == [tensor.name for tensor in self.spec.outputs]
        return found

    def close(self) -> None: ...


def opened(
    model_id: str,
    shapes: Mapping[str, tuple[int | str, ...]] | None = None,
    sizes: Mapping[str, int] | None = None,
    engines: Mapping[str, Callable[[Tensors], dict[str, Maps]]] | None = None,
    **gives: Callable[[Tensors], dict[str, Maps]],
) -> Any:
    """A model over known engines; shapes, sizes: other ones than the official."""
    found = model_class(model_id)
    known = {}
    for name, given in {**(engines or {}), **gives}.items():
        spec = found.spec.engines[name]
        inputs, outputs = (
            tuple(replace(tensor, shape=(shapes or {}).get(tensor.name, tensor.shape)) for tensor in tensors)
            for tensors in (spec.inputs, spec.outputs)
        )
        small = replace(spec, inputs=inputs, outputs=outputs, sizes={**spec.sizes, **(sizes or {})})
        known[name] = Known(small, given)
    return found(known)


def plain(height: int, width: int, value: int = 0) -> RGBImage:
    return RGBImage(np.full((height, width, 3), value, np.uint8))


def noise(height: int, width: int, seed: int = 0) -> RGBImage:
    return RGBImage(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def iou(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


# --- poses ---------------------------------------------------------------------------------------------------------

STANDING: Mapping[str, tuple[float, float]] = {
    "nose": (0, -22), "neck": (0, 0), "right_shoulder": (-18, 0), "left_shoulder": (18, 0),
    "right_elbow": (-26, 28), "left_elbow": (26, 28), "right_wrist": (-28, 52), "left_wrist": (28, 52),
    "right_hip": (-10, 50), "left_hip": (10, 50), "right_knee": (-11, 94), "left_knee": (11, 94),
    "right_ankle": (-11, 136), "left_ankle": (11, 136), "right_eye": (-4, -26), "left_eye": (4, -26),
    "right_ear": (-9, -24), "left_ear": (9, -24),
}  # fmt: skip
"""A person about the neck, 170 units high, seen from the front."""


def person(at: tuple[float, float], scale: float) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(at) + np.array(place) * scale for name, place in STANDING.items()}


def keypoints_of(joints: Mapping[str, NDArray[np.float64]], without: tuple[str, ...] = ()) -> Keypoints:
    found = np.zeros((25, 3), np.float32)
    for name, (x, y) in joints.items():
        if name not in without:
            found[JOINT[name]] = x, y, 0.9
    if not {"right_hip", "left_hip"} & set(without):
        found[JOINT["mid_hip"]] = (*((joints["right_hip"] + joints["left_hip"]) / 2), 0.9)
    return Keypoints(found)


def drawn_openpose(people: list[dict[str, NDArray[np.float64]]], height: int, width: int) -> dict[str, Maps]:
    """Heat maps and fields of people at pixels of the input."""
    rows, columns = np.mgrid[: height // 8, : width // 8]
    centres = np.stack((columns, rows), -1) * 8 + 3.5
    heatmaps = np.zeros((19, *rows.shape), np.float32)
    fields = np.zeros((38, *rows.shape), np.float32)
    for joints in people:
        for number, name in enumerate(COCO_18):
            apart = np.linalg.norm(centres - joints[name], axis=-1)
            heatmaps[number] = np.maximum(heatmaps[number], 0.9 * np.exp(-((apart / 8) ** 2)))
        for (a, b), (x, y) in zip(LIMBS, FIELDS, strict=True):
            start, way = joints[COCO_18[a]], joints[COCO_18[b]] - joints[COCO_18[a]]
            length = float(np.linalg.norm(way))
            along = ((centres - start) @ way / length).clip(0, length)
            near = np.linalg.norm(centres - start - along[..., None] * way / length, axis=-1) < 12
            fields[[x, y]] = np.where(near, (way / length)[:, None, None], fields[[x, y]])
    heatmaps[18] = 1 - heatmaps[:18].max(0)
    return {"heatmaps": heatmaps[None], "fields": fields[None]}


def test_openpose_people_lie_where_they_were_planted_the_most_prominent_first() -> None:
    picture = plain(500, 640)
    small, large = person((520, 180), 1.1), person((190, 110), 2.2)
    scale = 256 / 500

    def engine(feeds: Tensors) -> dict[str, Maps]:
        assert feeds["image"].shape == (1, 3, 256, 328)
        # The picture is 328 pixels wide there: nothing is padded.
        inside = [{name: place * scale for name, place in joints.items()} for joints in (small, large)]
        return drawn_openpose(inside, 256, 328)

    first, second = opened("lightweight_openpose", main=engine)([picture])[0]
    for pose, joints in ((first, large), (second, small)):
        assert pose.keypoints.shape == (25, 3) and pose.keypoints.dtype == np.float32
        for name, place in joints.items():
            x, y, score = pose.keypoints[JOINT[name]]
            assert np.hypot(x - place[0], y - place[1]) < 4 / scale, name
            assert 0.5 < score <= 1
        hips = (joints["right_hip"] + joints["left_hip"]) / 2
        assert np.abs(pose.keypoints[JOINT["mid_hip"], :2] - hips).max() < 4 / scale
        assert not pose.keypoints[BODY_25.index("left_big_toe") :].any()
        assert 0 < pose.score <= 1
        ankle = joints["left_ankle"][1]
        assert ankle + 4 < pose.box.bottom <= min(500, ankle + 40)
        assert pose.box.left < joints["right_wrist"][0] < joints["left_wrist"][0] < pose.box.right


def test_openpose_takes_padding_off() -> None:
    """A tall picture stands in the middle of black; a joint found in the black is nobody's."""
    joints = person((150, 120), 2.0)
    scale = 256 / 512
    left = (256 - 150) // 2
    inside = {name: place * scale + (left, 0) for name, place in joints.items()}
    inside["left_wrist"] = np.array([left + 160.0, inside["left_wrist"][1]])
    inside["right_wrist"] = np.array([left - 10.0, inside["right_wrist"][1]])

    def engine(feeds: Tensors) -> dict[str, Maps]:
        assert not feeds["image"][..., :left].any() and not feeds["image"][..., left + 150 :].any()
        return drawn_openpose([inside], 256, 256)

    (pose,) = opened("lightweight_openpose", main=engine)([plain(512, 300, 255)])[0]
    assert np.abs(pose.keypoints[JOINT["nose"], :2] - joints["nose"]).max() < 4 / scale
    assert pose.keypoints[JOINT["left_elbow"], 2] > 0
    for outside in ("left_wrist", "right_wrist"):
        assert not pose.keypoints[JOINT[outside]].any()


def test_openpose_survives_noise() -> None:
    """Thousands of peaks do not fill the memory, and maps without any give nobody."""
    rng = np.random.default_rng(0)
    heatmaps, fields = rng.random((96, 128, 19)), rng.uniform(-1, 1, (96, 128, 38))
    people = group(heatmaps.astype(np.float32), fields.astype(np.float32))
    assert len(people.points) <= 18 * CROWD
    nobody = {"heatmaps": np.zeros((1, 19, 32, 32), np.float32), "fields": np.zeros((1, 38, 32, 32), np.float32)}
    assert opened("lightweight_openpose", main=lambda _: nobody)([plain(90, 40)]) == [()]


def drawn_posenet(people: list[dict[str, NDArray[np.float64]]], side: int, stride: int) -> dict[str, Maps]:
    """Maps of people at pixels of the input."""
    cells = (side - 1) // stride + 1
    heatmap = np.zeros((17, cells, cells), np.float32)
    offset = np.zeros((2, 17, cells, cells), np.float32)
    ways = np.zeros((2, 2, 16, cells, cells), np.float32)
    for joints in people:
        points = np.array([joints[name][::-1] for name in NAMES])
        rows, columns = np.round(points / stride).astype(int).T
        parts = np.arange(17)
        heatmap[parts, rows, columns] = 0.9
        offset[:, parts, rows, columns] = (points - np.stack((rows, columns), 1) * stride).T
        for edge, (inner, outer) in enumerate(EDGES):
            ways[0, :, edge, rows[inner], columns[inner]] = points[outer] - points[inner]
            ways[1, :, edge, rows[outer], columns[outer]] = points[inner] - points[outer]
    flat = {"offset": offset, "forward": ways[0], "backward": ways[1]}
    return {"heatmap": heatmap[None], **{name: one.reshape(1, -1, cells, cells) for name, one in flat.items()}}


@pytest.mark.parametrize("side", [513, 257])
def test_posenet_people_lie_where_they_were_planted_the_most_prominent_first(side: int) -> None:
    small, large = person((430, 150), 1.0), person((150, 100), 1.7)
    (_, placement) = placed_in_square(350, 560, side)

    def engine(feeds: Tensors) -> dict[str, Maps]:
        image = feeds["image"][0]
        top = int(placement.corner[0])
        assert (image[:, :top] == -1).all() and (image[:, top + 1 : -top - 1] == 1).all()
        inside = [
            {name: place / placement.back[::-1] + placement.corner[::-1] for name, place in joints.items()}
            for joints in (small, large)
        ]
        return drawn_posenet(inside, side, 16)

    cells = (side - 1) // 16 + 1
    shapes: dict[str, tuple[int | str, ...]] = {
        "image": ("N", 3, side, side),
        **{n: ("N", c, cells, cells) for n, c in (("heatmap", 17), ("offset", 34), ("forward", 32), ("backward", 32))},
    }
    poses = opened("posenet_101", shapes, main=engine)([plain(350, 560, 255)])[0]
    assert len(poses) == 2
    for pose, joints in zip(poses, (large, small), strict=True):
        for name in NAMES:
            assert np.abs(pose.keypoints[JOINT[name], :2] - joints[name]).max() < 0.1, name
        neck = (joints["right_shoulder"] + joints["left_shoulder"]) / 2
        assert np.abs(pose.keypoints[JOINT["neck"]] - (*neck, 0.9)).max() < 0.1
        assert pose.score == pytest.approx(0.9)
        assert pose.box.bottom > joints["left_ankle"][1]


def test_a_box_goes_on_where_the_picture_does() -> None:
    whole = person((100, 60), 1.0)
    feet = body_box(keypoints_of(whole), 300, 200)
    assert feet.top == pytest.approx(60 - 26, abs=1)
    assert 200 < feet.bottom < 215
    assert (feet.left, feet.right) == pytest.approx((100 - 28, 100 + 28), abs=2)
    # The photo ends at the thigh: the rest of the person is as long, as far as there is a picture.
    legs = ("right_knee", "left_knee", "right_ankle", "left_ankle")
    assert body_box(keypoints_of(whole, legs), 150, 200).bottom == 150
    assert 190 < body_box(keypoints_of(whole, legs), 400, 200).bottom < 220
    hips = ("right_hip", "left_hip")
    assert 190 < body_box(keypoints_of(whole, (*legs, *hips)), 400, 200).bottom < 225
    # From behind no face is seen.
    head = ("nose", "right_eye", "left_eye", "right_ear", "left_ear")
    assert body_box(keypoints_of(whole, head), 300, 200).top == pytest.approx(60 - 26, abs=6)
    # Lying, the feet are at the side.
    lying = {name: place[::-1].copy() for name, place in person((60, 100), 1.0).items()}
    turned = {name: np.array([160 + (place[0] - 100), place[1]]) for name, place in lying.items()}
    side = body_box(keypoints_of(turned, legs), 300, 500)
    assert side.right - turned["left_hip"][0] > 80 and side.bottom < turned["left_shoulder"][1] + 60
    one = np.zeros((25, 3), np.float32)
    one[JOINT["nose"]] = 30, 40, 0.5
    assert body_box(Keypoints(one), 100, 100).centre == (30, 40)


@pytest.mark.weights
def test_a_box_of_eighteen_joints_is_the_one_that_the_default_edition_tells(samples: Path) -> None:
    """Flows were made for the boxes of BlazePose, which guesses feet, hands and what lies outside the picture."""
    model = open_model("blazepose")
    for name in ("ana", "ken", "leo"):
        picture = decode((samples / "persons" / f"{name}.jpg").read_bytes())
        (pose, *_) = model([picture])[0]
        keypoints = pose.keypoints.copy()
        keypoints[BODY_25.index("left_big_toe") :] = 0
        keypoints[keypoints[:, 2] < 0.3] = 0
        assert body_box(Keypoints(keypoints), *picture.shape[:2]).iou(pose.box) > 0.93, name
    model.close()


# --- parsing -------------------------------------------------------------------------------------------------------

UNSEEN = Keypoints(np.zeros((25, 3), np.float32))
STEP = 12
"""Grey levels per class in pictures whose greys are classes."""


def coded(classes: NDArray[np.integer[Any]]) -> RGBImage:
    return RGBImage(np.repeat((classes * STEP).astype(np.uint8)[..., None], 3, axis=2))


def one_hot(greys: NDArray[Any], count: int) -> Maps:
    """Logits of what greys (0-255) say, [N, count, h, w]."""
    index = np.rint(greys / STEP).clip(0, count - 1).astype(int)
    return np.ascontiguousarray(np.eye(count, dtype=np.float32)[index].transpose(0, 3, 1, 2)) * 5


def graphonomy_engine(feeds: Tensors) -> dict[str, Maps]:
    """Reads classes off the greys; knows left from right by the half of the picture, as one who sees a person does."""
    image = feeds["image"]
    assert image.min() >= -1 and image.max() <= 1
    index = np.rint((image[:, 0] + 1) * 127.5 / STEP).astype(int)
    right_half = np.arange(image.shape[3]) >= image.shape[3] / 2
    arm = np.isin(index, (Clothes.LEFT_ARM, Clothes.RIGHT_ARM))
    index = np.where(arm, np.where(right_half, Clothes.LEFT_ARM, Clothes.RIGHT_ARM), index).clip(0, 19)
    return {"logits": np.ascontiguousarray(np.eye(20, dtype=np.float32)[index].transpose(0, 3, 1, 2))}


def test_graphonomy_labels_lie_on_the_picture_and_left_stays_left() -> None:
    classes = np.zeros((300, 201), np.uint8)
    classes[40:90, 70:130] = Clothes.FACE
    classes[90:200, 60:140] = Clothes.DRESS
    classes[90:180, 10:60] = Clothes.RIGHT_ARM
    classes[90:180, 140:190] = Clothes.LEFT_ARM
    model = opened("graphonomy", sizes={"H": 150, "W": 100}, main=graphonomy_engine)
    found = model([ParsingInput(image=coded(classes), keypoints=UNSEEN)])[0]
    assert found.clothes.shape == found.labels.shape == (300, 201)
    assert found.clothes.dtype == found.labels.dtype == np.uint8
    for part, clothes in (
        (BodyPart.FACE, Clothes.FACE),
        (BodyPart.UPPER_GARMENT, Clothes.DRESS),
        (BodyPart.LEFT_ARM, Clothes.LEFT_ARM),
        (BodyPart.RIGHT_ARM, Clothes.RIGHT_ARM),
    ):
        assert iou(found.clothes == clothes, classes == clothes) > 0.93, clothes
        assert (found.labels[found.clothes == clothes] == part).all(), part
    assert (found.labels == body_parts(found.clothes)).all()


def test_graphonomy_sees_small_pictures_as_they_are_and_large_ones_shrunk() -> None:
    seen = []

    def engine(feeds: Tensors) -> dict[str, Maps]:
        seen.append(feeds["image"].shape)
        return graphonomy_engine(feeds)

    model = opened("graphonomy", main=engine)
    for height, width in ((40, 31), (1536, 1024), (3000, 5)):
        result = model([ParsingInput(image=plain(height, width), keypoints=UNSEEN)])[0]
        assert result.labels.shape == (height, width) and not result.labels.any()
    assert seen == [(2, 3, 40, 31), (2, 3, 512, 341), (2, 3, 512, 1)]


def schp_engine(mean: float, spread: float, count: int) -> Callable[[Tensors], dict[str, Maps]]:
    def engine(feeds: Tensors) -> dict[str, Maps]:
        greys = (feeds["image"][:, 0, ::4, ::4] * spread + mean) * 255
        return {"logits": one_hot(greys, count)}

    return engine


@pytest.mark.parametrize(
    ("model_id", "names", "becomes"),
    [
        ("schp_lip", LIP_NAMES, {"jumpsuit": Clothes.DRESS, "trousers": Clothes.PANTS, "glove": Clothes.GLOVE}),
        ("schp_atr", ATR_NAMES, {"belt": Clothes.BACKGROUND, "skirt": Clothes.SKIRT, "scarf": Clothes.SCARF}),
    ],
)
def test_schp_classes_become_those_of_cihp_in_their_places(
    model_id: str, names: tuple[str, ...], becomes: dict[str, Clothes]
) -> None:
    expected = {**becomes, "left_shoe": Clothes.LEFT_SHOE, "right_arm": Clothes.RIGHT_ARM, "face": Clothes.FACE}
    classes = np.zeros((240, 420), np.uint8)
    for number, name in enumerate(expected):
        classes[40:200, 10 + 65 * number : 60 + 65 * number] = names.index(name)
    # Blue first, with the blue's mean and spread as the reference has them.
    engine = schp_engine(0.406, 0.225, len(names))
    found = opened(model_id, main=engine)([ParsingInput(image=coded(classes), keypoints=UNSEEN)])[0]
    assert found.clothes.shape == (240, 420)
    for number, clothes in enumerate(expected.values()):
        inside = found.clothes[50:190, 18 + 65 * number : 52 + 65 * number]
        assert (inside == clothes).all(), clothes


def test_schp_finds_the_neck_below_the_chin_where_the_pose_is_known() -> None:
    classes = np.zeros((400, 300), np.uint8)
    classes[60:200, 110:190] = LIP_NAMES.index("face")
    engine = schp_engine(0.406, 0.225, 20)
    seen = keypoints_of(person((150, 190), 3.0))
    nose, neck = 190 - 66, 190
    chin = nose + 0.45 * (neck - nose)
    model = opened("schp_lip", main=engine)
    found = model([ParsingInput(image=coded(classes), keypoints=seen)])[0]
    rows = np.flatnonzero((found.labels == BodyPart.NECK).any(axis=1))
    assert rows.min() == pytest.approx(chin, abs=1.5) and rows.max() > 195
    assert (found.labels[70 : int(chin) - 2, 120:180] == BodyPart.FACE).all()
    assert (found.clothes == Clothes.TORSO_SKIN).sum() == (found.labels == BodyPart.NECK).sum() > 0
    from_behind = model([ParsingInput(image=coded(classes), keypoints=keypoints_of(person((150, 190), 3), ("nose",)))])
    assert not (from_behind[0].labels == BodyPart.NECK).any()


# --- dense pose ----------------------------------------------------------------------------------------------------


def dense_engines(
    inside: list[tuple[float, float, float, float]], sureness: list[float]
) -> dict[str, Callable[[Tensors], dict[str, Maps]]]:
    """Engines that see people in these boxes of the input, and in each an upper half of part 2 over one of part 9."""
    people = np.array(inside, np.float32)
    asked: dict[str, Maps] = {}

    def forward(feeds: Tensors) -> dict[str, Maps]:
        _, _, height, width = feeds["image"].shape
        anchors = np.concatenate(dense_boxes.anchors(height, width))
        logits, deltas = np.full((1, len(anchors)), -8, np.float32), np.zeros((1, len(anchors), 4), np.float32)
        for box in people:
            size, at = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
            centre, wanted = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            best = int((np.abs(at - centre).sum(1) + np.abs(size - wanted).sum(1)).argmin())
            logits[0, best] = 6
            deltas[0, best] = (*((centre - at[best]) / size[best]), *np.log(wanted / size[best]))
        pyramid = {
            f"p{level}": np.full((1, 256, -(-height // 2**level), -(-width // 2**level)), level, np.float32)
            for level in range(2, 6)
        }
        return {**pyramid, "logits": logits, "deltas": deltas}

    def classify(feeds: Tensors) -> dict[str, Maps]:
        boxes = feeds["boxes"][0]
        logits = np.full((1, len(boxes), 2), 0, np.float32)
        logits[..., 0] = -9
        for person_, sure in zip(people, sureness, strict=True):
            is_person = np.abs(boxes - person_).max(axis=1) < 1
            assert is_person.any()
            logits[0, is_person, 0] = np.log(sure / (1 - sure))
        return {"logits": logits, "deltas": np.zeros((1, len(boxes), 4), np.float32)}

    def surface(feeds: Tensors) -> dict[str, Maps]:
        asked["box"] = feeds["box"]
        coarse, fine = np.zeros((1, 2, 112, 112), np.float32), np.zeros((1, 25, 112, 112), np.float32)
        coarse[:, 1, :, 28:84] = 1
        coarse[:, 0] = 1 - coarse[:, 1]
        fine[:, 2, :56], fine[:, 9, 56:] = 1, 1
        u, v = np.full_like(fine, 0.5), np.full_like(fine, 1.0)
        return {"coarse": coarse, "fine": fine, "u": u, "v": v}

    return {"forward": forward, "classify": classify, "surface": surface}


def test_the_surface_of_the_most_prominent_person_lies_on_the_picture() -> None:
    # 600 x 300 is seen at 1333 x 667, where the people are.
    where = dense_boxes.placed(600, 300)
    assert where.size == (1333, 667) and where.padded == (1344, 672)
    large, small = (60.0, 200.0, 300.0, 900.0), (400.0, 300.0, 500.0, 600.0)
    found = opened("densepose", engines=dense_engines([small, large], [0.99, 0.9]))([plain(600, 300)])[0]
    assert found.parts.shape == (600, 300) and found.uv.shape == (600, 300, 2)
    assert found.parts.dtype == found.uv.dtype == np.uint8
    # The reference cuts the box's corner and its sides down to whole pixels.
    corner, sides = (np.array(large) * where.back)[:2], ((np.array(large)[2:] - large[:2]) * where.back[:2])
    (left, top), (width, height) = corner.astype(int), sides.astype(int)
    expected = np.zeros((600, 300), np.uint8)
    middle, bottom = top + height / 2, top + height
    columns = slice(round(left + width / 4), round(left + width * 3 / 4))
    expected[round(top) : round(middle), columns] = 2
    expected[round(middle) : round(bottom), columns] = 9
    for part in (2, 9):
        assert iou(found.parts == part, expected == part) > 0.97
    assert set(np.unique(found.parts)) == {0, 2, 9}
    on_body = found.parts > 0
    assert (found.uv[on_body] == (127, 255)).all() and not found.uv[~on_body].any()


def test_nobody_sure_enough_is_background() -> None:
    found = opened("densepose", engines=dense_engines([(60, 200, 300, 900)], [0.7]))([plain(600, 300)])[0]
    assert not found.parts.any() and not found.uv.any()


# --- mattes and masks ----------------------------------------------------------------------------------------------


def bright(name: str, output: str, low: float, high: float) -> Callable[[Tensors], dict[str, Maps]]:
    """An engine that sees an object where the input is bright; low, high: what black and white must be there."""

    def engine(feeds: Tensors) -> dict[str, Maps]:
        image = feeds[name]
        assert image.min() >= low - 1e-3 and image.max() <= high + 1e-3
        grey = ((image - image.min()) / max(float(image.max() - image.min()), 1e-6)).mean(axis=1, keepdims=True)
        return {output: np.ascontiguousarray(0.05 + 0.9 * grey, np.float32)}

    return engine


MASKS: Mapping[str, Callable[[Tensors], dict[str, Maps]]] = {
    "isnet_general": bright("image", "object", -0.5, 0.5),
    "modnet_portrait": bright("image", "matte", -1, 1),
    "u2net_published": bright("image", "saliency", -2.2, 2.7),
    "u2netp": bright("image", "saliency", -2.2, 2.7),
    "cloth_unet": bright("image", "garment", -2.2, 2.7),
    "cloth_u2net": bright("image", "garment", -1, 1),
}


@pytest.mark.parametrize("model_id", MASKS)
@pytest.mark.parametrize(("height", "width"), [(421, 640), (900, 333)])
def test_a_mask_lies_on_what_was_seen_with_a_soft_outline(model_id: str, height: int, width: int) -> None:
    exact = np.zeros((height, width), np.uint8)
    cv2.ellipse(exact, (width // 3, height // 2), (width // 5, height // 3), 0, 0, 360, 255, -1)
    # As sharp as photos are: what follows the picture's edges would follow a step.
    picture = RGBImage(np.repeat(cv2.GaussianBlur(exact, (0, 0), 1.5)[..., None], 3, axis=2))
    model = opened(model_id, main=MASKS[model_id])
    mask = model([picture])[0]
    assert mask.shape == (height, width) and mask.dtype == np.uint8
    assert iou(mask > 127, exact > 0) > 0.97
    assert mask[height // 2, width // 3] > 240 and mask[5, -5] < 20
    assert 0 < ((mask > 20) & (mask < 235)).mean() < 0.05


@pytest.mark.parametrize("model_id", ["isnet_general", "u2net_published"])
def test_noise_is_not_stretched_to_an_object(model_id: str) -> None:
    output = model_class(model_id).spec.engines["main"].outputs[0].name
    faint = 0.3 + 0.1 * np.random.default_rng(0).random((1, 1, 1024, 1024), np.float32)
    assert not opened(model_id, main=lambda _: {output: faint})([noise(60, 90)])[0].any()


def test_modnets_sides_follow_its_rule() -> None:
    for (height, width), size in {
        (1024, 768): (512, 672),
        (300, 400): (672, 512),
        (400, 700): (672, 384),
        (512, 512): (512, 512),
        (20, 600): (576, 32),
        (40, 40_000): (2048, 32),
        (2000, 20_000): (2048, 512),
    }.items():
        assert fitted(height, width, 512) == size, (height, width)


def test_the_garment_network_sees_the_picture_in_the_middle_of_nothing() -> None:
    seen: list[Maps] = []

    def engine(feeds: Tensors) -> dict[str, Maps]:
        seen.append(feeds["image"])
        return {"garment": np.full((1, 1, 800, 800), 0.5, np.float32)}

    mask = opened("cloth_unet", main=engine)([plain(300, 601, 255)])[0]
    where = placed_garment(300, 601, 800)
    assert (where.width, where.height, where.left, where.top) == (800, 399, 0, 200)
    assert np.allclose(seen[0][0, :, 200:599, :].max(axis=(1, 2)), (2.2489, 2.4286, 2.64), atol=1e-3)
    assert not seen[0][0, :, :200].any() and not seen[0][0, :, 599:].any()
    # The published threshold is the mask's middle.
    assert (mask == 128).all() and mask.shape == (300, 601)
    upright = placed_garment(601, 300, 800)
    assert (upright.width, upright.height, upright.left, upright.top) == (399, 800, 200, 0)


# --- declared ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_id", MINE)
def test_a_card_says_what_the_model_is_and_what_may_be_done_with_its_weights(model_id: str) -> None:
    spec = model_class(model_id).spec
    card = (ROOT / "deployments" / model_folder(model_id) / "README.md").read_text()
    assert f"`{model_id}`" in card or card.startswith(f"# {model_id}\n")
    assert "official weights here" in card
    for weights in {engine.weights for engine in spec.engines.values()}:
        assert f"`{weights}`" in card
        assert entry(weights).licence.startswith(spec.licence) and spec.licence in card
        assert entry(weights).commercial or "not for commercial use" in card


def test_the_edition_has_the_body_models() -> None:
    edition = EDITIONS["paper"]
    chosen = [edition[role] for role in ("PoseEstimation", "HumanParsing", "DensePose", "Matting", "GarmentMask")]
    assert chosen == ["lightweight_openpose", "graphonomy", "densepose", "isnet_general", "cloth_unet"]
    assert set(MINE) <= set(MODELS)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty store for the length of a test."""
    monkeypatch.setenv("MODISTE_CACHE", str(tmp_path / "cache"))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    from weights.manifest import load_manifest

    settings.cache_clear()
    load_manifest.cache_clear()


@pytest.mark.torch
def test_posenets_listed_files_are_a_whole_checkpoint(store: Path) -> None:
    """Google's manifest names more variables than are in use; those listed here suffice, and all of them are used."""
    import torch

    from compile import kit as kits
    from deployments.exporting import load_official

    kit = next(k for k in kits.read_kits(ROOT / "tests" / "kits") if k.name == "posenet_mobilenet_v1_101_s16")
    state = kits.weights(kit)
    listed: dict[str, Any] = {"MobilenetV1/partheat_2/weights": {"filename": "absent", "shape": [1, 1, 1, 1]}}
    files = {}
    for name, file in entry("posenet_101").files.items():
        assert file.url == f"https://storage.googleapis.com/tfjs-models/weights/posenet/mobilenet_v1_101/{name}"
        if name == "manifest.json":
            continue
        layer, _, kind = name.removeprefix("MobilenetV1_").removesuffix("_depthwise_weights").rpartition("_")
        if name.endswith("_depthwise_weights"):
            layer, kind = f"{layer}_{kind}".removesuffix("_depthwise"), "depthwise_weights"
        variable = (
            f"MobilenetV1/{layer}/{kind}" if kind != "depthwise_weights" else f"MobilenetV1/{layer}_depthwise/{kind}"
        )
        if layer.startswith("Conv2d_"):
            number, _, part = layer.removeprefix("Conv2d_").partition("_")
            key = f"features.conv{number}.{part or ('depthwise' if kind == 'depthwise_weights' else 'conv')}"
        else:
            key = layer.removesuffix("_2")
        value = state[f"{key}.{'bias' if kind == 'biases' else 'weight'}"]
        if value.ndim == 4:
            value = value.transpose((2, 3, 0, 1) if kind == "depthwise_weights" else (2, 3, 1, 0))
        listed[variable] = {"filename": name, "shape": list(value.shape)}
        files[name] = store / name
        files[name].write_bytes(value.astype("<f4").tobytes())
    files["manifest.json"] = store / "manifest.json"
    files["manifest.json"].write_text(json.dumps(listed))
    put("posenet_101", files)
    net, _ = load_official("posenet_101")
    assert len(net.state_dict()) == len(files) - 1
    for key, value in net.state_dict().items():
        assert torch.equal(value, torch.from_numpy(state[key])), key


# --- small networks ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


def arrays_of(result: Any) -> list[NDArray[Any]]:
    """What a result is made of, as arrays."""
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, tuple):
        return [array for pose in result for array in (pose.keypoints, np.array([pose.score, pose.box.area]))]
    return [
        found for name in ("labels", "clothes", "parts", "uv") if (found := getattr(result, name, None)) is not None
    ]


@pytest.mark.torch
@pytest.mark.parametrize("model_id", MINE)
def test_any_picture_is_answered_and_a_batch_as_its_pictures_alone(model_id: str, graphs: Path) -> None:
    from reduced import open_reduced

    model = open_reduced(model_id, graphs)
    is_parsing = model.spec.role == "HumanParsing"

    def given(picture: RGBImage) -> Any:
        return ParsingInput(image=picture, keypoints=UNSEEN) if is_parsing else picture

    pictures = [noise(97, 61, 1), noise(97, 61, 2), noise(97, 61, 3)]
    together = model([given(picture) for picture in pictures])
    for picture, result in zip(pictures, together, strict=True):
        (alone,) = model([given(picture)])
        found, expected = arrays_of(result), arrays_of(alone)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype and np.array_equal(one, other)
    for height, width in ((1, 1), (7, 300), (260, 5), (333, 250)):
        (result,) = model([given(noise(height, width))])
        for array in arrays_of(result):
            assert np.isfinite(array).all()
            if model.spec.role != "PoseEstimation":
                assert array.dtype == np.uint8 and array.shape[:2] == (height, width)
    model.close()


@pytest.mark.torch
def test_boxes_of_all_sizes_are_judged_as_the_network_judges_them(graphs: Path) -> None:
    """The free number of boxes and the choice of the pyramid's level are in the graph, not in the traced example."""
    import torch
    from reduced import open_small, small_part

    spec = model_class("densepose").spec.engines
    rng = np.random.default_rng(0)
    pyramid = {f"p{level}": rng.normal(0, 1, (1, 32, 96 >> level, 160 >> level)).astype("f4") for level in range(2, 6)}
    corner = rng.uniform(0, 60, (23, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(1, 700, (23, 2))), 1).astype(np.float32)[None]
    for name, fed in (("classify", {"boxes": boxes}), ("surface", {"box": boxes[:, 4]})):
        feeds = {**pyramid, **fed}
        engine = open_small("densepose", name, spec[name], graphs)
        found = engine(feeds)
        with torch.inference_mode():
            given = small_part("densepose", name, spec[name])(*(torch.from_numpy(x) for x in feeds.values()))
        for tensor, reference in zip(spec[name].outputs, given, strict=True):
            expected = reference.numpy()
            assert found[tensor.name].shape == expected.shape
            assert np.abs(found[tensor.name] - expected).max() <= 1e-3 * np.abs(expected).max(), tensor.name
        engine.close()
