import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.roles import FaceCode, FaceSeed
from graphs import face_token
from modiste.errors import InvalidOption, UnknownFace


@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_round_trip(seed: int, steps: int) -> None:
    face = FaceSeed(seed=seed, truncation=steps / 200)
    token = face_token.encode(face)
    assert len(token) == 16
    assert token[0].isalpha()
    assert face_token.decode(token) == face


def test_truncation_is_rounded_once_and_for_all() -> None:
    token = face_token.encode(FaceSeed(seed=7, truncation=0.6512))
    face = face_token.decode(token)
    assert face.truncation == 0.65
    assert face_token.encode(face) == token


@given(st.integers(0, 2**32 - 1), st.integers(40, 200), st.binary(min_size=1, max_size=512))
def test_a_centre_travels_along(seed: int, steps: int, centre: bytes) -> None:
    face = FaceSeed(seed=seed, truncation=steps / 200, centre=FaceCode(centre))
    token = face_token.encode(face)
    assert len(token) == -(-(12 + len(centre)) * 4 // 3)
    assert token[0].isalpha() and "=" not in token
    assert face_token.decode(token) == face
    assert token != face_token.encode(FaceSeed(seed=seed, truncation=steps / 200))


def test_a_token_of_version_1_stays_what_it_was() -> None:
    """Handed out by earlier releases; the letters in the middle name the generator."""
    token = face_token.encode(FaceSeed(seed=26, truncation=0.6))
    packed = base64.urlsafe_b64decode(token)
    assert packed[0] == 1 and packed[4:9] == bytes([0, 0, 0, 26, 120])
    assert packed[9:] == hashlib.sha256(b"modiste face" + packed[:9]).digest()[:3]
    assert face_token.decode(token).centre is None


@pytest.mark.parametrize("place", range(102))
def test_a_changed_letter_of_a_centre_is_noticed(place: int) -> None:
    token = face_token.encode(FaceSeed(seed=5, truncation=0.3, centre=FaceCode(bytes(range(64)))))
    assert len(token) == 102
    for letter in "ABQgwz09-_":  # the last letter has bits that mean nothing
        changed = token[:place] + letter + token[place + 1 :]
        if changed != token:
            with pytest.raises(UnknownFace):
                face_token.decode(changed)


def test_a_centre_itself_is_nobodys_face(monkeypatch: pytest.MonkeyPatch) -> None:
    at_centre = FaceSeed(seed=5, truncation=0.1, centre=FaceCode(bytes(range(64))))
    with pytest.raises(InvalidOption, match=r"at least 0\.2"):
        face_token.encode(at_centre)
    with monkeypatch.context() as forging:
        forging.setattr(face_token, "LEAST_AROUND", 0.0)
        token = face_token.encode(at_centre)
    with pytest.raises(UnknownFace, match=r"at least 0\.2"):
        face_token.decode(token)


def test_an_empty_centre_is_refused() -> None:
    with pytest.raises(InvalidOption, match="centre"):
        face_token.encode(FaceSeed(seed=5, truncation=0.3, centre=FaceCode(b"")))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "A",
        "AAAAAAAAAAAAAAAA",
        "not a token at all",
        "AAAA+/AAAAAAAAAA",
        "ü" * 16,
        "A" * 100_000,
        "AbCdEfGhIjKlMnO=",
    ],
)
def test_nonsense_is_refused(token: str) -> None:
    with pytest.raises(UnknownFace, match="16 letters"):
        face_token.decode(token)


@given(st.integers(0, 15), st.sampled_from("ABCxyz019-_"))
def test_a_changed_letter_is_noticed(place: int, letter: str) -> None:
    token = face_token.encode(FaceSeed(seed=123456789, truncation=0.7))
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        with pytest.raises(UnknownFace):
            face_token.decode(changed)


def test_other_generators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(face_token, "generator", lambda: b"\1\2\3")
        foreign = face_token.encode(FaceSeed(seed=1, truncation=0.5))
    with pytest.raises(UnknownFace, match="010203"):
        face_token.decode(foreign)


def test_later_versions_are_refused() -> None:
    body = bytes([face_token.CENTRED + 1]) + base64.urlsafe_b64decode("AAAAAAAAAAA=")
    token = base64.urlsafe_b64encode(body + face_token._checksum(body)).decode()
    with pytest.raises(UnknownFace, match="version 3"):
        face_token.decode(token)


@pytest.mark.parametrize(("seed", "truncation"), [(-1, 0.5), (2**32, 0.5), (0, 1.01), (0, -0.1)])
def test_out_of_range_is_refused(seed: int, truncation: float) -> None:
    with pytest.raises(InvalidOption, match="expected a seed"):
        face_token.encode(FaceSeed(seed=seed, truncation=truncation))
