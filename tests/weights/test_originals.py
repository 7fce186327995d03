"""Networks whose format OpenVINO cannot open, against what the format's own runtime made of the published files.

`originals.npz` holds the answers, every fourth row and column of pictures: of TensorFlow.js 4 (bisenet_v2), of
face-api.js 1.7.15 (dlib_resnet), of ncnn 1.0.20261020 in float32 (real_esrgan) and of the package's own torch network
(efficientnet_lite0), each to the two pictures below.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from weights.store import artefact

pytestmark = pytest.mark.weights

Array = NDArray[Any]
ANSWERS = Path(__file__).with_name("originals.npz")
MEAN = np.array([122.782, 117.001, 104.298], np.float32)

SEEN: dict[str, tuple[tuple[int, int], Callable[[Array], Array]]] = {
    "bisenet_v2": ((64, 96), lambda x: x / np.float32(127.5) - 1),
    "dlib_resnet": ((150, 150), lambda x: (x - MEAN) / 255),  # face-api.js divides so, dlib by 256
    "real_esrgan": ((24, 32), lambda x: x / 255),
    "efficientnet_lite0": ((224, 224), lambda x: (x - 127) / 128),
}


def pictures(height: int, width: int) -> Array:
    """One of noise and one of bent stripes, [2, height, width, 3] in 0..255."""
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3))
    row, column, colour = np.indices((height, width, 3))
    return np.stack([noise, (3 * row + 5 * column + row * column // 16 + 40 * colour) % 256]).astype(np.float32)


def answers(identifier: str) -> Array:
    """Of the ONNX: pictures [2, H, W, C], vectors [2, C]."""
    size, normal = SEEN[identifier]
    session = onnxruntime.InferenceSession(artefact(identifier))
    x = np.ascontiguousarray(normal(pictures(*size)).transpose(0, 3, 1, 2))
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(found.transpose(0, 2, 3, 1)[:, ::4, ::4] if found.ndim == 4 else found)


@pytest.mark.parametrize("identifier", SEEN)
def test_onnx_is_the_published_network(identifier: str) -> None:
    with np.load(ANSWERS) as held:
        expected = held[identifier]
    assert np.abs(answers(identifier) - expected).max() < 1e-4 * np.abs(expected).max()
