import numpy as np
import openvino as ov
import pytest

from compile import openvino
from compile.engine import check_feeds
from compile.openvino import compile_options
from compile.source import graph_file
from deployments import engine_specs, open_model, threads_of
from deployments.engines import source
from modiste.settings import settings
from modiste.spec import EngineSpec, Resources, TensorSpec

SPEC = EngineSpec(
    weights="face_mesh",
    inputs=(TensorSpec(name="x", shape=("N", 4, "W"), range="[0, 1]", meaning="anything"),),
    outputs=(TensorSpec(name="y", shape=("N", 1), range="any", meaning="anything"),),
)


def test_feeds_that_fit_give_their_batch() -> None:
    assert check_feeds(SPEC, {"x": np.zeros((3, 4, 9), np.float32)}) == 3


@pytest.mark.parametrize(
    ("feeds", "named"),
    [
        ({"z": np.zeros((1, 4, 9), np.float32)}, "expected inputs"),
        ({"x": np.zeros((1, 5, 9), np.float32)}, r"got float32 \(1, 5, 9\)"),
        ({"x": np.zeros((1, 4), np.float32)}, r"got float32 \(1, 4\)"),
        ({"x": np.zeros((1, 4, 9), np.float64)}, "got float64"),
    ],
)
def test_feeds_that_do_not_fit_are_named(feeds: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        check_feeds(SPEC, feeds)


@pytest.mark.weights
def test_an_engine_is_tied_to_no_core() -> None:
    """As built and as loaded again: replicas that are all tied to the first core leave the others idle."""
    spec = engine_specs()["dlib_resnet"]
    engine = open_model("dlib_resnet").engines["main"]
    assert engine._compiled.get_property("ENABLE_CPU_PINNING") is False
    fresh = ov.Core().compile_model(ov.Core().read_model(graph_file(spec)), "CPU", compile_options("float32", 1))
    assert fresh.get_property("ENABLE_CPU_PINNING") is False
    engine.close()


@pytest.mark.weights
def test_an_engine_has_the_threads_of_its_models_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    def threads(cpus: float) -> object:
        spec = engine_specs()["dlib_resnet"]
        of = source(spec, threads_of(Resources(cpus=cpus)))
        blob = openvino.build(spec, of, "float32", ())
        return openvino.load(spec, of, blob, "float32")._compiled.get_property("INFERENCE_NUM_THREADS")

    assert [threads(0.5), threads(2.0)] == [1, 2]
    monkeypatch.setenv("MODISTE_THREADS", "2")
    settings.cache_clear()
    try:
        assert threads(0.5) == 2
    finally:
        monkeypatch.delenv("MODISTE_THREADS")
        settings.cache_clear()
