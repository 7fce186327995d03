"""Joints, body parts and mattes against the exact ones of the rendered persons."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from deployments import model_class, open_model
from deployments.blazepose.detector import ANCHORS, Letterbox, decode, frame
from deployments.blazepose.landmarks import SIDE, Located, body_25, region
from deployments.roles import ParsingInput
from deployments.selfie_multiclass.model import BACKGROUND, CLOTHES, joined, squares
from deployments.selfie_multiclass.split import body_of, limb_parts, lower_garment
from deployments.u2net.model import refine
from modiste.geometry import transform
from modiste.image import Keypoints, LabelMap, RGBImage
from modiste.image import decode as decode_picture
from modiste.labels import JOINT, BodyPart

PERSONS = ("ana", "ken", "leo", "mei", "nia", "sam")
MEAN_JOINT_ERROR = 0.07
LEAST_IOU = {
    "background": 0.96,
    "hair": 0.8,
    "face": 0.88,
    "neck": 0.75,
    "left_arm": 0.8,
    "right_arm": 0.85,
    "upper_garment": 0.92,
    "lower_garment": 0.9,
}


def picture(samples: Path, name: str) -> RGBImage:
    return decode_picture((samples / "persons" / f"{name}.jpg").read_bytes())


def exact_labels(samples: Path, name: str) -> LabelMap:
    path = samples / "persons" / f"{name}.labels.png"
    return LabelMap(np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8))


def exact_joints(samples: Path, name: str) -> dict[str, tuple[float, float]]:
    """Joints inside the picture, under their BODY_25 names."""
    listed = json.loads((samples / "persons" / f"{name}.keypoints.json").read_text())["keypoints"]
    sides = {"l_": "left_", "r_": "right_"}
    return {
        sides.get(joint["name"][:2], joint["name"][:2]) + joint["name"][2:]: (joint["x"], joint["y"])
        for joint in listed
        if joint["in_frame"]
    }


def standing(width: float = 100, x: float = 200, y: float = 100) -> Keypoints:
    """A figure facing the camera, arms down, shoulders `width` apart, nose at (x, y)."""
    places = {
        "nose": (0, 0), "neck": (0, 0.7), "mid_hip": (0, 2.2),
        "right_shoulder": (-0.5, 0.7), "right_elbow": (-0.6, 1.5), "right_wrist": (-0.65, 2.2),
        "right_hip": (-0.25, 2.2), "right_knee": (-0.25, 3.5), "right_ankle": (-0.25, 4.8),
        "right_eye": (-0.1, -0.1), "right_ear": (-0.2, 0),
        "right_big_toe": (-0.3, 5), "right_small_toe": (-0.3, 5), "right_heel": (-0.25, 4.9),
    }  # fmt: skip
    keypoints = np.zeros((25, 3), np.float32)
    for name, (dx, dy) in places.items():
        keypoints[JOINT[name]] = (x + dx * width, y + dy * width, 1)
        if name.startswith("right"):
            keypoints[JOINT[name.replace("right", "left")]] = (x - dx * width, y + dy * width, 1)
    return Keypoints(keypoints)


def test_detector_has_an_anchor_for_each_row() -> None:
    assert ANCHORS.shape == (2254, 2)
    assert np.allclose(ANCHORS[0], 4 / 224)
    assert np.allclose(ANCHORS[-1], 1 - 16 / 224)


def test_detector_rows_become_picture_pixels_and_duplicates_are_joined() -> None:
    raw = np.zeros((2254, 12), np.float32)
    raw[:, 2:4] = 56
    logits = np.full(2254, -9, np.float32)
    logits[[0, 1, 2253]] = 3, 2, 1
    # A picture of 448 x 224: half of a square pixel, black bars of 112 above and below.
    found = decode(raw, logits, frame(RGBImage(np.zeros((224, 448, 3), np.uint8))))
    assert [round(person.score, 3) for person in found] == [0.953, 0.731]
    assert found[0].hips == pytest.approx((8, 8 - 112))
    assert found[0].box.width == pytest.approx(112)


def test_square_holds_the_picture_in_its_middle() -> None:
    assert frame(RGBImage(np.zeros((100, 300, 3), np.uint8))) == Letterbox(300, 0, -100)


def test_region_stands_upright_around_the_hips() -> None:
    # Lying on the side: the head is to the right of the hips.
    matrix = region((100, 100), (180, 100))
    centre, towards_head = transform(np.array([[100, 100], [200, 100]], np.float32), matrix)
    assert centre == pytest.approx((SIDE / 2 - 0.5, SIDE / 2 - 0.5), abs=1e-3)
    assert towards_head == pytest.approx((SIDE / 2 - 0.5, -0.5), abs=1e-3)


def test_joints_outside_the_picture_score_nothing() -> None:
    points = np.full((39, 2), 50, np.float32)
    points[25] = 50, 130
    ones = np.ones(39, np.float32)
    keypoints = body_25(Located(points=points, visibility=ones, presence=ones * 0.5, score=1.0), 100, 100)
    assert keypoints[JOINT["left_knee"], 2] == 0
    assert keypoints[JOINT["right_knee"], 2] == 0.5
    assert keypoints[JOINT["neck"]] == pytest.approx((50, 50, 0.5))


def test_skin_goes_to_the_limb_it_lies_on() -> None:
    body = body_of(standing())
    skin = np.zeros((700, 400), np.bool_)
    spots = {
        (200, 160): BodyPart.NECK,
        (140, 250): BodyPart.RIGHT_ARM,
        (265, 345): BodyPart.LEFT_ARM,
        (175, 420): BodyPart.RIGHT_LEG,
        (225, 590): BodyPart.LEFT_LEG,
    }
    for x, y in spots:
        skin[y, x] = True
    labels = limb_parts(body, skin)
    assert {spot: labels[spot[1], spot[0]] for spot in spots} == spots
    assert np.count_nonzero(labels) == len(spots)


@pytest.mark.parametrize("hem", [300, 320, 345])
def test_hem_is_found_by_colour_near_the_hips(hem: int) -> None:
    image = np.full((700, 400, 3), 255, np.uint8)
    clothes = np.zeros((700, 400), np.bool_)
    clothes[180:500, 150:250] = True
    image[180:hem, 150:250] = (200, 40, 40)
    image[hem:500, 150:250] = (40, 60, 160)
    lower = lower_garment(body_of(standing()), RGBImage(image), clothes, np.zeros_like(clothes))
    assert abs(int(np.flatnonzero(lower[:, 200])[0]) - hem) <= 4
    assert not (lower & ~clothes).any()


def test_one_colour_is_divided_at_the_hip_line() -> None:
    image = np.full((700, 400, 3), 90, np.uint8)
    clothes = np.zeros((700, 400), np.bool_)
    clothes[180:500, 150:250] = True
    lower = lower_garment(body_of(standing()), RGBImage(image), clothes, np.zeros_like(clothes))
    assert abs(int(np.flatnonzero(lower[:, 200])[0]) - 320) <= 2


def test_the_look_that_sees_the_person_is_believed() -> None:
    body = body_of(standing())
    _, upper = squares(body, 700, 400)
    person, nothing = np.zeros((2, 700, 400, 6), np.float32)
    person[..., CLOTHES] = 1
    nothing[..., BACKGROUND] = 1
    assert (joined(person, nothing, upper).argmax(axis=2) == CLOTHES).all()
    classes = joined(nothing, person, upper).argmax(axis=2)
    assert classes[200, 200] == CLOTHES
    assert classes[650, 200] == BACKGROUND


def test_outline_moves_to_the_edge_in_the_picture() -> None:
    image = np.full((400, 400, 3), 230, np.uint8)
    cv2.circle(image, (200, 200), 120, (60, 40, 120), -1)
    exact = (np.hypot(*np.mgrid[-200:200, -200:200]) <= 120).astype(np.float32)
    coarse = cv2.GaussianBlur(cv2.resize(exact, (160, 160), interpolation=cv2.INTER_AREA), (0, 0), 1)
    refined = refine(np.asarray(coarse, np.float32), RGBImage(image)) / 255
    plain = cv2.resize(coarse, (400, 400), interpolation=cv2.INTER_LINEAR)
    assert np.abs(refined - exact).mean() < 0.6 * np.abs(plain - exact).mean()


@pytest.mark.weights
def test_joints_lie_where_they_are(samples: Path) -> None:
    model = open_model("blazepose")
    errors = []
    for name in PERSONS:
        (pose,) = model([picture(samples, name)])[0]
        exact = exact_joints(samples, name)
        width = abs(exact["left_shoulder"][0] - exact["right_shoulder"][0])
        errors += [np.hypot(*(pose.keypoints[JOINT[j], :2] - place)) / width for j, place in exact.items()]
        assert (pose.keypoints[[JOINT["left_knee"], JOINT["right_knee"]], 2] == 0).all()
        assert all(pose.keypoints[JOINT[joint], 2] > 0.5 for joint in exact)
    model.close()
    print(f"mean joint error: {np.mean(errors):.4f} of the shoulder width")
    assert np.mean(errors) < MEAN_JOINT_ERROR


@pytest.mark.weights
def test_nobody_in_a_picture_of_a_wall() -> None:
    model = open_model("blazepose")
    assert model([RGBImage(np.full((300, 200, 3), 180, np.uint8))]) == [()]
    model.close()


@pytest.mark.weights
def test_parts_cover_what_they_name(samples: Path) -> None:
    poses, parser = open_model("blazepose"), open_model("selfie_multiclass")
    both = np.zeros((2, len(LEAST_IOU)))
    for name in PERSONS:
        image = picture(samples, name)
        labels: LabelMap = parser([ParsingInput(image=image, keypoints=poses([image])[0][0].keypoints)])[0].labels
        # The legend has one class for legs, shoes and the rest; the first eight are ours.
        exact = exact_labels(samples, name)
        for part in range(len(LEAST_IOU)):
            ours, true = labels == part, exact == part
            both[:, part] += (ours & true).sum(), (ours | true).sum()
    poses.close()
    parser.close()
    iou = dict(zip(LEAST_IOU, both[0] / both[1], strict=True))
    print(" ".join(f"{part} {value:.3f}" for part, value in iou.items()), f"mean {np.mean(list(iou.values())):.3f}")
    assert all(iou[part] >= least for part, least in LEAST_IOU.items()), iou


@pytest.mark.weights
def test_matte_is_the_person(samples: Path) -> None:
    model = open_model("u2net")
    error = []
    for name in PERSONS[:3]:
        matte = model([picture(samples, name)])[0]
        exact = exact_labels(samples, name) > 0
        error.append(np.abs(matte / 255 - exact).mean())
    model.close()
    print(f"mean absolute error of the matte: {np.mean(error):.4f}")
    assert np.mean(error) < 0.015


@pytest.mark.weights
def test_nothing_in_front_of_a_plain_wall_is_an_empty_matte() -> None:
    model = open_model("u2net")
    assert not model([RGBImage(np.full((120, 160, 3), 200, np.uint8))])[0].any()
    model.close()


@pytest.mark.parametrize("name", ["u2net", "blazepose", "selfie_multiclass"])
def test_card_names_paper_and_weights(name: str) -> None:
    found = model_class(name)
    card = (Path(__file__).parents[2] / "deployments" / name / "README.md").read_text()
    assert found.spec.licence in card
    assert all(f"`{engine.weights}`" in card for engine in found.spec.engines.values())
