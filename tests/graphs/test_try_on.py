"""The try-on flow on rendered people and garments, and its refusals."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from deployments.roles import Dressed, Pose
from graphs.local import LocalRunner
from graphs.try_on import (
    TryOnOptions,
    TryOnRequest,
    colour_of,
    cut_worn,
    is_worn,
    paste_changes,
    person_view,
    shrunk,
    with_matte,
)
from modiste.errors import CannotFit, NoGarment, NoPerson, PersonTooSmall
from modiste.geometry import Box
from modiste.image import Keypoints, LabelMap, Mask, RGBImage
from modiste.labels import BodyPart


def picture(path: Path) -> RGBImage:
    return RGBImage(np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]))


def grey(height: int, width: int) -> RGBImage:
    return RGBImage(np.full((height, width, 3), 128, np.uint8))


@pytest.fixture(scope="module")
def runner() -> object:
    with LocalRunner() as local:
        yield local


def test_options_are_strict() -> None:
    assert TryOnOptions().background == "keep"
    for wrong in ({"category": "hat"}, {"background": "red"}, {"tuck": "half"}, {"seed": 1}):
        with pytest.raises(ValidationError):
            TryOnOptions(**wrong)


def test_colour_of_reads_hex() -> None:
    assert colour_of("#0a80Ff") == (10, 128, 255)


def test_shrunk_leaves_small_pictures_alone() -> None:
    small = grey(300, 200)
    assert shrunk(small) is small
    assert shrunk(grey(4096, 2048)).shape == (1024, 512, 3)


def test_small_people_are_refused() -> None:
    pose = Pose(keypoints=Keypoints(np.zeros((25, 3), np.float32)), box=Box(10, 10, 60, 100), score=1.0)
    with pytest.raises(PersonTooSmall, match="90"):
        person_view(grey(300, 300), pose)


def test_dark_cloth_that_the_parser_missed_comes_from_the_matte() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[20:50, 30:70] = BodyPart.UPPER_GARMENT
    labels[60:90, 30:70] = BodyPart.LOWER_GARMENT
    matte = np.zeros((100, 100), np.uint8)
    matte[20:90, 30:70] = 255
    view = grey(100, 100)
    view[20:90, 30:70] = 20
    view[50:60, 65:70] = 128  # a gap through which the backdrop shows
    joined = with_matte(LabelMap(labels), Mask(matte), view)
    assert (joined[50:54, 40:60] == BodyPart.UPPER_GARMENT).all()
    assert (joined[57:60, 40:60] == BodyPart.LOWER_GARMENT).all()
    assert (joined[:20] == 0).all()
    assert (joined[51:59, 66:69] == 0).all()


def test_a_worn_garment_is_told_by_a_face() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[40:90, 30:70] = BodyPart.UPPER_GARMENT
    assert not is_worn(LabelMap(labels))
    labels[10:30, 40:60] = BodyPart.FACE
    assert is_worn(LabelMap(labels))


def test_too_little_of_a_worn_garment_is_refused() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[40:44, 40:50] = BodyPart.UPPER_GARMENT
    worn = Dressed(
        labels=LabelMap(labels),
        keypoints=Keypoints(np.zeros((25, 3), np.float32)),
        person=Mask(np.zeros((100, 100), np.uint8)),
    )
    with pytest.raises(NoGarment):
        cut_worn(grey(100, 100), worn, None)


def test_pasting_keeps_unchanged_pixels_at_full_size() -> None:
    rng = np.random.default_rng(0)
    photo = RGBImage(rng.integers(0, 255, (400, 400, 3), np.uint8))
    region = Box(100, 100, 300, 300)
    view = RGBImage(cv2.resize(photo[100:300, 100:300], (100, 100), interpolation=cv2.INTER_AREA))
    dressed = view.copy()
    dressed[40:60, 40:60] = (255, 0, 0)
    result = paste_changes(photo, view, RGBImage(dressed), region, None)
    assert (result[190:210, 190:210] == (255, 0, 0)).all()
    untouched = np.ones((400, 400), np.bool_)
    untouched[170:230, 170:230] = False
    assert (result[untouched] == photo[untouched]).all()


@pytest.mark.weights
@pytest.mark.parametrize(
    ("person", "garment", "category", "least"),
    [("nia", "g01", "upper", 0.75), ("leo", "g14", "upper", 0.7), ("mei", "g10", "lower", 0.6)],
)
def test_the_garment_is_where_the_old_one_was(
    runner: LocalRunner, samples: Path, person: str, garment: str, category: str, least: float
) -> None:
    photo = picture(samples / "persons" / f"{person}.jpg")
    article = picture(next((samples / "garments").glob(f"{garment}_*.jpg")))
    result = runner.run("try_on", TryOnRequest(person=photo, garment=article, options=TryOnOptions())).result
    assert result.category == category
    assert result.image.shape == photo.shape
    labels = cv2.imread(str(samples / "persons" / f"{person}.labels.png"), cv2.IMREAD_GRAYSCALE)
    changed = np.abs(result.image.astype(int) - photo).max(axis=2) > 12
    worn = labels == (BodyPart.UPPER_GARMENT if category == "upper" else BodyPart.LOWER_GARMENT)
    if garment == "g14":  # long sleeves also cover the arms
        worn |= np.isin(labels, (BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM))
    assert (changed & worn).sum() / (changed | worn).sum() > least
    # Face and backdrop are the photo's own.
    face = cv2.erode((labels == BodyPart.FACE).astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    assert (result.image[face] == photo[face]).mean() > 0.99
    away = cv2.dilate((labels > 0).astype(np.uint8), np.ones((161, 161), np.uint8)) == 0
    assert (result.image[away] == photo[away]).all()


@pytest.mark.weights
def test_background_can_be_replaced(runner: LocalRunner, samples: Path) -> None:
    photo = picture(samples / "persons" / "ana.jpg")
    article = picture(next((samples / "garments").glob("g03_*.jpg")))
    options = TryOnOptions(background="#204060")
    result = runner.run("try_on", TryOnRequest(person=photo, garment=article, options=options)).result
    assert (result.image[:60, :60] == (0x20, 0x40, 0x60)).all()


@pytest.mark.weights
def test_pictures_that_do_not_fit_are_refused(runner: LocalRunner, samples: Path) -> None:
    photo = picture(samples / "persons" / "ana.jpg")
    shirt = picture(next((samples / "garments").glob("g02_*.jpg")))
    with pytest.raises(NoPerson):
        runner.run("try_on", TryOnRequest(person=shirt, garment=shirt, options=TryOnOptions()))
    with pytest.raises((NoGarment, CannotFit)):
        runner.run("try_on", TryOnRequest(person=photo, garment=grey(400, 300), options=TryOnOptions()))
