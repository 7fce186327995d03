"""The cast: a table that fits its generator, and offers that suit the person."""

from pathlib import Path

import numpy as np
import pytest

from deployments.roles import FaceSeed
from graphs import casting
from graphs.anonymize import AnonymizeRequest
from graphs.casting import OFFERED, Look, draw, load_cast, rank, yaw
from graphs.face_exchange import FaceExchange
from graphs.face_token import decode as from_token
from graphs.local import LocalRunner
from modiste.errors import CastUnavailable
from modiste.face_mesh import neutral
from modiste.image import Embedding, Landmarks, decode
from modiste.settings import settings


def someone(index: int) -> Look:
    cast = load_cast()
    return Look(
        tone=cast.tones[index].astype(np.float64),
        yaw=float(cast.yaws[index]),
        embedding=Embedding(cast.embeddings[index]),
    )


def test_the_table_is_whole() -> None:
    cast = load_cast()
    assert len(cast.seeds) == len(cast.tones) == len(cast.yaws) == len(cast.embeddings) >= 100
    assert np.allclose(np.linalg.norm(cast.embeddings, axis=1), 1, atol=2e-3)
    assert np.isfinite(cast.tones).all()


def test_the_shipped_table_is_that_of_the_models_in_use() -> None:
    """Fails where their weights change and nobody makes the table anew."""
    assert casting.table_file() == Path(casting.__file__).with_name("cast.npz")


def test_other_models_need_a_table_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = load_cast()
    monkeypatch.setenv("MODISTE_CACHE", str(tmp_path))
    monkeypatch.setattr(casting, "generator", lambda: b"\1\2\3")
    settings.cache_clear()
    try:
        file = casting.table_file()
        assert file.parent == tmp_path / "casts"
        with pytest.raises(CastUnavailable, match=r"python -m graphs\.cast_table"):
            load_cast()
        file.parent.mkdir()
        np.savez(file, seeds=shipped.seeds, tones=shipped.tones, yaws=shipped.yaws, embeddings=shipped.embeddings)
        cast = load_cast()
        assert len(cast.seeds) == len(shipped.seeds)
        assert not cast.sexes.any()  # the lists of seeds are about the shipped table
        assert cast.sex_of(Embedding(cast.embeddings[0])) == 0
        assert len(rank(someone(0), cast)) == OFFERED
    finally:
        settings.cache_clear()


def test_nobody_is_offered_as_their_own_double_and_tones_are_near() -> None:
    cast = load_cast()
    for index in range(0, len(cast.seeds), 7):
        offered = rank(someone(index), cast)
        assert len(set(offered)) == OFFERED
        assert FaceSeed(seed=int(cast.seeds[index]), truncation=0.6) not in offered
        rows = np.flatnonzero(np.isin(cast.seeds, [face.seed for face in offered]))
        values = np.abs(cast.tones[rows, 2] - cast.tones[index, 2])
        assert np.median(values) <= np.median(np.abs(cast.tones[:, 2] - cast.tones[index, 2]))


def test_offers_look_like_the_same_sex() -> None:
    cast = load_cast()
    clear = np.flatnonzero(cast.sexes)
    right = np.array([cast.sex_of(Embedding(cast.embeddings[i])) == cast.sexes[i] for i in clear])
    assert right.mean() > 0.9
    for index in clear[right]:
        rows = np.flatnonzero(np.isin(cast.seeds, [face.seed for face in rank(someone(int(index)), cast)]))
        assert (cast.sexes[rows] * cast.sexes[index] >= 0).all()


@pytest.mark.weights
@pytest.mark.parametrize(
    ("photo", "sex"),
    [
        ("portraits/astronaut.jpg", 1),
        ("persons/ana.jpg", 1),
        ("persons/nia.jpg", 1),
        ("persons/ken.jpg", -1),
        ("persons/leo.jpg", -1),
    ],
)
def test_people_in_photos_are_offered_faces_of_their_apparent_sex(samples: Path, photo: str, sex: int) -> None:
    cast = load_cast()
    with LocalRunner() as runner:
        found = runner.run("anonymize", AnonymizeRequest(image=decode((samples / photo).read_bytes()))).result
        offered = [from_token(token).seed for token in found.faces[0].offered]
    assert (cast.sexes[np.isin(cast.seeds, offered)] * sex >= 0).all()


def test_the_draw_repeats_itself_and_avoids_who_is_taken() -> None:
    offered = rank(someone(3), load_cast())
    assert draw(offered, 5, 0, set()) == draw(offered, 5, 0, set())
    assert draw(offered, 5, 1, set(offered[:8])) == offered[8]
    assert len({draw(offered, seed, 0, set()) for seed in range(20)}) == 3


@pytest.mark.parametrize("degrees", [-40, 0, 25])
def test_yaw_of_a_turned_head(degrees: float) -> None:
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    assert yaw(Landmarks((neutral() @ rotation.T).astype(np.float32))) == pytest.approx(degrees, abs=0.5)


class _Looks(FaceExchange[FaceSeed, Look]):
    async def __call__(self, request: FaceSeed) -> Look:
        return (await self.virtual_face(request)).look


@pytest.mark.weights
async def test_the_table_describes_what_the_generator_makes() -> None:
    cast = load_cast()
    with LocalRunner() as runner:
        look = await _Looks(runner.calls(_Looks))(FaceSeed(seed=int(cast.seeds[11]), truncation=0.6))
    assert look.embedding @ cast.embeddings[11] > 0.995
    assert np.allclose(look.tone, cast.tones[11], atol=[4, 0.04, 0.04])
    assert abs(look.yaw - cast.yaws[11]) < 3
