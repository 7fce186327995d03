"""The five flows with the models of the paper edition: real code and engines, small networks, deterministic weights.

What such networks see is noise, so the models that say whether there is a person at all, and where a face's parts are,
are the default edition's. What is checked is that everything fits: types, sizes, ranges, masks, what stays untouched.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from reduced import REDUCED, open_reduced

from api.catalogue import import_feed
from deployments import EDITIONS, model_for
from graphs import casting
from graphs.anonymize import AnonymizeOptions, AnonymizeRequest, AnonymizeResult
from graphs.anonymize_video import AnonymizeVideoRequest, AnonymizeVideoResult
from graphs.base import VideoFile
from graphs.cast_table import write_table
from graphs.catalogue_index import CatalogueIndex
from graphs.id_photo import IdPhotoOptions, IdPhotoRequest, IdPhotoResult
from graphs.local import LocalRunner
from graphs.sketch_search import SketchSearchOptions, SketchSearchRequest, SketchSearchResult
from graphs.try_on import TryOnOptions, TryOnRequest, TryOnResult
from graphs.virtual_faces import VirtualFacesOptions, VirtualFacesRequest, VirtualFacesResult
from graphs.virtual_model import VirtualModelOptions, VirtualModelRequest, VirtualModelResult
from modiste.image import RGBImage, decode
from modiste.settings import settings
from weights import manifest

pytestmark = [pytest.mark.torch, pytest.mark.weights]

SEEING = ("FaceDetection", "SmallFaceDetection", "FaceParsing", "PoseEstimation", "GarmentMask")
"""Roles whose answers decide whether a flow goes on."""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRunner]:
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODISTE_EDITION", "paper")
        environment.setenv("MODISTE_MODELS", json.dumps({role: EDITIONS["default"][role] for role in SEEING}))
        environment.setenv("MODISTE_STATE", str(folder / "state"))
        environment.setattr(manifest, "_pins", lambda: folder / "pins.json")
        settings.cache_clear()
        pin_all()
        environment.setattr(casting, "table_file", lambda: folder / "cast.npz")
        with LocalRunner(partial(open_reduced, folder=folder)) as opened:
            write_table(opened, 12, folder / "cast.npz")
            yield opened
    settings.cache_clear()
    manifest.load_manifest.cache_clear()


def pin_all() -> None:
    """As if every official checkpoint had arrived."""
    for of in manifest.listed_manifest().values():
        if unlisted := [name for name, file in of.files.items() if file.sha256 is None]:
            manifest.pin(of, {name: (hashlib.sha256(f"{of.id}/{name}".encode()).hexdigest(), 1) for name in unlisted})


def test_the_paper_edition_is_what_plays(runner: LocalRunner) -> None:
    played = {role: model_for(role) for role in EDITIONS["paper"] if role not in SEEING}
    assert played == {role: model for role, model in EDITIONS["paper"].items() if role not in SEEING}
    assert set(played.values()) - set(REDUCED) == {"face_mesh"}


def picture(samples: Path, name: str) -> RGBImage:
    return decode((samples / name).read_bytes())


def faces(runner: LocalRunner, **options: Any) -> VirtualFacesResult:
    made = runner.run("virtual_faces", VirtualFacesRequest(options=VirtualFacesOptions(**options))).result
    assert isinstance(made, VirtualFacesResult)
    return made


def test_virtual_faces_come_back_from_their_tokens(runner: LocalRunner) -> None:
    first, again = faces(runner, n=3, seed=4), faces(runner, n=3, seed=4)
    assert first.tokens == again.tokens and len(set(first.tokens)) == 3
    assert all(np.array_equal(a, b) for a, b in zip(first.faces, again.faces, strict=True))
    assert not np.array_equal(first.faces[0], first.faces[1])
    assert all(face.dtype == np.uint8 and face.shape[0] == face.shape[1] for face in first.faces)


def test_virtual_model_changes_the_face_alone(runner: LocalRunner, samples: Path) -> None:
    photo = picture(samples, "portraits/astronaut.jpg")
    (token,) = faces(runner, n=1, seed=4).tokens
    request = VirtualModelRequest(photo=photo, options=VirtualModelOptions(face=token, restore="always"))
    result = runner.run("virtual_model", request).result
    assert isinstance(result, VirtualModelResult)
    assert result.image.shape == photo.shape
    changed = (result.image != photo).any(axis=2)
    assert 0.005 < changed.mean() < 0.25
    rows, columns = np.nonzero(changed)
    assert 150 < columns.mean() < 300 and 30 < rows.mean() < 230


def test_virtual_model_wears_the_reference_make_up(runner: LocalRunner, samples: Path) -> None:
    photo, reference = picture(samples, "portraits/astronaut.jpg"), picture(samples, "store/store_dress_terracotta.jpg")
    (token,) = faces(runner, n=1, seed=4).tokens
    plain, made_up = (
        runner.run(
            "virtual_model", VirtualModelRequest(photo=photo, makeup=worn, options=VirtualModelOptions(face=token))
        ).result
        for worn in (None, reference)
    )
    assert (plain.image != made_up.image).any()


def test_try_on_dresses_the_person_and_leaves_the_rest(runner: LocalRunner, samples: Path) -> None:
    photo = picture(samples, "persons/ana.jpg")
    request = TryOnRequest(
        person=photo, garment=picture(samples, "garments/g03_tee_coral_women.jpg"), options=TryOnOptions()
    )
    result, again = (runner.run("try_on", request).result for _ in range(2))
    assert isinstance(result, TryOnResult)
    assert result.category == "upper"
    assert result.image.shape == photo.shape and result.image.dtype == np.uint8
    assert np.array_equal(result.image, again.image)
    changed = (result.image != photo).any(axis=2)
    assert 0 < changed.mean() < 0.9


def test_id_photo_puts_on_a_suit_and_keeps_the_face(runner: LocalRunner, samples: Path) -> None:
    portrait = picture(samples, "portraits/astronaut.jpg")
    black, beige = (
        runner.run("id_photo", IdPhotoRequest(portrait=portrait, options=IdPhotoOptions(suit=suit))).result
        for suit in ("f_suit_black", "f_suit_beige")
    )
    assert isinstance(black, IdPhotoResult)
    assert black.photo.shape == (531, 413, 3)
    differs = (black.photo != beige.photo).any(axis=2)
    assert differs[400:].any(), "the suit does not count"
    assert differs[150:220, 170:240].mean() < 0.02, "the face depends on the suit"


def test_sketch_search_finds_articles(runner: LocalRunner, samples: Path) -> None:
    tally = import_feed(samples / "catalogue" / "feed.csv", CatalogueIndex(), partial(runner.call, "FashionEmbedding"))
    assert tally.written == 144
    request = SketchSearchRequest(
        sketch=picture(samples, "sketches/tshirt_red.png"), options=SketchSearchOptions(category="top", k=4)
    )
    result = runner.run("sketch_search", request).result
    assert isinstance(result, SketchSearchResult)
    assert result.garment.shape[2] == 3 and result.coloured
    assert len(result.items) == 4
    assert [item.score for item in result.items] == sorted((item.score for item in result.items), reverse=True)


def test_edges_of_a_garment(runner: LocalRunner, samples: Path) -> None:
    garment = picture(samples, "garments/g03_tee_coral_women.jpg")
    (edges,) = runner.call("EdgeDetection", [garment])
    assert edges.shape == garment.shape[:2] and set(np.unique(edges)) <= {0, 255}


def test_anonymize_replaces_faces(runner: LocalRunner, samples: Path) -> None:
    photo = picture(samples, "portraits/astronaut.jpg")
    tokens = faces(runner, n=1, seed=4).tokens
    result = runner.run("anonymize", AnonymizeRequest(image=photo, options=AnonymizeOptions(tokens=tokens))).result
    assert isinstance(result, AnonymizeResult)
    assert [face.how for face in result.faces] == ["swapped"]
    changed = (result.image != photo).any(axis=2)
    assert 0.005 < changed.mean() < 0.25


def test_anonymize_video_replaces_the_face_in_every_frame(runner: LocalRunner, samples: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    shorten(samples / "video" / "head_turn_one.mp4", clip, frames=6)
    result = runner.run("anonymize_video", AnonymizeVideoRequest(video=VideoFile(clip))).result
    assert isinstance(result, AnonymizeVideoResult)
    assert result.frames == 6
    (track,) = result.tracks
    assert track.swapped == 6
    before, after = frames_of(clip), frames_of(result.video)
    for old, new in zip(before, after, strict=True):
        changed = (np.abs(old.astype(int) - new) > 8).any(axis=2)
        assert 0.005 < changed.mean() < 0.3


def shorten(source: Path, target: Path, frames: int) -> None:
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        pictures = frames_of(source)[:frames]
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for shown in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
        out.mux(stream.encode())


def frames_of(path: Path) -> list[RGBImage]:
    with av.open(str(path)) as clip:
        return [RGBImage(frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]
