"""The flow on real samples with the real weights; and what needs neither."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from deployments.roles import Face, FaceSeed, FaceView, SwappedFace
from graphs.face_choice import FURTHEST_TURN, LEAST_SHOWN, SMALLEST_FACE, require_one, shown_share, skip_reason
from graphs.face_finding import Closeup, Sight
from graphs.face_paste import lay_back
from graphs.face_token import encode
from graphs.face_view import cut_out
from graphs.local import LocalRunner
from graphs.virtual_model import VirtualModelOptions, VirtualModelRequest, VirtualModelResult
from modiste.errors import InvalidOption, NoFace, UnknownFace
from modiste.face_mesh import neutral
from modiste.geometry import Box
from modiste.image import LabelMap, Landmarks, Mask, RGBImage, decode

FACE = FaceSeed(seed=26, truncation=0.6)


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner() as opened:
        yield opened


@pytest.fixture(scope="module")
def astronaut(samples: Path) -> RGBImage:
    return decode((samples / "portraits" / "astronaut.jpg").read_bytes())


@pytest.fixture(scope="module")
def swapped(runner: LocalRunner, astronaut: RGBImage) -> VirtualModelResult:
    return apply(runner, astronaut)


def apply(runner: LocalRunner, photo: RGBImage, makeup: RGBImage | None = None, **options: Any) -> VirtualModelResult:
    wish = VirtualModelOptions(face=encode(FACE), **options)
    result = runner.run("virtual_model", VirtualModelRequest(photo=photo, makeup=makeup, options=wish)).result
    assert isinstance(result, VirtualModelResult)
    return result


def pattern(height: int, width: int) -> RGBImage:
    return RGBImage(np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("side", [12, 60, 150])
@pytest.mark.parametrize("tilt", [0.0, 14.0])
def test_what_is_pasted_changes_nothing_outside_its_mask(side: int, tilt: float) -> None:
    photo = pattern(240, 200)
    eyes = np.array([[80, 100], [80 + side / 2, 100 + tilt]], np.float32)
    face = Face(box=Box(70, 80, 70 + side, 80 + side), score=1, eyes=eyes)
    cutting = cut_out(photo, face, margin=1.55, smallest=448, largest=1024, upright=True)
    height, width = cutting.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 255
    loud = RGBImage(np.full_like(cutting.image, 255))
    result = lay_back(photo, loud, Mask(mask), cutting.matrix)
    reach = np.zeros((240, 200), bool)
    centre, half = np.array(face.box.centre) - 0.5, side * 1.55 / 6 * np.sqrt(2) + 2
    y, x = np.mgrid[:240, :200]
    reach[np.hypot(x - centre[0], y - centre[1]) <= half] = True
    assert (result[~reach] == photo[~reach]).all()
    assert (result[int(centre[1]), int(centre[0])] == 255).all()
    assert (lay_back(photo, loud, Mask(np.zeros_like(mask)), cutting.matrix) == photo).all()


def test_an_upright_crop_has_level_eyes_and_finds_its_way_back() -> None:
    eyes = np.array([[80, 90], [110, 112]], np.float32)
    face = Face(box=Box(60, 60, 140, 160), score=1, eyes=eyes)
    cutting = cut_out(pattern(240, 200), face, margin=1.5, smallest=256, largest=512, upright=True)
    points = np.column_stack([eyes, [0, 0]]).astype(np.float32)
    inward = cutting.inward(points)  # type: ignore[arg-type]
    assert inward[0, 1] == pytest.approx(inward[1, 1], abs=1e-3)
    assert np.abs(cutting.outward(inward) - points).max() < 1e-3


@pytest.mark.parametrize(
    ("changed", "wanted", "reason"),
    [
        ({}, True, None),
        ({"size": SMALLEST_FACE - 1.0}, True, "too small"),
        ({"sureness": 0.1}, True, "covered"),
        ({"inside": 0.6}, True, "cut off"),
        ({"turn": FURTHEST_TURN + 5}, True, "turned away"),
        ({"turn": -FURTHEST_TURN - 5}, True, "turned away"),
        ({}, False, "not chosen"),
    ],
)
def test_a_face_is_left_alone_with_a_reason(changed: dict[str, float], wanted: bool, reason: str | None) -> None:
    seen = {"size": SMALLEST_FACE + 1.0, "sureness": 0.9, "turn": 0.0, "inside": 1.0} | changed
    size = seen.pop("size")
    face = Face(box=Box(0, 0, size, size * 0.9), score=1, eyes=np.zeros((2, 2), np.float32))
    found = skip_reason(Sight(face=face, **seen), wanted)
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_a_face_of_which_little_is_seen_is_measured_as_such() -> None:
    photo = pattern(200, 200)
    landmarks = neutral() * np.float32(0.1) + np.float32(100)
    face = Face(box=Box(50, 50, 150, 150), score=1, eyes=np.array([[80, 90], [120, 90]], np.float32))
    cutting = cut_out(photo, face, margin=1.5, smallest=100, largest=200)
    view = FaceView(image=photo, landmarks=Landmarks(landmarks), labels=LabelMap(np.zeros((200, 200), np.uint8)))
    outline = np.zeros((200, 200), np.uint8)
    cv2.fillConvexPoly(outline, cv2.convexHull(np.rint(landmarks[:, :2]).astype(np.int32)), 255)
    half = outline.copy()
    half[:, 100:] = 0
    whole, part, none = (
        shown_share(Closeup(cutting=cutting, view=view), SwappedFace(image=photo, mask=Mask(mask)))
        for mask in (outline, half, np.zeros_like(outline))
    )
    assert whole == pytest.approx(1, abs=0.05)
    assert part == pytest.approx(0.5, abs=0.05)
    assert none == 0 < LEAST_SHOWN < part


def test_a_photo_in_which_everyone_is_left_alone_is_refused_with_the_reasons() -> None:
    require_one(["not chosen", None])
    with pytest.raises(NoFace, match="face 0: not chosen; face 1: too small"):
        require_one(["not chosen", "too small"])


@pytest.mark.parametrize(
    "wrong", [{"tone": 1.5}, {"lips": -0.1}, {"restore": "maybe"}, {"faces": "none"}, {"extra": 1}]
)
def test_options_outside_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        VirtualModelOptions.model_validate({"face": "token", **wrong})


@pytest.mark.weights
def test_an_unknown_token_is_refused(runner: LocalRunner, astronaut: RGBImage) -> None:
    with pytest.raises(UnknownFace):
        request = VirtualModelRequest(photo=astronaut, options=VirtualModelOptions(face="no such face"))
        runner.run("virtual_model", request)


@pytest.mark.weights
def test_a_photo_without_a_face_is_refused(runner: LocalRunner) -> None:
    with pytest.raises(NoFace):
        apply(runner, RGBImage(np.full((300, 300, 3), 200, np.uint8)))


@pytest.mark.weights
def test_the_new_face_is_the_virtual_one_and_not_the_old(swapped: VirtualModelResult) -> None:
    (face,) = swapped.faces
    assert face.skipped is None
    assert face.cosine_to_source is not None
    assert face.cosine_to_original is not None
    assert face.cosine_to_source > face.cosine_to_original + 0.01
    assert (swapped.seed, swapped.truncation) == (FACE.seed, FACE.truncation)


@pytest.mark.weights
def test_outside_the_face_the_photo_is_identical(swapped: VirtualModelResult, astronaut: RGBImage) -> None:
    left, top, right, bottom = swapped.faces[0].box
    outside = np.ones(astronaut.shape[:2], bool)
    outside[int(top) - 3 : int(bottom) + 4, int(left) - 3 : int(right) + 4] = False
    assert (swapped.image[outside] == astronaut[outside]).all()
    changed = (swapped.image != astronaut).any(axis=2)[~outside]
    assert changed.mean() > 0.5


@pytest.mark.weights
def test_the_same_request_gives_the_same_picture(
    runner: LocalRunner, swapped: VirtualModelResult, astronaut: RGBImage
) -> None:
    assert (apply(runner, astronaut).image == swapped.image).all()


@pytest.mark.weights
def test_only_the_chosen_person_changes(runner: LocalRunner, astronaut: RGBImage) -> None:
    head = astronaut[:400]
    two = RGBImage(np.hstack([head, head[:, ::-1]]))
    result = apply(runner, two, faces=(1,))
    assert [face.skipped for face in result.faces] == ["not chosen", None]
    assert (result.image[:, :512] == two[:, :512]).all()
    assert (result.image[:, 512:] != two[:, 512:]).any()
    with pytest.raises(InvalidOption):
        apply(runner, two, faces=(2,))


@pytest.mark.weights
def test_faces_that_are_all_too_small_are_refused_with_their_size(runner: LocalRunner, astronaut: RGBImage) -> None:
    tiny = np.full((512, 512, 3), 180, np.uint8)
    tiny[200:280, 200:280] = cv2.resize(astronaut, (80, 80), interpolation=cv2.INTER_AREA)
    with pytest.raises(NoFace, match=r"too small: expected at least 32 pixels, got 1[0-9]"):
        apply(runner, RGBImage(tiny))


@pytest.mark.weights
@pytest.mark.parametrize(("rows", "columns"), [(slice(105, None), slice(None)), (slice(120, None), slice(None)),
                                              (slice(None), slice(220, None))])  # fmt: skip
def test_a_face_that_the_edge_cuts_through_is_refused(
    runner: LocalRunner, astronaut: RGBImage, rows: slice, columns: slice
) -> None:
    with pytest.raises(NoFace, match="cut off"):
        apply(runner, RGBImage(np.ascontiguousarray(astronaut[rows, columns])))


@pytest.mark.weights
def test_makeup_of_no_strength_changes_nothing_and_with_strength_the_mouth(
    runner: LocalRunner, swapped: VirtualModelResult, astronaut: RGBImage
) -> None:
    bare = apply(runner, astronaut, astronaut, lips=0, eyes=0, skin=0)
    assert (bare.image == swapped.image).all()
    worn = apply(runner, astronaut, astronaut, lips=1, eyes=0, skin=0)
    assert (worn.image != swapped.image).any()
