import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.latent_encoder.skin import READING, colour, with_colour
from deployments.mobile_stylegan.model import DIRECTIONS
from deployments.roles import CODE_UNIT, FaceCode, code_deviations, face_code
from modiste.errors import InvalidOption
from modiste.image import RGBImage


@given(st.lists(st.floats(-3.9, 3.9), min_size=1, max_size=512))
def test_a_code_keeps_its_deviations_to_half_a_unit(deviations: list[float]) -> None:
    code = face_code(np.array(deviations, np.float32))
    assert len(code) == len(deviations)
    assert np.abs(code_deviations(code, len(deviations))[0] - deviations).max() <= 0.5 / CODE_UNIT + 1e-6


def test_what_no_byte_holds_is_brought_to_the_end() -> None:
    far = code_deviations(face_code(np.array([-50.0, 0.0, 50.0], np.float32)), 3)
    assert np.array_equal(far * CODE_UNIT, [[-127, 0, 127]])


@pytest.mark.parametrize("length", [0, 63, 65, 512])
def test_codes_of_other_generators_are_refused(length: int) -> None:
    with pytest.raises(InvalidOption, match=f"64 coordinates, got {length}"):
        code_deviations(FaceCode(bytes(length)), 64)


def test_the_directions_are_orthogonal_and_in_order() -> None:
    assert DIRECTIONS.shape == (64, 512)
    lengths = np.linalg.norm(DIRECTIONS, axis=1)
    assert np.all(np.diff(lengths) < 1e-3) and lengths[0] > 3 * lengths[-1]
    cosines = DIRECTIONS @ DIRECTIONS.T / np.outer(lengths, lengths)
    assert np.abs(cosines - np.eye(64)).max() < 0.01
    assert np.all(DIRECTIONS[np.arange(64), np.abs(DIRECTIONS).argmax(axis=1)] > 0)


def test_skin_is_brought_nearer_to_the_colour_that_is_wanted() -> None:
    deviations = np.random.default_rng(1).normal(0, 0.5, 64).astype(np.float32)
    before = deviations @ READING[:-1] + READING[-1]
    darker = before - np.array([25, 22, 20], np.float32)
    moved = with_colour(deviations, darker)
    after = moved @ READING[:-1] + READING[-1]
    assert 0.3 < np.linalg.norm(after - darker) / np.linalg.norm(before - darker) < 0.6
    assert 0 < np.linalg.norm(moved - deviations) < 1.5
    assert np.abs(with_colour(deviations, before) - deviations).max() < 1e-3


def test_a_photograph_in_the_dark_moves_a_code_no_further_than_that() -> None:
    deviations = np.zeros(64, np.float32)
    assert np.isclose(np.linalg.norm(with_colour(deviations, np.zeros(3, np.float32))), 1.5, atol=1e-3)


def test_skin_is_looked_at_where_ffhq_has_it() -> None:
    portrait = np.full((256, 256, 3), (20, 90, 20), np.uint8)
    portrait[120:170, 80:176] = (180, 120, 90)
    portrait[150, 90] = (255, 255, 255)
    assert np.array_equal(colour(RGBImage(portrait)), [180, 120, 90])
