from pathlib import Path

import numpy as np
import pytest
import skimage.data
from pydantic import ValidationError

from deployments.roles import FaceSeed
from graphs.casting import Look, load_cast
from graphs.face_token import decode
from graphs.local import LocalRunner
from graphs.virtual_faces import VirtualFacesOptions, VirtualFacesRequest, drawn, suited
from modiste.errors import NoFace
from modiste.image import Embedding, RGBImage
from modiste.image import decode as decode_picture


def member(row: int) -> Look:
    cast = load_cast()
    return Look(
        tone=cast.tones[row].astype(np.float64), yaw=float(cast.yaws[row]), embedding=Embedding(cast.embeddings[row])
    )


def test_drawn_faces_depend_on_the_seed_alone() -> None:
    assert drawn(5, 4) == drawn(5, 9)[:4]
    assert len(set(drawn(5, 16)) | set(drawn(6, 16))) == 32
    assert all(0 <= seed < 2**32 for seed in drawn(2**32 - 1, 16))


def test_suited_faces_come_nearest_first_and_vary_with_the_seed() -> None:
    person = member(17)
    everyone = suited(person, 0, 16)
    assert len(set(everyone)) == 16
    assert suited(person, 0, 16) == everyone
    assert suited(person, 1, 16) != everyone
    cast = load_cast()
    tones = {int(seed): tone for seed, tone in zip(cast.seeds, cast.tones, strict=True)}
    near = np.mean([abs(tones[seed][2] - person.tone[2]) for seed in everyone])
    assert near < np.abs(cast.tones[:, 2] - person.tone[2]).mean()


@pytest.mark.parametrize("option", [{"n": 0}, {"n": 17}, {"truncation": 1.1}, {"seed": -1}, {"size": 3}])
def test_options_out_of_range_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        VirtualFacesOptions.model_validate(option)


@pytest.mark.weights
def test_a_token_brings_the_face_back() -> None:
    with LocalRunner() as runner:
        options = VirtualFacesOptions(n=2, truncation=0.652, seed=3)
        outcome = runner.run("virtual_faces", VirtualFacesRequest(options=options))
        assert [face.shape for face in outcome.result.faces] == [(1024, 1024, 3)] * 2
        assert {step.step for step in outcome.report.steps} == {"generate"}
        face = decode(outcome.result.tokens[1])
        assert face == FaceSeed(seed=drawn(3, 2)[1], truncation=0.65)
        (again,) = runner.call("FaceGeneration", [face])
        assert np.array_equal(again, outcome.result.faces[1])


@pytest.mark.weights
def test_faces_for_a_photo(samples: Path) -> None:
    with LocalRunner() as runner:
        photo, options = RGBImage(skimage.data.astronaut()), VirtualFacesOptions(n=1)
        outcome = runner.run("virtual_faces", VirtualFacesRequest(photo=photo, options=options))
        assert decode(outcome.result.tokens[0]).seed in load_cast().seeds
        garment = decode_picture((samples / "garments" / "g01_tee_breton_women.jpg").read_bytes())
        with pytest.raises(NoFace, match="expected a photo with a face"):
            runner.run("virtual_faces", VirtualFacesRequest(photo=garment, options=options))
