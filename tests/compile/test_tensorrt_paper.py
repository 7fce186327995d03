"""TensorRT's parser and builder accept the published networks, as small ones of the same kind, with all profiles."""

from pathlib import Path

import pytest
from ahead import build_ahead
from reduced import REDUCED, small_part, small_spec

from deployments import MODELS, model_class
from modiste.spec import Precision
from weights.manifest import listed_manifest

REFUSED: dict[tuple[str, str, Precision], str] = {}
"""Model, engine and precision -> why TensorRT takes no such network; a row that it takes after all fails."""
ENGINES = [(model, name) for model, engines in REDUCED.items() for name in engines]


def test_no_published_network_is_left_out() -> None:
    published = {
        (model, name)
        for model in MODELS
        for name, spec in model_class(model).spec.engines.items()
        if listed_manifest()[spec.weights].network is not None
    }
    assert published == set(ENGINES)


@pytest.mark.torch
@pytest.mark.parametrize(("model", "name"), ENGINES)
def test_every_network_is_accepted(model: str, name: str, tmp_path: Path) -> None:
    from compile.export import export

    spec = model_class(model).spec.engines[name]
    small, graph = small_spec(model, name, spec), tmp_path / "model.onnx"
    export(small_part(model, name, spec), small.inputs, small.outputs, graph, small.sizes)
    # float32 is the same graph without the casts; the default edition's tests build both.
    precisions: tuple[Precision, ...] = ("float16", spec.gpu_precision)
    for precision in dict.fromkeys(p for p in precisions if p != "float32"):
        if (model, name, precision) in REFUSED:
            with pytest.raises(RuntimeError):
                build_ahead(small, graph, precision)
        else:
            assert len(build_ahead(small, graph, precision)) > 1000
