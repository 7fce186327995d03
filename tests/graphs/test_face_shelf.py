"""Virtual faces come back from the shelf as they were put there, and the shelf stays small."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.roles import FaceCode, FaceSeed, FaceView
from graphs import face_shelf
from graphs.casting import Look
from graphs.face_shelf import VirtualFace
from graphs.face_view import shrunk
from modiste.image import Embedding, LabelMap, Landmarks, RGBImage
from modiste.settings import settings


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MODISTE_CACHE", str(tmp_path))
    settings.cache_clear()
    yield tmp_path / "faces"
    settings.cache_clear()


def face(seed: int, side: int = 8) -> VirtualFace:
    rng = np.random.default_rng(seed)
    view = FaceView(
        image=RGBImage(rng.integers(0, 256, (side, side, 3), np.uint8)),
        landmarks=Landmarks(rng.random((468, 3), np.float32) * side),
        labels=LabelMap(rng.integers(0, 19, (side, side), np.uint8)),
    )
    look = Look(tone=rng.random(3), yaw=float(seed), embedding=Embedding(rng.random(128, np.float32)))
    return VirtualFace(FaceSeed(seed=seed, truncation=0.6), view, look)


def test_a_face_comes_back_as_it_was(shelf: Path) -> None:
    kept = face(3)
    assert face_shelf.take(kept.seed) is None
    face_shelf.keep(kept)
    found = face_shelf.take(kept.seed)
    assert found is not None
    assert found.seed == kept.seed
    assert found.look.yaw == kept.look.yaw
    for ours, theirs in (
        (found.view.image, kept.view.image),
        (found.view.landmarks, kept.view.landmarks),
        (found.view.labels, kept.view.labels),
        (found.look.tone, kept.look.tone),
        (found.look.embedding, kept.look.embedding),
    ):
        assert np.array_equal(ours, theirs)
    assert face_shelf.take(FaceSeed(seed=3, truncation=0.5)) is None


def test_a_centre_makes_another_face(shelf: Path) -> None:
    plain, around = face(3), face(3)
    seeds = [FaceSeed(seed=3, truncation=0.6, centre=FaceCode(bytes([k]) * 512)) for k in (1, 2)]
    face_shelf.keep(replace(plain, seed=seeds[0]))
    assert face_shelf.take(seeds[0]) is not None
    assert face_shelf.take(seeds[1]) is None and face_shelf.take(around.seed) is None


def test_a_damaged_file_is_no_face(shelf: Path) -> None:
    face_shelf.keep(face(1))
    (path,) = shelf.glob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    assert face_shelf.take(face(1).seed) is None
    assert not path.exists()


def test_those_used_last_stay(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_shelf, "MOST", 3)
    for seed in range(3):
        face_shelf.keep(face(seed))
        for path in shelf.glob("*.npz"):  # file times are coarse: everything so far is a minute old
            os.utime(path, (path.stat().st_atime - 60, path.stat().st_mtime - 60))
    assert face_shelf.take(face(0).seed) is not None
    face_shelf.keep(face(3))
    assert [face_shelf.take(face(seed).seed) is not None for seed in range(4)] == [True, False, True, True]


def test_a_shrunk_view_still_fits_its_picture() -> None:
    side, factor = 64, 4
    labels = np.zeros((side, side), np.uint8)
    labels[16:32, 32:48] = 5
    corners = np.array([[32, 16, 8], [47, 31, -8]], np.float32)
    view = FaceView(
        image=RGBImage(np.repeat(labels[..., None] * 20, 3, axis=2)),
        landmarks=Landmarks(np.concatenate([corners, np.zeros((466, 3), np.float32)])),
        labels=LabelMap(labels),
    )
    small = shrunk(view, side // factor)
    assert small.image.shape == (16, 16, 3)
    assert (small.labels[4:8, 8:12] == 5).all()
    assert np.count_nonzero(small.labels) == 16
    assert np.array_equal(small.image[..., 0] == 100, small.labels == 5)
    # The square's outer pixel centres, at a quarter of the size.
    assert small.landmarks[:2] == pytest.approx(np.array([[7.625, 3.625, 2], [11.375, 7.375, -2]]))
    assert shrunk(view, side) is view
