"""Inputs that come together are inferred together where their shapes agree, and come out as if each came alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import tiny

from compile.engine import Tensors
from deployments import EDITIONS, MODELS, model_class, open_model
from deployments.base import SIZES, Model, batch_of
from deployments.golden import golden_inputs
from deployments.placement import gathers
from modiste.errors import ModisteError, NoFace
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, TensorSpec

PICTURES = TensorSpec(name="picture", shape=("N", "H", "W"), range="any", meaning="a picture")


@dataclass
class Doubling:
    """An engine that doubles, and keeps the shapes it was asked with."""

    spec: EngineSpec = field(
        default_factory=lambda: EngineSpec(weights="none", inputs=(PICTURES,), outputs=(PICTURES,), max_batch=3)
    )
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, feeds: Tensors) -> Tensors:
        self.asked.append(feeds["picture"].shape)
        return {"picture": 2 * feeds["picture"]}

    def close(self) -> None: ...


class Doubled(Model[float, float]):
    """Doubles a number; the whole part is the side of the picture it travels in. Below 1 there is none."""

    spec = ModelSpec(id="doubled", role="Doubling", paper="", licence="", engines={"main": Doubling().spec})

    def preprocess(self, x: float) -> Tensors:
        if x < 1:
            raise NoFace("expected a picture, got none")
        return {"picture": np.full((1, int(x), int(x)), x, np.float64)}

    def postprocess(self, outputs: Tensors, x: float) -> float:
        assert outputs["picture"].shape == (1, int(x), int(x))
        if x > 100:
            raise NoFace("expected a face, got none")
        return float(outputs["picture"][0, 0, 0])


def test_equal_shapes_go_together_in_batches_that_the_engine_takes() -> None:
    engine = Doubling()
    numbers = [4.1, 7.1, 4.2, 4.3, 7.2, 4.4]
    assert Doubled({"main": engine})(numbers) == pytest.approx([2 * x for x in numbers])
    assert engine.asked == [(3, 4, 4), (1, 4, 4), (2, 7, 7)]


def test_batches_have_few_sizes() -> None:
    """And never more than the engine takes, or than wait."""
    for most in (1, 2, 3, 8, 16, 64):
        met = {batch_of(waiting, most) for waiting in range(1, 200)}
        assert len(met) <= SIZES
        assert max(met) == most
    assert [batch_of(waiting, 8) for waiting in (1, 7, 8, 9)] == [1, 7, 8, 8]
    assert [batch_of(waiting, 64) for waiting in (1, 7, 63, 100)] == [1, 4, 32, 64]


def test_one_that_is_refused_leaves_the_others_alone() -> None:
    engine = Doubling()
    outcomes = Doubled({"main": engine}).outcomes([4.1, 0.5, 101.0, 4.2])
    assert [type(outcome) for outcome in outcomes] == [float, NoFace, NoFace, float]
    assert (outcomes[0], outcomes[3]) == pytest.approx((8.2, 8.4))
    assert engine.asked == [(2, 4, 4), (1, 101, 101)]
    with pytest.raises(NoFace, match="a picture"):
        Doubled({"main": engine})([4.1, 0.5])


@pytest.mark.parametrize("model_id", MODELS)
def test_every_model_says_how_many_it_takes_at_once(model_id: str) -> None:
    of = model_class(model_id)
    assert not of.main or not of.spec.engines or of.main in of.spec.engines
    assert of.max_batch() >= 1


def test_where_engines_run_singles_nothing_is_gathered() -> None:
    assert not any(gathers(model_class(model)) for model in MODELS)


def test_a_model_without_engines_takes_each_input_alone() -> None:
    plates = [tiny.Plate(image=tiny.RGBImage(np.full((2, 2, 3), value, np.uint8))) for value in (1, 2)]
    assert [found.image[0, 0, 0] for found in tiny.Inverter({})(plates)] == [254, 253]
    assert tiny.Inverter.max_batch() == 1


@pytest.mark.weights
@pytest.mark.parametrize("role", ["FaceParsing", "FashionEmbedding", "SketchToGarment"])
def test_a_batch_gives_what_singles_give(role: str) -> None:
    """On ONNX Runtime, which computes a batch at once."""
    from compile.reference import ReferenceEngine
    from deployments.engines import source

    of = model_class(EDITIONS["default"][role])
    model = of({name: ReferenceEngine(spec, source(spec)) for name, spec in of.spec.engines.items()})
    x = golden_inputs(role)[0]
    batch = [x, mirrored(x), x]
    for alone, together in zip([model([each])[0] for each in batch], model(batch), strict=True):
        close(alone, together)
    model.close()


def mirrored(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return RGBImage(np.ascontiguousarray(x[:, ::-1]))
    return replace(x, image=mirrored(x.image))


def close(alone: object, together: object) -> None:
    """Arrays anywhere in results agree to a rounding step, label maps in all but a few pixels."""
    if isinstance(alone, np.ndarray):
        assert isinstance(together, np.ndarray)
        if alone.dtype == np.uint8:
            assert (np.abs(alone.astype(int) - together) > 1).mean() < 1e-3
        else:
            np.testing.assert_allclose(alone, together, atol=1e-4)
    elif isinstance(alone, Sequence) and not isinstance(alone, str):
        for one, other in zip(alone, together, strict=True):  # type: ignore[call-overload]
            close(one, other)
    elif hasattr(alone, "__slots__") and not isinstance(alone, ModisteError):
        for name in alone.__slots__:
            close(getattr(alone, name), getattr(together, name))
    else:
        assert alone == together


@pytest.mark.weights
def test_mixed_sizes_come_out_in_order() -> None:
    """Face parsing at two sizes, on the engine that serves here."""
    model = open_model(EDITIONS["default"]["FaceParsing"])
    (head,) = golden_inputs("FaceParsing")[:1]
    smaller = head[: len(head) // 2]
    batch = [head, smaller, head]
    for alone, together in zip([model([x])[0] for x in batch], model(batch), strict=True):
        close(alone, together)
    model.close()
