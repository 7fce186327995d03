import asyncio
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from pydantic import ValidationError

from deployments import open_model
from deployments.mobile_stylegan.model import DIRECTIONS, MEAN_STYLE
from deployments.roles import FaceSeed
from graphs.casting import TRUNCATION, Look, load_cast
from graphs.face_token import LEAST_AROUND, decode
from graphs.local import LocalRunner
from graphs.virtual_faces import (
    NEAR_TRUNCATION,
    VirtualFaces,
    VirtualFacesOptions,
    VirtualFacesRequest,
    drawn,
    same_person,
    strength,
    suited,
)
from modiste.errors import InvalidOption, NoFace, TooAlike
from modiste.image import Embedding, RGBImage
from modiste.image import decode as decode_picture
from weights.recipes.latent_encoder.generator import coordinates


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


def test_absent_truncation_is_the_usual_one() -> None:
    assert strength(VirtualFacesOptions()) == TRUNCATION
    assert strength(VirtualFacesOptions(like="near")) == NEAR_TRUNCATION
    assert strength(VirtualFacesOptions(like="near", truncation=0.4)) == 0.4
    assert strength(VirtualFacesOptions(truncation=0.0)) == 0.0


@pytest.mark.weights
def test_a_token_brings_the_face_back() -> None:
    with LocalRunner() as runner:
        options = VirtualFacesOptions(n=2, truncation=0.652, seed=3)
        outcome = runner.run("virtual_faces", VirtualFacesRequest(options=options))
        assert [face.shape for face in outcome.result.faces] == [(1024, 1024, 3)] * 2
        assert {step.step for step in outcome.report.steps} == {"generate"}
        assert outcome.result.cosines == ()
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
        assert len(outcome.result.cosines) == 1 and 0.5 < outcome.result.cosines[0] < 0.95
        garment = decode_picture((samples / "garments" / "g01_tee_breton_women.jpg").read_bytes())
        with pytest.raises(NoFace, match="expected a photo with a face"):
            runner.run("virtual_faces", VirtualFacesRequest(photo=garment, options=options))


@pytest.mark.weights
def test_faces_near_a_person_are_around_one_centre_and_nobody_real() -> None:
    photo, options = RGBImage(skimage.data.astronaut()), VirtualFacesOptions(n=3, like="near", seed=4)
    with LocalRunner() as runner:
        found = runner.run("virtual_faces", VirtualFacesRequest(photo=photo, options=options)).result
        faces = [decode(token) for token in found.tokens]
        assert len(faces) == len(found.faces) == len(found.cosines) == 3
        assert len({face.centre for face in faces}) == 1 and faces[0].centre is not None
        assert len({face.seed for face in faces}) == 3
        assert {face.truncation for face in faces} == {NEAR_TRUNCATION}
        assert max(found.cosines) < found.limit == same_person() == 0.91
        (again,) = runner.call("FaceGeneration", [faces[2]])
        assert np.array_equal(again, found.faces[2])
        # They lie around where the photo lies, and others do not.
        others = runner.call("FaceGeneration", [FaceSeed(seed=face.seed, truncation=0.7) for face in faces])
        codes = runner.call("LatentEncoding", [*found.faces, *others])
    places = np.array([np.frombuffer(code, np.int8) for code in (faces[0].centre, *codes)])
    alike = np.corrcoef(places * np.linalg.norm(DIRECTIONS, axis=1))[0, 1:]
    assert alike[:3].mean() > 0.4 and alike[:3].mean() > alike[3:].mean() + 0.3


@pytest.mark.weights
def test_who_comes_out_as_the_person_in_the_photo_is_not_offered() -> None:
    """A face of the generator itself, found again exactly: nothing near it is anybody else."""
    with LocalRunner() as runner:
        (photo,) = runner.call("FaceGeneration", [FaceSeed(seed=11, truncation=0.3)])
        options = VirtualFacesOptions(n=1, like="near", truncation=LEAST_AROUND)
        with pytest.raises(TooAlike, match="got 0 out of 3"):
            runner.run("virtual_faces", VirtualFacesRequest(photo=photo, options=options))
        with pytest.raises(InvalidOption, match="expected a photo"):
            runner.run("virtual_faces", VirtualFacesRequest(options=options))
        person_itself = VirtualFacesOptions(n=1, like="near", truncation=0.1)
        with pytest.raises(InvalidOption, match="at least"):
            runner.run("virtual_faces", VirtualFacesRequest(photo=photo, options=person_itself))


@pytest.mark.weights
@pytest.mark.shared
def test_other_photographs_of_one_person_are_over_the_limit(shared: Path) -> None:
    """The same man from the front and turned; the second man is somebody else."""
    names = ("mh02-black", "mh04-green", "mh05-green", "mh10-black", "mj01-orange", "mj06-green", "mh03-black")
    pictures = [decode_picture((shared / "data" / "store_photos" / f"{n}_main.jpg").read_bytes()) for n in names]
    with LocalRunner() as runner:
        graph = VirtualFaces(runner.calls(VirtualFaces))
        who = np.stack([asyncio.run(graph.person(picture)).identity for picture in pictures])
    cosines = who @ who.T
    assert cosines[:-1, :-1].min() > same_person() + 0.01
    assert cosines[-1, :-1].max() < same_person() - 0.01


@pytest.mark.weights
def test_the_encoder_finds_generated_faces_again() -> None:
    """Faces it never saw, at half the size and compressed, as photographs are."""
    seeds = [FaceSeed(seed=3_000_000 + number, truncation=0.5) for number in range(8)]
    with LocalRunner() as runner:
        faces = runner.call("FaceGeneration", seeds)
        small = [cv2.resize(face, (512, 512), interpolation=cv2.INTER_AREA) for face in faces]
        jpegs = [cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 80])[1] for face in small]
        seen = [RGBImage(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)) for jpeg in jpegs]
        codes = [np.frombuffer(code, np.int8) / 32 for code in runner.call("LatentEncoding", seen)]
        generator = open_model("mobile_stylegan")
        true = [coordinates(generator.preprocess(seed)["style"], MEAN_STYLE, DIRECTIONS)[0] for seed in seeds]
        flipped = runner.call("LatentEncoding", [RGBImage(np.ascontiguousarray(seen[0][:, ::-1]))])
    scale = np.linalg.norm(DIRECTIONS, axis=1)
    alike = np.corrcoef(np.array(codes) * scale, np.array(true) * scale)[:8, 8:]
    assert np.diag(alike).min() > 0.7
    assert (np.argmax(alike, axis=1) == np.arange(8)).all()
    assert flipped[0] != codes[0].tobytes()
