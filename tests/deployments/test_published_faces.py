"""What stands around the published face networks: priors and boxes, part masks, alignment, exchange masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from deployments.copart import exchange
from deployments.faceshifter.align import SIDE, TEMPLATES, alignment
from deployments.psgan import parts
from deployments.retinaface import decode
from modiste.geometry import transform
from modiste.image import LabelMap, RGBImage
from modiste.labels import FacePart

GOLDEN = Path("parity/face/retinaface_mnet025.golden.npz")


@pytest.mark.shared
def test_priors_boxes_and_landmarks_are_the_references(shared: Path) -> None:
    golden = np.load(shared / GOLDEN)
    loc, landmarks = (golden[name].reshape(2, 1154, -1)[0] * np.float32(0.1) for name in ("loc", "landms"))
    priors = decode.priors(136, 200)
    assert np.abs(priors - golden["priors"].reshape(-1, 4)).max() < 1e-6
    assert np.abs(decode.boxes(loc, priors) - golden["boxes0"].reshape(-1, 4)).max() < 1e-5
    assert np.abs(decode.landmarks(landmarks, priors) - golden["landms_dec0"].reshape(-1, 10)).max() < 1e-5


def test_one_face_among_many_priors_is_found_where_it_is() -> None:
    priors = decode.priors(320, 480)
    face = np.array([200, 120, 264, 184], np.float32)
    overlap = np.minimum(face[2:], (priors[:, :2] + priors[:, 2:] / 2) * (480, 320)) - np.maximum(
        face[:2], (priors[:, :2] - priors[:, 2:] / 2) * (480, 320)
    )
    near = (overlap.clip(0).prod(1) / (64 * 64) > 0.5) & (priors[:, 2] * 480 < 65)
    assert near.sum() > 1
    centre, size = (face[:2] + face[2:]) / 2 / (480, 320), (face[2:] - face[:2]) / (480, 320)
    loc = np.concatenate((
        (centre - priors[:, :2]) / (0.1 * priors[:, 2:]), np.log(size / priors[:, 2:]) / 0.2
    ), 1).astype(np.float32)  # fmt: skip
    logits = np.stack((np.zeros(len(priors)), np.where(near, 4.0, -9.0)), 1).astype(np.float32)
    points = np.tile((centre - priors[:, :2]) / (0.1 * priors[:, 2:]), 5).astype(np.float32)
    found = decode.faces(loc, logits, points, 320, 480, sure=0.6)
    assert len(found.boxes) == 1
    assert np.abs(found.boxes[0] - face).max() < 0.01
    assert np.abs(found.points[0] - (232, 152)).max() < 0.01


@pytest.mark.parametrize("template", range(5))
def test_a_turned_head_lies_on_its_own_template(template: int) -> None:
    turned = np.array([[0.9, -0.4, 300], [0.4, 0.9, 80]])
    points = transform(TEMPLATES[template] * 2, turned)
    assert np.abs(transform(points, alignment(points)) - TEMPLATES[template] * (SIDE / 112)).max() < 1e-3


def test_eyes_are_skin_about_the_landmarks_and_nowhere_else() -> None:
    labels = np.full((256, 256), FacePart.SKIN, np.uint8)
    labels[180:200, 100:150] = FacePart.UPPER_LIP
    landmarks = np.full((68, 2), 128, np.float32)
    landmarks[36:42], landmarks[42:48] = (100, 80), (100, 170)
    lips, skin, eyes = parts.masks(LabelMap(labels), landmarks)
    assert lips.sum() == 20 * 50
    assert eyes.sum() == 2 * 33**2
    assert skin.sum() == 256**2 - lips.sum() - eyes.sum()


def test_offsets_point_from_each_landmark_and_have_length_one() -> None:
    masks = np.zeros((2, 256, 256), np.float32)
    masks[0, 40:80, 60:100] = 1
    landmarks = np.round(np.random.default_rng(0).random((68, 2)) * 200).astype(np.float32)
    found = parts.offsets(landmarks, masks)
    assert found.shape == (2, 136, 64, 64)
    assert np.allclose(np.linalg.norm(found[0, :, 12, 20]), 1)
    assert np.allclose(found[0, 3, 12, 20] / found[0, 71, 12, 20], (48 - landmarks[3, 0]) / (80 - landmarks[3, 1]))
    assert not found[1].any()


def test_detail_of_the_source_comes_back() -> None:
    source = np.random.default_rng(1).integers(60, 190, (512, 400, 3), np.uint8)
    source[:2], source[2:4] = 0, 255  # so that the stretch to black and white changes nothing
    small = cv2.resize(source, (256, 256)).astype(np.float32)
    found = parts.detailed(small, RGBImage(source))
    assert found.shape == source.shape
    assert np.abs(found.astype(int) - source).max() <= 1


@pytest.mark.parametrize("hard", [False, True])
def test_exchanged_is_what_the_chosen_parts_hold(hard: bool) -> None:
    segments = np.zeros((4, 2, 2), np.float32)
    segments[:, 0, 0], segments[:, 1, 1] = (0.1, 0.3, 0.2, 0.4), (0.0, 0.1, 0.9, 0.0)
    expected = [[1, 0], [0, 0]] if hard else [[0.7, 0], [0, 0.1]]
    assert np.allclose(exchange.mask(segments, (1, 3), hard=hard), expected)


def test_a_shrunk_mask_keeps_its_place_and_its_level() -> None:
    mask = np.zeros((512, 512), np.float32)
    mask[128:384, 64:256] = 1
    small = exchange.shrunk(mask, 8)
    assert small.shape == (64, 64)
    assert np.allclose(small[24:40, 14:26], 1, atol=1e-4)
    assert not small[:, 40:].any()
    rows, columns = np.nonzero(small > 0.5)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 47, 8, 31)
