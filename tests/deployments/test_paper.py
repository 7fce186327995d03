"""Engines of the paper edition, and of the published networks that no model runs, give what their networks give."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from reduced import REDUCED, Reduced, open_small, opened_graph, small_net, small_part, small_spec
from small_bodies import narrowed

from compile.engine import Engine
from deployments import MODELS, model_class
from deployments.networks import NETWORKS, Module
from modiste.spec import EngineSpec, TensorSpec
from weights.manifest import entry

pytestmark = pytest.mark.torch
CLOSE = 1e-3
"""Largest difference over the largest value: kernels of other sums, over up to a hundred layers."""


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.mark.parametrize(("model_id", "engine"), [(m, e) for m, engines in REDUCED.items() for e in engines])
def test_an_engine_gives_what_its_network_gives(model_id: str, engine: str, graphs: Path) -> None:
    spec = model_class(model_id).spec.engines[engine]
    opened = open_small(model_id, engine, spec, graphs)
    agree(opened, small_part(model_id, engine, spec), small_spec(model_id, engine, spec))
    opened.close()


SIDE = 256
UNUSED: Mapping[str, tuple[str, tuple[TensorSpec, ...], TensorSpec]] = {
    "aei_mindslab": (
        "aei_mindslab_own",
        (
            TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="0-1", meaning="target"),
            TensorSpec(name="identity", shape=("N", 32), range="length 1", meaning="source"),
        ),
        TensorSpec(name="swapped", shape=("N", 3, SIDE, SIDE), range="0-1", meaning="swapped"),
    ),
    "hear_mindslab": (
        "hear_mindslab_own",
        (TensorSpec(name="faces", shape=("N", 6, SIDE, SIDE), range="0-1", meaning="swapped face and what is lost"),),
        TensorSpec(name="restored", shape=("N", 3, SIDE, SIDE), range="any", meaning="swapped face"),
    ),
}
"""Networks that no model runs: their weights, inputs and output."""


def test_every_network_is_run_by_a_model_or_listed_here() -> None:
    used = {entry(e.weights).network for model in MODELS for e in model_class(model).spec.engines.values()}
    assert set(NETWORKS) - used == set(UNUSED)


@pytest.mark.parametrize("identifier", UNUSED)
def test_a_network_that_no_model_runs_makes_an_engine(identifier: str, graphs: Path) -> None:
    weights, inputs, output = UNUSED[identifier]
    spec = EngineSpec(weights=weights, inputs=inputs, outputs=(output,))
    net = small_net(identifier, Reduced(of=narrowed(identifier)))
    opened = opened_graph(spec, lambda: net, graphs / f"{identifier}.onnx")
    agree(opened, net, spec)
    opened.close()


def agree(opened: Engine, net: Module, spec: EngineSpec) -> None:
    """On a batch of two."""
    import torch

    generator, feeds = np.random.default_rng(0), {}
    sizes = {"N": 2, **spec.sizes}
    for tensor in spec.inputs:
        shape = [sizes[side] if isinstance(side, str) else side for side in tensor.shape]
        if tensor.dtype == "float32":
            feeds[tensor.name] = generator.uniform(-1, 1, shape).astype(np.float32)
        else:
            feeds[tensor.name] = generator.integers(0, 2, shape).astype(tensor.dtype)
    found = opened(feeds)
    with torch.inference_mode():
        given = net(*(torch.from_numpy(fed) for fed in feeds.values()))
    expected = [given] if isinstance(given, torch.Tensor) else list(given)
    for tensor, reference in zip(spec.outputs, [output.detach().numpy() for output in expected], strict=True):
        assert found[tensor.name].shape == reference.shape, tensor.name
        assert np.isfinite(reference).all(), tensor.name
        assert reference.std() > 0, f"{tensor.name} says nothing"
        assert np.abs(found[tensor.name] - reference).max() <= CLOSE * np.abs(reference).max(), tensor.name
