"""Landmarks of garment outlines, and what the warp makes of them."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deployments.limb_tps.bare import bare_body
from deployments.limb_tps.body import Body, find_body
from deployments.limb_tps.fit import fit_top
from deployments.limb_tps.gaps import reopened
from deployments.limb_tps.half_outline import split_halves
from deployments.limb_tps.model import LimbTPS, waistline
from deployments.limb_tps.outline import measure
from deployments.limb_tps.pieces import lay, top_pieces
from deployments.limb_tps.shapes import SkirtShape, TopShape, TrousersShape, length, resample
from deployments.limb_tps.spline import backward_map
from deployments.limb_tps.top_outline import evened
from deployments.limb_tps.upright import prepare
from deployments.roles import Dressed, WarpInput
from modiste.errors import CannotFit, NoGarment, PersonTooSmall
from modiste.geometry import Box
from modiste.image import Keypoints, LabelMap, Mask, RGBAImage
from modiste.labels import JOINT, BodyPart

TEE = [
    (170, 40), (230, 40), (280, 60), (370, 150), (330, 190), (290, 150),
    (290, 380), (110, 380), (110, 150), (70, 190), (30, 150), (120, 60),
]  # fmt: skip
"""Collar, shoulder tip, cuff, armpit and hem of a T-shirt, clockwise from the left collar point."""
TROUSERS = [(120, 30), (280, 30), (310, 470), (230, 470), (200, 160), (170, 470), (90, 470)]
SKIRT = [(140, 40), (260, 40), (330, 360), (70, 360)]


def garment(outline: list[tuple[int, int]], size: tuple[int, int] = (500, 400)) -> RGBAImage:
    """A plain cut-out of a polygon, striped so that the warp has something to carry."""
    alpha = np.zeros(size, np.uint8)
    cv2.fillPoly(alpha, [np.array(outline, np.int32)], 255)
    rows = np.arange(size[0])[:, None, None] // 12 % 2 * 120 + 60
    return RGBAImage(np.dstack([np.broadcast_to(rows, (*size, 3)).astype(np.uint8), alpha]))


def sample_garment(samples: Path, name: str) -> RGBAImage:
    picture = cv2.imread(str(next((samples / "garments").glob(f"{name}_*.jpg"))))[..., ::-1]
    mask = cv2.imread(str(next((samples / "garments").glob(f"{name}_*.mask.png"))), cv2.IMREAD_GRAYSCALE)
    return RGBAImage(np.dstack([picture, mask]))


def sample_person(samples: Path, name: str) -> Dressed:
    """Exact labels and joints of a rendered person."""
    labels = cv2.imread(str(samples / "persons" / f"{name}.labels.png"), cv2.IMREAD_GRAYSCALE)
    legs = labels == 8
    left = np.arange(labels.shape[1])[None] >= labels.shape[1] / 2
    labels = np.where(legs, np.where(left, BodyPart.LEFT_LEG, BodyPart.RIGHT_LEG), labels).astype(np.uint8)
    keypoints = np.zeros((25, 3), np.float32)
    for point in json.loads((samples / "persons" / f"{name}.keypoints.json").read_text())["keypoints"]:
        joint = point["name"].replace("r_", "right_", 1) if point["name"].startswith("r_") else point["name"]
        joint = joint.replace("l_", "left_", 1) if joint.startswith("l_") else joint
        keypoints[JOINT[joint]] = point["x"], point["y"], 1.0 if point["in_frame"] else 0.5
    keypoints[JOINT["mid_hip"]] = (keypoints[JOINT["left_hip"]] + keypoints[JOINT["right_hip"]]) / 2
    person = np.where(labels != BodyPart.BACKGROUND, 255, 0).astype(np.uint8)
    return Dressed(labels=LabelMap(labels), keypoints=Keypoints(keypoints), person=Mask(person))


def body_of(person: Dressed) -> Body:
    return find_body(person.labels, person.keypoints, person.person)


def near(found: np.ndarray, wanted: tuple[float, float], scale: float, tolerance: float) -> bool:
    return bool(np.hypot(found[0] / scale - wanted[0], found[1] / scale - wanted[1]) < tolerance)


def test_landmarks_of_a_tee_are_its_corners() -> None:
    cutout = prepare(garment(TEE), level=True)
    kind, shape = measure(cutout, None)
    assert kind == "upper" and isinstance(shape, TopShape)
    # The prepared cut-out is cropped with a margin and scaled: compare in the drawing's own pixels.
    scale = float(np.ptp(shape.hem[:, 0])) / 180
    left = shape.halves[0]
    origin = np.array(left.side[-1]) / scale - (110, 380)
    assert left.sleeve is not None
    for found, wanted in (
        (left.shoulder[0], (170, 40)),
        (left.side[0], (110, 150)),
        (left.sleeve.outer[-1], (30, 150)),
        (left.sleeve.inner[-1], (70, 190)),
    ):
        assert near(np.array(found) - origin * scale, wanted, scale, 9), (found, wanted)
    assert 0.4 < left.sleeve.reach < 1.2


@pytest.mark.parametrize("tilt", [-8.0, 6.0])
def test_a_tilted_garment_is_turned_upright(tilt: float) -> None:
    matrix = cv2.getRotationMatrix2D((200, 220), tilt, 0.8)
    turned = cv2.warpAffine(garment(TEE), matrix, (400, 500))
    kind, shape = measure(prepare(RGBAImage(turned), level=True), None)
    assert kind == "upper" and isinstance(shape, TopShape)
    hem = shape.hem[-1] - shape.hem[0]
    assert abs(np.degrees(np.arctan2(hem[1], hem[0]))) < 4


@pytest.mark.parametrize(("outline", "kind"), [(TROUSERS, "trousers"), (SKIRT, "skirt")])
def test_lower_garments_are_told_apart(outline: list[tuple[int, int]], kind: str) -> None:
    found, shape = measure(prepare(garment(outline), level=True), None)
    assert found == kind
    assert isinstance(shape, TrousersShape if kind == "trousers" else SkirtShape)


def test_the_crotch_is_the_notch_between_the_legs() -> None:
    cutout = prepare(garment(TROUSERS), level=True)
    _, shape = measure(cutout, "trousers")
    assert isinstance(shape, TrousersShape)
    top, bottom = float(shape.waist[:, 1].mean()), float(shape.legs[0].outer[-1, 1])
    assert (shape.crotch[1] - top) / (bottom - top) == pytest.approx(130 / 440, abs=0.04)


@pytest.mark.parametrize(
    ("name", "kind", "reach"),
    [
        ("g01", "upper", (0.5, 1.3)),
        ("g02", "upper", (0.4, 1.3)),
        ("g04", "upper", (1.9, 2.0)),
        ("g05", "upper", (1.9, 2.0)),
        ("g07", "trousers", None),
        ("g08", "trousers", None),
        ("g09", "skirt", None),
        ("g10", "skirt", None),
        ("g11", "dress", (0.4, 1.3)),
        ("g12", "dress", (0.4, 1.3)),
        ("g14", "upper", (1.9, 2.0)),
    ],
)
def test_sample_garments_are_recognised(samples: Path, name: str, kind: str, reach: tuple[float, float] | None) -> None:
    found, shape = measure(prepare(sample_garment(samples, name), level=True), None)
    assert found == kind
    if reach is not None:
        assert isinstance(shape, TopShape)
        for half in shape.halves:
            assert half.sleeve is not None and reach[0] <= half.sleeve.reach <= reach[1]


def test_two_garments_are_refused() -> None:
    pair = garment([(20, 40), (160, 40), (160, 200), (20, 200)])
    pair[..., 3] |= garment([(220, 40), (370, 40), (370, 200), (220, 200)])[..., 3]
    with pytest.raises(NoGarment, match="several"):
        prepare(pair, level=True)


def test_an_empty_matte_is_refused() -> None:
    with pytest.raises(NoGarment):
        prepare(RGBAImage(np.zeros((200, 200, 4), np.uint8)), level=True)


def test_a_folded_sleeve_lies_as_its_fellow_does() -> None:
    lopsided = [point for point in TEE if point not in ((370, 150), (330, 190))]
    cutout = prepare(garment(lopsided), level=False)
    _, shape = measure(evened(cutout, split_halves(cutout)), None)
    assert isinstance(shape, TopShape)
    lengths = [length(half.sleeve.outer) for half in shape.halves if half.sleeve is not None]
    assert len(lengths) == 2 and lengths[0] == pytest.approx(lengths[1], rel=0.05)


HANGING = [
    (170, 40), (230, 40), (270, 55), (300, 90), (345, 330), (305, 345),
    (290, 310), (290, 360), (110, 360), (110, 310), (95, 345), (55, 330), (100, 90), (130, 55),
]  # fmt: skip
"""A pullover whose sleeves lie along the body: they part from it only above the hem."""


def test_sleeves_along_the_body_are_cut_off_it_at_the_armpit() -> None:
    kind, shape = measure(prepare(garment(HANGING), level=False), None)
    assert isinstance(shape, TopShape)
    top, bottom = float(shape.halves[0].shoulder[0, 1]), float(shape.hem[:, 1].mean())
    for half in shape.halves:
        assert half.sleeve is not None and half.sleeve.reach > 1.8
        assert 0.25 < (half.armhole[-1, 1] - top) / (bottom - top) < 0.6
    assert kind == "upper"


def test_backdrop_between_sleeve_and_body_is_no_cloth() -> None:
    cutout = garment(HANGING)
    cutout[..., :3] = 60
    hull = cv2.convexHull(np.array(HANGING, np.int32))
    alpha = np.zeros(cutout.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [hull], 255)
    picture = np.where(cutout[..., 3:] > 0, cutout[..., :3], 220).astype(np.uint8)
    opened = reopened(RGBAImage(np.dstack([picture, alpha])))
    assert opened[340, 103, 3] < 60 and opened[200, 200, 3] == 255


def test_the_spline_passes_through_its_points() -> None:
    rng = np.random.default_rng(1)
    target = rng.uniform(10, 90, (12, 2)).astype(np.float32)
    source = (target * 1.3 + rng.normal(0, 1, (12, 2)) + 20).astype(np.float32)
    dense = backward_map(target, source, Box(0, 0, 100, 100))
    found = cv2.remap(dense, target[None, :, 0], target[None, :, 1], cv2.INTER_LINEAR)[0]
    # The grid is read linearly between its points: near, not exact.
    assert np.abs(found - source).max() < 2


def test_a_shape_on_itself_is_the_same_picture() -> None:
    cutout = prepare(garment(TEE), level=True)
    _, shape = measure(cutout, "upper")
    assert isinstance(shape, TopShape)
    height, width = cutout.mask.shape
    layer, pieces = lay(cutout.texture, top_pieces(shape, shape), height, width)
    both = (layer[..., 3] > 250) & (cutout.texture[..., 3] > 250)
    assert both.sum() > 0.97 * (cutout.texture[..., 3] > 250).sum()
    assert np.abs(layer[both][:, :3].astype(int) - cutout.texture[both][:, :3]).mean() < 4
    assert set(np.unique(pieces)) == {0, 1, 2, 3}


def test_collar_shoulders_and_hem_land_on_the_body(samples: Path) -> None:
    person = sample_person(samples, "leo")
    body = body_of(person)
    hem = waistline(person, body)
    assert hem is not None
    _, shape = measure(prepare(sample_garment(samples, "g02"), level=True), "upper")
    assert isinstance(shape, TopShape)
    worn = fit_top(shape, body, hem_hint=hem)
    for side in (0, 1):
        assert np.hypot(*(worn.halves[side].shoulder[-1] - body.shoulders[side][-1])) < 2
        assert worn.halves[side].side[-1, 1] == pytest.approx(hem, abs=0.02 * body.unit)


@pytest.mark.parametrize(("person", "name"), [("leo", "g02"), ("mei", "g05"), ("sam", "g14"), ("ana", "g13")])
def test_pieces_join_without_cracks(samples: Path, person: str, name: str) -> None:
    dressed = sample_person(samples, person)
    warped = LimbTPS({})(
        [
            WarpInput(
                garment=sample_garment(samples, name),
                category="upper",
                look=None,
                tuck="auto",
                wearer=None,
                person=dressed,
            )
        ]
    )[0]
    body = body_of(dressed)
    for side in (0, 1):
        seam = resample(np.stack([body.shoulders[side][-1], body.armpits[side]]), 40)[6:-6].astype(int)
        for dx in range(-6, 7):
            assert (warped.layer[seam[:, 1], seam[:, 0] + dx, 3] > 200).all()


def test_the_warp_covers_the_torso_and_not_the_face(samples: Path) -> None:
    dressed = sample_person(samples, "nia")
    warped = LimbTPS({})(
        [
            WarpInput(
                garment=sample_garment(samples, "g01"),
                category=None,
                look=None,
                tuck="auto",
                wearer=None,
                person=dressed,
            )
        ]
    )[0]
    assert warped.category == "upper"
    cloth, worn = warped.layer[..., 3] > 127, dressed.labels == BodyPart.UPPER_GARMENT
    assert (cloth & worn).sum() / (cloth | worn).sum() > 0.75
    assert (cloth & (dressed.labels == BodyPart.FACE)).sum() == 0


def test_bare_arms_are_where_the_arms_are(samples: Path) -> None:
    dressed = sample_person(samples, "ana")
    body = body_of(dressed)
    _, shape = measure(prepare(sample_garment(samples, "g01"), level=True), "upper")
    assert isinstance(shape, TopShape)
    bare = bare_body(body, dressed.labels, fit_top(shape, body, None))
    for part in (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM):
        skin = dressed.labels == part
        assert (skin & (bare == part)).sum() > 0.7 * skin.sum()


def test_unsuitable_people_are_refused_with_the_reason(samples: Path) -> None:
    person = sample_person(samples, "leo")

    def moved(**joints: tuple[float, float]) -> Dressed:
        keypoints = person.keypoints.copy()
        for joint, place in joints.items():
            keypoints[JOINT[joint], :2] = place
        return replace(person, keypoints=Keypoints(keypoints))

    left, right = (tuple(map(float, person.keypoints[JOINT[f"{side}_shoulder"], :2])) for side in ("left", "right"))
    with pytest.raises(CannotFit, match="back view"):
        body_of(moved(left_shoulder=right, right_shoulder=left))
    with pytest.raises(PersonTooSmall, match="pixels between the shoulders"):
        body_of(moved(left_shoulder=(400, 330), right_shoulder=(360, 330)))
    with pytest.raises(CannotFit, match="side view"):
        body_of(moved(left_shoulder=(420, 330), right_shoulder=(350, 330)))
    unseen = person.keypoints.copy()
    unseen[JOINT["left_shoulder"], 2] = 0
    with pytest.raises(CannotFit, match="both shoulders"):
        body_of(replace(person, keypoints=Keypoints(unseen)))
    crossed = moved(left_elbow=(480, 560), left_wrist=(330, 600))
    with pytest.raises(CannotFit, match="arm"):
        LimbTPS({})(
            [
                WarpInput(
                    garment=sample_garment(samples, "g04"),
                    category="upper",
                    look=None,
                    tuck="auto",
                    wearer=None,
                    person=crossed,
                )
            ]
        )
