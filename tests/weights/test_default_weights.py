"""The real default weights: every one opens, and the converted ones see in a picture what is there.

The pictures are faces made by the generator of the default set, so nothing else is needed.
"""

from functools import lru_cache

import cv2
import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from weights.manifest import select
from weights.store import artefact, fetch, verify

pytestmark = pytest.mark.weights

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]


def open_network(identifier: str, part: str = "", shape: list[int] | None = None) -> openvino.CompiledModel:
    core = openvino.Core()
    network = core.read_model(artefact(identifier, part))
    if shape:
        network.reshape(shape)
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(network, "CPU", options)


@lru_cache(maxsize=1)
def faces() -> tuple[Picture, ...]:
    """Two faces, [512, 512, 3] RGB."""
    mapping, synthesis = (
        open_network("mobile_stylegan", "mapping"),
        open_network("mobile_stylegan", "synthesis"),
    )
    z = np.random.default_rng(5).normal(size=(64, 1, 512)).astype(np.float32)
    styles = np.stack([np.asarray(mapping([one])[0]) for one in z])
    mean = styles.mean(0)
    pictures = []
    for style in styles[:2]:
        made = np.asarray(synthesis([mean + 0.6 * (style - mean)])[0])[0].transpose(1, 2, 0)
        picture = np.clip(made * 127.5 + 127.5, 0, 255).astype(np.uint8)
        pictures.append(cv2.resize(picture, (512, 512), interpolation=cv2.INTER_AREA))
    return tuple(pictures)


@pytest.mark.parametrize(("identifier", "part"), [(of.id, part) for of in select(()) for part in of.parts or [""]])
def test_every_network_opens(identifier: str, part: str) -> None:
    opened = artefact(identifier, part)
    network = openvino.Core().read_model(opened)
    assert network.inputs
    assert network.outputs


def test_everything_in_the_store_is_as_listed() -> None:
    fetch()
    assert verify() == []


def test_face_parsing_finds_the_regions() -> None:
    parse = open_network("bisenet_v2", shape=[2, 3, 448, 448])
    small = [cv2.resize(face, (448, 448), interpolation=cv2.INTER_AREA) for face in faces()]
    batch = np.stack(small).astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
    logits = np.asarray(parse([batch])[0])
    assert logits.shape == (2, 19, 448, 448)
    for labels in logits.argmax(1):
        # The generator puts the eyes at 0.48 of the height, the mouth below 0.6, the hair on top.
        skin, nose, hair = (labels == 1), (labels == 10), (labels == 17)
        eyes, lips = np.isin(labels, (4, 5, 6)), np.isin(labels, (11, 12, 13))
        assert 0.1 < skin.mean() < 0.6
        assert hair.mean() > 0.03
        heights = [np.nonzero(region)[0].mean() / 448 for region in (hair, eyes, nose, lips)]
        assert heights == sorted(heights)
        assert abs(heights[1] - 0.48) < 0.06
        assert abs(np.nonzero(nose)[1].mean() / 448 - 0.5) < 0.06


def _identity(embed: openvino.CompiledModel, face: Picture) -> Array:
    """The generator's faces are aligned: this square is what the network's own alignment would cut out."""
    chip = cv2.resize(face[130:430, 106:406], (150, 150), interpolation=cv2.INTER_AREA).astype(np.float32)
    x = (chip - np.array([122.782, 117.001, 104.298], np.float32)) / 256
    found: Array = embed([x.transpose(2, 0, 1)[None]])[0][0]
    return found


def test_identity_keeps_one_person_together_and_two_apart() -> None:
    embed = open_network("dlib_resnet", shape=[1, 3, 150, 150])
    first, second = faces()
    shifted = np.roll(first, (4, -5), (0, 1))
    worse = cv2.GaussianBlur(shifted, (0, 0), 1.5).astype(np.float32) * 0.8 + 15
    original, same, mirrored, other = (
        _identity(embed, face) for face in (first, worse.astype(np.uint8), np.fliplr(first), second)
    )
    assert np.linalg.norm(original - same) < 0.35
    assert np.linalg.norm(original - mirrored) < 0.35
    assert np.linalg.norm(original - other) > 0.6


def test_fashion_embedding_knows_a_mirrored_picture() -> None:
    embed = open_network("efficientnet_lite0", shape=[1, 3, 224, 224])

    def vector(picture: Picture) -> Array:
        small = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32)
        found: Array = embed([((small - 127) / 128).transpose(2, 0, 1)[None]])[0][0]
        unit: Array = found / np.linalg.norm(found)
        return unit

    first, second = faces()
    pattern = np.tile(np.indices((64, 64)).sum(0)[..., None] // 8 % 2 * 200, (8, 8, 3)).astype(np.uint8)
    assert vector(first) @ vector(np.fliplr(first)) > 0.9
    assert vector(first) @ vector(pattern) < 0.4
    assert vector(first) @ vector(second) < vector(first) @ vector(np.fliplr(first))


def test_restoration_brings_detail_back() -> None:
    restore = open_network("real_esrgan")
    sharp = faces()[0][200:328, 160:288]
    small = cv2.resize(sharp, (32, 32), interpolation=cv2.INTER_AREA)
    x = small.astype(np.float32).transpose(2, 0, 1)[None] / 255
    restored = np.asarray(restore([x])[0])
    assert restored.shape == (1, 3, 128, 128)
    picture = np.clip(restored[0].transpose(1, 2, 0) * 255, 0, 255)
    assert np.abs(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA) - small).mean() < 6
    enlarged = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
    assert (
        cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F).std()
        > 1.5 * cv2.Laplacian(enlarged.astype(np.float32), cv2.CV_32F).std()
    )


SIZES = {"bisenet_v2": 64, "dlib_resnet": 150, "efficientnet_lite0": 224, "real_esrgan": 16}


def test_batches_equal_singles() -> None:
    rng = np.random.default_rng(0)
    for identifier, size in SIZES.items():
        x = rng.uniform(-0.5, 0.5, (3, 3, size, size)).astype(np.float32)
        together = np.asarray(open_network(identifier, shape=[3, 3, size, size])([x])[0])
        single = open_network(identifier, shape=[1, 3, size, size])
        apart = np.concatenate([np.array(single([one[None]])[0]) for one in x])
        np.testing.assert_allclose(together, apart, atol=1e-3 * np.abs(apart).max())
