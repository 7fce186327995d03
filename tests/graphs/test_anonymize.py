"""Anonymizing a picture, on the default models."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from deployments.roles import Face
from graphs.anonymize import AnonymizeRequest, AnonymizeResult
from graphs.face_exchange import AnonymizeOptions, mosaic
from graphs.local import LocalRunner
from graphs.skin import parse_hex
from modiste.errors import NoFace, UnknownFace
from modiste.geometry import Box
from modiste.image import RGBImage, decode

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def runner():
    with LocalRunner() as opened:
        yield opened


@pytest.fixture(scope="module")
def photo(samples: Path) -> RGBImage:
    return decode((samples / "store" / "store_dress_terracotta.jpg").read_bytes())


@pytest.fixture(scope="module")
def done(runner: LocalRunner, photo: RGBImage) -> AnonymizeResult:
    return run(runner, photo)


def run(runner: LocalRunner, image: RGBImage, **options: object) -> AnonymizeResult:
    request = AnonymizeRequest(image=image, options=AnonymizeOptions.model_validate(options))
    return runner.run("anonymize", request).result


def test_the_face_is_another_and_nothing_else_changes(done: AnonymizeResult, photo: RGBImage) -> None:
    (face,) = done.faces
    assert face.how == "swapped"
    assert face.token == face.offered[face.offered.index(face.token)]
    assert len(face.offered) == 9
    assert face.cosine is not None
    assert face.cosine < 0.95
    left, top, right, bottom = (int(v) for v in face.box)
    changed = (done.image != photo).any(axis=2)
    assert changed[top:bottom, left:right].mean() > 0.5
    changed[top - 60 : bottom + 20, left - 40 : right + 40] = False
    assert not changed.any()


def test_a_token_brings_the_same_face_back(runner: LocalRunner, done: AnonymizeResult, photo: RGBImage) -> None:
    token = done.faces[0].token
    again = run(runner, photo, tokens=[token], seed=99)
    assert again.faces[0].token == token
    assert np.array_equal(again.image, done.image)


def test_the_skin_can_be_given_a_tone(runner: LocalRunner, done: AnonymizeResult, photo: RGBImage) -> None:
    pale = run(runner, photo, tokens=[done.faces[0].token], skin="#e8c4b0")
    left, top, right, bottom = (int(v) for v in pale.faces[0].box)
    cheek = slice(int(top + 0.55 * (bottom - top)), int(top + 0.65 * (bottom - top)))
    middle = slice(int(left + 0.3 * (right - left)), int(left + 0.7 * (right - left)))
    value = pale.image[cheek, middle].max(axis=2).mean() / 255
    before = done.image[cheek, middle].max(axis=2).mean() / 255
    assert abs(value - parse_hex("#e8c4b0")[2]) < 0.15
    assert value > before + 0.15


def test_what_cannot_be_done_is_refused(runner: LocalRunner, photo: RGBImage) -> None:
    with pytest.raises(NoFace):
        run(runner, RGBImage(np.full((300, 300, 3), 128, np.uint8)))
    with pytest.raises(UnknownFace):
        run(runner, photo, tokens=["AAAAAAAAAAAAAAAA"])


def test_a_face_too_small_to_swap_is_covered_or_kept(runner: LocalRunner, photo: RGBImage) -> None:

    tiny = RGBImage(np.asarray(cv2.resize(photo, None, fx=0.13, fy=0.13, interpolation=cv2.INTER_AREA), np.uint8))
    (face,) = run(runner, tiny).faces
    assert (face.how, face.token, face.cosine) == ("mosaic", None, None)
    kept = run(runner, tiny, unswappable="keep")
    assert kept.faces[0].how == "kept"
    assert np.array_equal(kept.image, tiny)


def test_the_mosaic_hides_all_detail_inside_and_touches_nothing_outside() -> None:
    image = RGBImage(np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8))
    box = Box(60, 40, 100, 90)
    covered = mosaic(image, Face(box=box, score=1.0, eyes=np.zeros((2, 2), np.float32)))
    inside = covered[45:85, 65:95]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= 36
    outside = np.ones((120, 160), bool)
    area = box.scaled(1.35).clipped(120, 160)
    outside[int(area.top) : int(area.bottom), int(area.left) : int(area.right)] = False
    assert np.array_equal(covered[outside], image[outside])
