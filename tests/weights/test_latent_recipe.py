"""What the latent encoder is trained on, and its ONNX graph."""

from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest

from weights.convert.latent_encoder import convert
from weights.recipes.latent_encoder.generator import GENERATOR, LATENT, TRUNCATIONS, coordinates, styles, truncation

MEAN = np.load(GENERATOR / "mean_style.npy")
DIRECTIONS = np.load(GENERATOR / "directions.npy").astype(np.float32)


def test_a_number_says_what_its_picture_is_of() -> None:
    strengths = [truncation(number) for number in range(300)]
    assert TRUNCATIONS[0] <= min(strengths) < 0.55 and 0.95 < max(strengths) <= TRUNCATIONS[1]
    plain = {number: styles(range(number, number + 1), MEAN, lambda z: z) for number in (4, 5)}
    assert np.array_equal(styles(range(4, 6), MEAN, lambda z: z), np.concatenate([plain[4], plain[5]]))
    assert plain[4].shape == (1, LATENT) and not np.array_equal(plain[4], plain[5])


def test_coordinates_are_deviations_along_the_directions() -> None:
    deviations = np.random.default_rng(0).standard_normal((3, len(DIRECTIONS))).astype(np.float32)
    assert np.abs(coordinates(MEAN + deviations @ DIRECTIONS, MEAN, DIRECTIONS) - deviations).max() < 0.02
    assert np.abs(coordinates(MEAN, MEAN, DIRECTIONS)).max() == 0


@pytest.mark.torch
def test_spoilt_pictures_are_the_same_face_and_follow_from_the_seed() -> None:
    from weights.recipes.latent_encoder.dataset import planes, spoilt

    x, y = np.meshgrid(np.arange(256), np.arange(256))
    picture = np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8)
    many = [spoilt(picture, np.random.default_rng((0, number))) for number in range(40)]
    assert np.array_equal(many[7], spoilt(picture, np.random.default_rng((0, 7))))
    changes = [float(np.abs(one.astype(float) - picture).mean()) for one in many]
    assert 2 < min(changes) < max(changes) < 60
    mean = np.mean(many, axis=0)
    assert np.abs(cv2.GaussianBlur(mean, (0, 0), 8) - cv2.GaussianBlur(picture.astype(float), (0, 0), 8)).mean() < 8
    assert planes(picture).shape == (3, 256, 256) and abs(planes(picture)).max() <= 1


@pytest.mark.torch
def test_the_onnx_graph_computes_what_was_trained(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from weights.recipes.latent_encoder.network import SIDE, Encoder

    torch.manual_seed(0)
    encoder = Encoder().eval()
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    convert({"weights": tmp_path / "encoder.safetensors"}, tmp_path / "encoder.onnx")
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
    compiled = openvino.Core().compile_model(
        tmp_path / "encoder.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    with torch.no_grad():
        expected = encoder(torch.from_numpy(pictures)).numpy()
    found = compiled([pictures])[0]
    assert found.shape == (2, 64)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
