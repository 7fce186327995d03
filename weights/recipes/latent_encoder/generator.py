"""The default generator as the recipe needs it: styles by number, and pictures of 512 px at four fifths of the cost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from weights.store import artefact, path

LATENT = 512
COORDINATES = 64
FIRST_SEED = 1_000_000
"""Picture number i is of seed FIRST_SEED + i: none that the cast or a careless hand would use."""
TRUNCATIONS = (0.5, 1.0)
GENERATOR = Path(__file__).parents[3] / "deployments" / "mobile_stylegan"
_WAVELETS = "Slice_764/Split"
"""The published graph's node that parts the last bands; the first is the picture at half its size, doubled."""

Floats = NDArray[np.float32]


def latent(seed: int) -> Floats:
    """float32 [1, 512]: the z of a seed, as the served generator draws it."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal((1, LATENT), np.float32)


def truncation(number: int) -> float:
    low, high = TRUNCATIONS
    return low + (high - low) * float(np.random.default_rng((FIRST_SEED, number)).random())


def mapping(threads: int = 1) -> Callable[[Floats], Floats]:
    """z float32 [N, 512] -> w float32 [N, 512]"""
    core = ov.Core()
    model = core.read_model(artefact("mobile_stylegan", "mapping"))
    model.reshape([-1, LATENT])
    compiled = core.compile_model(model, "CPU", _options(threads))
    return lambda z: np.array(compiled([z])[0])


def synthesis(threads: int = 1) -> Callable[[Floats], NDArray[np.uint8]]:
    """w float32 [1, 512] -> uint8 [512, 512, 3] RGB: what the picture of 1024 px is when every 2 x 2 are averaged."""
    core = ov.Core()
    model = core.read_model(path("mobile_stylegan")["SynthesisNetwork.xml"])  # the ONNX has no node for the half
    (split,) = (node for node in model.get_ordered_ops() if node.get_friendly_name() == _WAVELETS)
    half = ov.Model([split.output(0)], model.get_parameters(), "half")
    compiled = core.compile_model(half, "CPU", _options(threads))

    def picture(style: Floats) -> NDArray[np.uint8]:
        planes = compiled([style])[0][0].transpose(1, 2, 0) * 0.5
        return np.asarray(np.clip(np.rint(planes * 127.5 + 127.5), 0, 255), np.uint8)

    return picture


def styles(numbers: range, mean: Floats, of: Callable[[Floats], Floats]) -> Floats:
    """float32 [N, 512]: w of each number, truncated.

    mean: [1, 512], w of the mean face; of: the mapping
    """
    plain = np.concatenate([of(latent(FIRST_SEED + number)) for number in numbers])
    strength = np.array([truncation(number) for number in numbers], np.float32)[:, None]
    return np.asarray(mean + strength * (plain - mean), np.float32)


def coordinates(style: Floats, mean: Floats, directions: Floats) -> Floats:
    """float32 [N, 64]: w in the generator's principal directions, in deviations.

    directions: [64, 512], each as long as one deviation
    """
    return np.asarray((style - mean) @ (directions / np.square(directions).sum(1, keepdims=True)).T, np.float32)


def _options(threads: int) -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # several of these shall not share one core
    }
