"""ID photos: sizes and sheets to the pixel, suits' openings, refusals, and the flow on the real weights."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from deployments.roles import Face, LandmarksInput
from graphs.face_finding import Sight
from graphs.id_format import MARK_GREY, PRESETS, layout, photo_format, pixels, print_sheet
from graphs.id_photo import IdPhotoOptions, IdPhotoRequest, IdPhotoResult, colour_of, dress, head_matrix
from graphs.id_portrait import CHIN, FOREHEAD, Head, check, choose, eyes_of, roll_of, settle
from graphs.id_suits import SuitName, load_suit, suit_from
from graphs.local import LocalRunner
from modiste.errors import (
    BadInput,
    InvalidOption,
    NoFace,
    SeveralFaces,
    UnsuitablePortrait,
    UnsuitableSuit,
)
from modiste.geometry import Box
from modiste.image import LabelMap, Landmarks, Mask, RGBAImage, RGBImage, decode
from modiste.labels import FacePart

SUITS: tuple[SuitName, ...] = (
    "m_suit_navy",
    "m_suit_charcoal",
    "m_shirt_blue",
    "f_suit_black",
    "f_suit_beige",
    "f_blouse_white",
)


# --- formats and sheets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "dpi", "size"),
    [
        ("35x45mm", 300, (413, 531)),
        ("3x4cm", 300, (354, 472)),
        ("us_2x2in", 300, (600, 600)),
        ("us_2x2in", 600, (1200, 1200)),
        ("35x45mm", 600, (827, 1063)),
    ],
)
def test_presets_have_their_size_in_pixels(preset: str, dpi: int, size: tuple[int, int]) -> None:
    form = PRESETS[preset]
    assert (pixels(form.width, dpi), pixels(form.height, dpi)) == size


@pytest.mark.parametrize(("preset", "least", "most"), [("35x45mm", 32, 36), ("us_2x2in", 25.4, 34.925)])
def test_heads_are_as_tall_as_issuers_ask(preset: str, least: float, most: float) -> None:
    form = PRESETS[preset]
    assert least <= form.head * form.height <= most
    assert form.head + form.above < 1


def test_own_size_and_head() -> None:
    form = photo_format("custom", 40, 60, 0.5)
    assert (form.width, form.height, form.head) == (40, 60, 0.5)
    assert form.above + form.head < 0.8


def test_a_size_is_whole_or_refused() -> None:
    with pytest.raises(InvalidOption, match="custom"):
        photo_format("custom", 40, None, None)
    with pytest.raises(InvalidOption, match="35x45mm"):
        photo_format("35x45mm", 40, 50, None)


def test_sheet_holds_as_many_as_fit_and_none_overlaps() -> None:
    width, height = 413, 531
    plan = layout("10x15cm", 300, width, height)
    # Upright two by three; lying three by two is no more.
    assert (plan.width, plan.height, len(plan.corners)) == (1181, 1772, 6)
    covered = np.zeros((plan.height, plan.width), int)
    for left, top in plan.corners:
        assert left >= pixels(4, 300)
        assert top >= pixels(4, 300)
        covered[top : top + height, left : left + width] += 1
    assert covered.max() == 1
    assert covered.sum() == 6 * width * height


def test_paper_lies_down_where_more_fit() -> None:
    plan = layout("10x15cm", 300, pixels(45, 300), pixels(35, 300))
    assert plan.width > plan.height
    assert len(plan.corners) == 6


def test_a_photo_larger_than_the_paper_is_refused() -> None:
    with pytest.raises(InvalidOption, match="10x15cm"):
        layout("10x15cm", 300, 1400, 1800)


def test_cut_marks_point_at_the_corners_and_touch_no_copy() -> None:
    photo = RGBImage(np.full((531, 413, 3), 40, np.uint8))
    plan = layout("10x15cm", 300, 413, 531)
    sheet = print_sheet(photo, plan, 300)
    left, top = plan.corners[0]
    assert (sheet[top : top + 531, left : left + 413] == 40).all()
    assert (sheet[top - pixels(0.4, 300) - 3, left] == MARK_GREY).all()
    assert (sheet[top, left - pixels(0.4, 300) - 3] == MARK_GREY).all()
    outside = np.ones(sheet.shape[:2], bool)
    for x, y in plan.corners:
        outside[y : y + 531, x : x + 413] = False
    assert set(np.unique(sheet[outside])) == {MARK_GREY, 255}


@pytest.mark.parametrize("options", [{"dpi": 20}, {"background": "red"}, {"suit": "tuxedo"}, {"head_ratio": 0.95}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        IdPhotoOptions.model_validate(options)


# --- portraits ----------------------------------------------------------------------------------------------------


def sight(x: float, y: float, size: float, *, tilt: float = 0.0, sureness: float = 0.9) -> Sight:
    cos, sin = np.cos(np.radians(tilt)) * size / 4, np.sin(np.radians(tilt)) * size / 4
    eyes = np.array([[x - cos, y - sin], [x + cos, y + sin]], np.float32)
    box = Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    return Sight(face=Face(box=box, score=0.9, eyes=eyes), sureness=sureness, turn=0.0, inside=1.0)


def test_one_face_is_chosen() -> None:
    large, small = sight(200, 200, 160), sight(400, 100, 60)
    assert choose([small, large]) is large
    with pytest.raises(NoFace):
        choose([sight(200, 200, 160, sureness=0.1)])
    with pytest.raises(SeveralFaces, match="2 faces"):
        choose([large, sight(400, 200, 140)])


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (sight(200, 200, 50), "larger picture"),
        (sight(200, 200, 160, tilt=40), "upright"),
        (sight(50, 200, 160), "edge"),
    ],
)
def test_unfit_portraits_are_refused_with_what_to_change(found: Sight, reason: str) -> None:
    with pytest.raises(UnsuitablePortrait, match=reason):
        check(RGBImage(np.zeros((400, 400, 3), np.uint8)), found)


def test_tilt_is_measured_clockwise() -> None:
    assert roll_of(sight(200, 200, 160, tilt=10)) == pytest.approx(10, abs=0.01)


def head(**changes: float) -> Head:
    facts = {"crown": 100.0, "chin": 400.0, "middle": 300.0, "neck": 310.0, "apart": 90.0, "yaw": 0.0, **changes}
    eyes = np.array([[facts["middle"] - 45, 250, 0], [facts["middle"] + 45, 250, 0]], np.float32)
    return Head(**facts, eyes=eyes)


def test_head_is_placed_to_the_pixel() -> None:
    matrix = head_matrix(head(), tall=600, above=80, width=700)
    crown, chin = (matrix @ np.array([300, row, 1]) for row in (100, 400))
    assert crown == pytest.approx([349.5, 80])
    assert chin == pytest.approx([349.5, 680])


def test_parsing_and_matte_are_joined() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[20:60, 30:70] = FacePart.SKIN
    labels[0:20, 30:70] = FacePart.HAT
    matte = np.zeros((100, 100), np.uint8)
    matte[10:100, 30:75] = 255
    landmarks = np.full((468, 3), 50, np.float32)
    landmarks[:, 2] = 0
    landmarks[CHIN, 1], landmarks[FOREHEAD, 1] = 60, 25
    landmarks[[234, 454], 0] = 30, 70
    settled = settle(LabelMap(labels), Mask(matte), Landmarks(landmarks))
    assert (settled[:10] == FacePart.BACKGROUND).all()
    assert (settled[12, 32:68] == FacePart.HAT).all()
    assert (settled[30, 71:74] == FacePart.HAIR).all()
    assert (settled[61:, 71:] == FacePart.BACKGROUND).all()


# --- suits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUITS)
def test_samples_suits_open_where_the_neck_belongs(name: SuitName) -> None:
    suit = load_suit(name)
    assert suit.picture.shape[:2] == suit.opening.shape
    rows, columns = np.nonzero(suit.opening)
    assert suit.eyes[0, 0] < columns.mean() < suit.eyes[1, 0]
    assert suit.eyes[:, 1].max() < rows.min()


@pytest.mark.parametrize("name", SUITS)
def test_opening_of_an_uploaded_suit_is_found_in_its_alpha(name: SuitName) -> None:
    known = load_suit(name)
    cutout = known.picture.copy()
    cutout[known.opening > 0, 3] = 0
    found = suit_from(RGBAImage(cutout))
    overlap = ((found.opening > 0) & (known.opening > 0)).sum() / ((found.opening > 0) | (known.opening > 0)).sum()
    apart = float(known.eyes[1, 0] - known.eyes[0, 0])
    assert overlap > 0.8
    assert np.abs(found.eyes - known.eyes).max() < 0.5 * apart


def test_suits_that_cannot_be_worn_are_refused() -> None:
    with pytest.raises(UnsuitableSuit, match="opaque"):
        suit_from(RGBAImage(np.full((400, 400, 4), 255, np.uint8)))
    block = np.zeros((600, 600, 4), np.uint8)
    block[100:, 50:550] = 255
    with pytest.raises(UnsuitableSuit, match="neck opening"):
        suit_from(RGBAImage(block))
    with pytest.raises(UnsuitableSuit, match="300 pixels"):
        suit_from(RGBAImage(block[::4, ::4]))


@pytest.mark.parametrize("name", SUITS)
def test_collar_stands_at_the_jaw_and_its_front_below_the_chin(name: SuitName) -> None:
    matrix = head_matrix(head(), tall=600, above=80, width=700)
    _, opening = dress(load_suit(name), head(), matrix, 900, 700)
    rows = np.flatnonzero(opening.any(axis=1))
    assert 680 - 0.1 * 600 < rows[0] < 680  # at the jaw's height, not under it: else the neck is too long
    assert rows[-1] - 680 > 0.12 * 600
    closed = name.endswith(("navy", "charcoal", "black", "beige"))
    assert not closed or rows[-1] - 680 < 0.22 * 600


def test_suit_reaches_down() -> None:
    suit = load_suit("m_suit_navy")
    matrix = head_matrix(head(), tall=600, above=80, width=700)
    dressed, _ = dress(suit, head(), matrix, 900, 700)
    assert dressed.shape == (900, 700, 4)
    assert (dressed[-1, 300:400, 3] > 250).all()
    with pytest.raises(UnsuitableSuit, match="longer suit"):
        short = load_suit("m_suit_navy")
        short.picture[600:, :, 3] = 0
        dress(short, head(), matrix, 900, 700)


# --- the flow -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner() as opened:
        yield opened


def portrait(samples: Path, name: str) -> RGBImage:
    return decode((samples / "persons" / f"{name}.jpg").read_bytes())


def taken(
    runner: LocalRunner, image: RGBImage, options: Mapping[str, object], own: RGBAImage | None = None
) -> IdPhotoResult:
    request = IdPhotoRequest(portrait=image, own_suit=own, options=IdPhotoOptions.model_validate(options))
    result: IdPhotoResult = runner.run("id_photo", request).result
    return result


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("ken", {"size": "35x45mm"}, (531, 413)),
        ("nia", {"size": "us_2x2in", "background": "#3a6ea5", "suit": "f_suit_beige"}, (600, 600)),
        ("sam", {"size": "3x4cm", "head_ratio": 0.5, "suit": "m_shirt_blue"}, (472, 354)),
    ],
)
def test_head_background_and_size_are_as_asked(
    runner: LocalRunner, samples: Path, name: str, options: dict[str, object], size: tuple[int, int]
) -> None:
    result = taken(runner, portrait(samples, name), options)
    assert result.photo.shape == (*size, 3)
    background = colour_of(str(options.get("background", "#ffffff")))
    assert (result.photo[:5, :5] == background).all()
    assert (result.photo[:5, -5:] == background).all()
    head_rows = measured_rows(runner, result.photo)
    asked = result.head_ratio * size[0]
    assert abs((head_rows[1] - head_rows[0]) - asked) < 0.05 * asked


def measured_rows(runner: LocalRunner, photo: RGBImage) -> tuple[float, float]:
    """Crown (topmost pixel that is not background, over the face) and chin (by the mesh), rows."""
    (face, *_) = runner.call("FaceDetection", [photo])[0]
    mesh = runner.call("FaceLandmarks", [LandmarksInput(image=photo, face=face)])[0]
    middle = int(eyes_of(mesh.points)[:, 0].mean())
    column = photo[:, middle - 3 : middle + 4].astype(int)
    changed = np.abs(column - photo[0, 0]).sum(axis=2).max(axis=1) > 60
    return float(np.flatnonzero(changed)[0]), float(mesh.points[CHIN, 1])


@pytest.mark.weights
def test_long_hair_lies_over_the_suit(runner: LocalRunner, samples: Path) -> None:
    """Where the portrait has hair below the chin, the photo is dark like hair, not white like the blouse."""
    result = taken(runner, portrait(samples, "ana"), {"suit": "f_blouse_white", "size": "us_2x2in"})
    _, chin = measured_rows(runner, result.photo)
    rows = result.photo[int(chin + 10) : int(chin + 60)].astype(int)
    dark = (rows.sum(axis=2) < 330).sum(axis=1)
    # Ana's hair falls in front of both shoulders; the blouse and the ground are white, her skin is light.
    assert (dark > 60).mean() > 0.8


@pytest.mark.weights
def test_an_uploaded_suit_is_worn(runner: LocalRunner, samples: Path) -> None:
    own = load_suit("m_suit_navy")
    cutout = own.picture.copy()
    cutout[own.opening > 0, 3] = 0
    cutout[..., :3] = (10, 200, 10)
    result = taken(runner, portrait(samples, "leo"), {"size": "us_2x2in"}, RGBAImage(cutout))
    green = (result.photo[-40:] == (10, 200, 10)).all(axis=2)
    assert green.mean() > 0.3


@pytest.mark.weights
@pytest.mark.parametrize(("rows", "error"), [(slice(110, None), "unsuitable_portrait"), (slice(500, None), "no_face")])
def test_cut_heads_are_refused(runner: LocalRunner, samples: Path, rows: slice, error: str) -> None:
    image = portrait(samples, "ken")
    with pytest.raises(BadInput) as refused:
        taken(runner, RGBImage(np.ascontiguousarray(image[rows])), {})
    assert refused.value.code == error


@pytest.mark.weights
def test_two_people_are_refused(runner: LocalRunner, samples: Path) -> None:
    both = RGBImage(np.hstack([portrait(samples, "ken"), portrait(samples, "nia")]))
    with pytest.raises(SeveralFaces):
        taken(runner, both, {})
