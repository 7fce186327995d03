"""Engines of the paper edition give what their networks give; its models keep their roles' promises."""

from pathlib import Path

import numpy as np
import pytest
from reduced import REDUCED, open_small, small_part, small_spec

from deployments import model_class

pytestmark = pytest.mark.torch
CLOSE = 1e-3
"""Largest difference over the largest value: kernels of other sums, over up to a hundred layers."""


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.mark.parametrize(("model_id", "engine"), [(m, e) for m, engines in REDUCED.items() for e in engines])
def test_an_engine_gives_what_its_network_gives(model_id: str, engine: str, graphs: Path) -> None:
    import torch

    spec = model_class(model_id).spec.engines[engine]
    opened = open_small(model_id, engine, spec, graphs)
    generator = np.random.default_rng(0)
    small, feeds = small_spec(model_id, engine, spec), {}
    sizes = {"N": 2, **small.sizes}
    for tensor in small.inputs:
        shape = [sizes[side] if isinstance(side, str) else side for side in tensor.shape]
        if tensor.dtype == "float32":
            feeds[tensor.name] = generator.uniform(-1, 1, shape).astype(np.float32)
        else:
            feeds[tensor.name] = generator.integers(0, 2, shape).astype(tensor.dtype)
    found = opened(feeds)
    with torch.inference_mode():
        given = small_part(model_id, engine, spec)(*(torch.from_numpy(fed) for fed in feeds.values()))
    expected = [given] if isinstance(given, torch.Tensor) else list(given)
    references = [output.numpy() for output in expected]
    for tensor, reference in zip(spec.outputs, references, strict=True):
        assert found[tensor.name].shape == reference.shape, tensor.name
        assert np.isfinite(reference).all(), tensor.name
        assert reference.std() > 0, f"{tensor.name} says nothing"
        assert np.abs(found[tensor.name] - reference).max() <= CLOSE * np.abs(reference).max(), tensor.name
    opened.close()
