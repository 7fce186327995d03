"""The gate refuses what is wrong by any metric, and the engines that are served pass it on noise and real pictures."""

from dataclasses import replace

import numpy as np
import pytest

from compile.engine import Case, Tensors
from compile.gate import METRICS, EngineRefused, checks, require
from deployments import engine_specs, model_class, models_in_use, open_model
from deployments.engines import cases, open_engine_of
from deployments.golden import GOLDEN
from modiste.settings import settings
from modiste.spec import EngineSpec, Kind, TensorSpec

GENERATOR = np.random.default_rng(0)
SPEC = EngineSpec(
    weights="face_mesh",
    inputs=(TensorSpec(name="x", shape=("N", 3, 16, 16), range="[0, 1]", meaning="anything"),),
    outputs=(TensorSpec(name="y", shape=("N", 3, 16, 16), range="any", meaning="anything"),),
)
EXPECTED = GENERATOR.standard_normal((1, 3, 16, 16)).astype(np.float32)


class Gives:
    """An engine with planted outputs."""

    spec = SPEC

    def __init__(self, output: np.ndarray) -> None:
        self.output = output

    def __call__(self, feeds: Tensors) -> Tensors:
        return {"y": self.output}

    def close(self) -> None: ...


def case(name: str = "golden 1") -> Case:
    return Case(name=name, feeds={"x": EXPECTED}, expected={"y": EXPECTED})


def of_kind(kind: Kind) -> EngineSpec:
    return replace(SPEC, outputs=(replace(SPEC.outputs[0], kind=kind),))


@pytest.mark.parametrize("kind", METRICS)
def test_equal_outputs_pass_and_others_do_not(kind: Kind) -> None:
    spec = of_kind(kind)
    (same,) = checks(spec, Gives(EXPECTED.copy()), [case()])
    assert same.passed
    assert same.error == pytest.approx(0, abs=1e-6)
    for other in (np.roll(EXPECTED, 5), np.full_like(EXPECTED, np.nan)):
        found = checks(spec, Gives(other), [case()])
        with pytest.raises(EngineRefused, match="y on golden 1"):
            require(found, "it")


@pytest.mark.parametrize("kind", METRICS)
def test_rounding_passes(kind: Kind) -> None:
    rounded = EXPECTED.astype(np.float16).astype(np.float32)
    require(checks(of_kind(kind), Gives(rounded), [case(), case("noise")]), "it")


def test_an_output_of_another_shape_or_type_is_refused() -> None:
    for wrong in (EXPECTED[:, :2], EXPECTED.astype(np.float16)):
        with pytest.raises(EngineRefused, match="expected float32"):
            checks(SPEC, Gives(wrong), [case()])


def test_an_engine_that_nothing_judges_is_refused() -> None:
    with pytest.raises(EngineRefused, match="got none"):
        require([], "it")


def test_every_role_with_engines_has_golden_inputs() -> None:
    with_engines = {model_class(model).spec.role for model in models_in_use() if model_class(model).spec.engines}
    assert with_engines <= set(GOLDEN)


@pytest.mark.weights
@pytest.mark.parametrize("name", [name for name, spec in engine_specs().items() if spec.precision != "float32"])
def test_a_lower_precision_passes_on_any_cpu(name: str) -> None:
    """Also where it is not served, for want of matrix units."""
    model, _, engine = name.partition(".")
    spec = engine_specs()[name]
    opened = open_engine_of(model, engine or "main", target="openvino", precision=spec.precision)
    judged_by = cases(model)[engine or "main"]
    assert len(judged_by) > 1
    require(checks(spec, opened, judged_by), name)


@pytest.mark.weights
def test_settings_choose_a_precision_and_the_gate_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODISTE_PRECISIONS", '{"dlib_resnet": "bfloat16", "centerface": "bfloat16"}')
    settings.cache_clear()
    try:
        opened = open_model("dlib_resnet").engines["main"]
        assert str(opened._compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'bfloat16'>"
        with pytest.raises(EngineRefused, match=r"centerface as openvino in bfloat16: .* on golden"):
            open_model("centerface")
    finally:
        monkeypatch.delenv("MODISTE_PRECISIONS")
        settings.cache_clear()
