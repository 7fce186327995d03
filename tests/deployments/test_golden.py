"""What engines are judged by: real inputs for every role, that reach every engine; and which shapes engines are asked
for."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from reduced import REDUCED, open_reduced

import deployments.roles
from compile.engine import Engine, Tensors, check_feeds
from deployments import EDITIONS, MODELS, model_class
from deployments.base import Model
from deployments.golden import GOLDEN, golden_inputs
from deployments.golden_pictures import PICTURES, STANDING, find_places, places
from deployments.roles import ParsingInput, RestorationInput
from modiste.errors import ModisteError
from modiste.image import Keypoints, Landmarks, RGBImage
from modiste.spec import EngineSpec

WITH_ENGINES = tuple(model_id for model_id in MODELS if model_class(model_id).spec.engines)


def role_of(model_id: str) -> str:
    return model_class(model_id).spec.role


def taken(role: str) -> Any:
    """The In type of a role."""
    (base,) = getattr(deployments.roles, role).__orig_bases__
    return get_args(base)[0]


# --- inputs --------------------------------------------------------------------------------------------------------


def test_every_role_whose_models_run_engines_has_golden_inputs() -> None:
    assert set(GOLDEN) == {role_of(model_id) for model_id in WITH_ENGINES}


@pytest.mark.parametrize("role", GOLDEN)
def test_golden_inputs_are_what_the_role_takes_and_always_the_same(role: str) -> None:
    inputs, wanted = golden_inputs(role), taken(role)
    assert inputs
    for x in inputs:
        if wanted is RGBImage:
            assert x.dtype == np.uint8 and x.ndim == 3 and x.shape[2] == 3
        else:
            assert isinstance(x, wanted)
    assert pickle.dumps(golden_inputs(role)) == pickle.dumps(inputs)


@pytest.mark.weights
def test_places_are_found_again() -> None:
    found = find_places()
    assert found.keys() == places().keys()
    for who in PICTURES:
        assert np.abs(found[f"{who}_landmarks"] - places()[f"{who}_landmarks"]).max() < 0.5
        assert (found[f"{who}_labels"] != places()[f"{who}_labels"]).mean() < 0.01
    for who in STANDING:
        assert np.abs(found[f"{who}_keypoints"] - places()[f"{who}_keypoints"]).max() < 2


@pytest.mark.weights
@pytest.mark.parametrize("model_id", [m for m in dict.fromkeys(EDITIONS["default"].values()) if m in WITH_ENGINES])
def test_models_of_the_default_edition_run_on_them_and_every_engine_is_judged(model_id: str) -> None:
    from deployments.engines import cases

    for name, judged_by in cases(model_id).items():
        first, *golden = judged_by
        assert first.name == "noise"
        assert golden, f"{name} saw no golden picture"
        assert all(np.isfinite(out).all() for case in judged_by for out in case.expected.values())


CLASSICAL = ("FaceSwap", "PartSwap", "MakeupTransfer", "GarmentWarp", "SuitComposition", "EdgeDetection")


@pytest.mark.parametrize("role", CLASSICAL)
def test_classical_models_run_on_them_too(role: str) -> None:
    first, *_ = golden_inputs(role)
    assert len(model_class(EDITIONS["default"][role])({})([first])) == 1


UNREACHED = {("densepose", "surface")}
"""Of small random networks: nobody is found whose surface could be asked for."""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@dataclass
class Watched:
    """An engine, and how often it was asked."""

    engine: Engine
    asked: int = 0

    @property
    def spec(self) -> EngineSpec:
        return self.engine.spec

    def __call__(self, feeds: Tensors) -> Tensors:
        self.asked += 1
        return self.engine(feeds)

    def close(self) -> None:
        self.engine.close()


@pytest.mark.torch
@pytest.mark.parametrize("model_id", REDUCED)
def test_golden_inputs_reach_every_engine_of_published_networks(model_id: str, graphs: Path) -> None:
    """Of random weights the results may be refused: after the engines were asked."""
    opened = open_reduced(model_id, graphs)
    watched = {name: Watched(engine) for name, engine in opened.engines.items()}
    model, (first, *others) = type(opened)(watched), golden_inputs(role_of(model_id))
    with suppress(ModisteError):
        model([first])
    for x in others:
        model.preprocess(x)
    opened.close()
    assert {name for name, engine in watched.items() if not engine.asked} <= {
        name for model, name in UNREACHED if model == model_id
    }


# --- shapes --------------------------------------------------------------------------------------------------------

FREE = tuple(
    (model_id, name)
    for model_id in WITH_ENGINES
    for name, spec in model_class(model_id).spec.engines.items()
    if any(isinstance(size, str) and size != "N" for tensor in spec.inputs for size in tensor.shape)
)


def free_sizes(spec: EngineSpec) -> set[str]:
    return {size for tensor in spec.inputs for size in tensor.shape if isinstance(size, str)} - {"N"}


@pytest.mark.parametrize("model_id", WITH_ENGINES)
def test_buckets_and_usual_sizes_say_every_free_size(model_id: str) -> None:
    for spec in model_class(model_id).spec.engines.values():
        assert spec.max_batch >= 1 and spec.buckets
        assert set(spec.sizes) == free_sizes(spec)
        assert all(set(bucket) == free_sizes(spec) for bucket in spec.buckets)
        assert all(1 <= least <= most for bucket in spec.buckets for least, most in bucket.values())
        assert lies_in(spec.buckets[0], spec.sizes), "the usual sizes lie in the first bucket"


def lies_in(bucket: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]) -> bool:
    return all(least <= sizes[size] <= most for size, (least, most) in bucket.items())


@dataclass
class Shaped:
    """An engine that remembers the free sizes it was asked for, and gives zeros."""

    spec: EngineSpec
    seen: list[dict[str, int]] = field(default_factory=list)

    def __call__(self, feeds: Tensors) -> Tensors:
        batch = check_feeds(self.spec, feeds)
        self.seen.append(sizes_of(self.spec, feeds))
        (out,), (fed,) = self.spec.outputs, feeds.values()
        larger = 4 if out.shape[2] == "4H" else 1
        assert isinstance(out.shape[1], int)
        return {out.name: np.zeros((batch, out.shape[1], *(larger * side for side in fed.shape[2:])), np.float32)}

    def close(self) -> None: ...


def sizes_of(spec: EngineSpec, feeds: Tensors) -> dict[str, int]:
    return {
        size: int(side)
        for tensor in spec.inputs
        for size, side in zip(tensor.shape, feeds[tensor.name].shape, strict=True)
        if isinstance(size, str) and size != "N"
    }


SIDES = (1, 2, 31, 33, 128, 129, 257, 500, 512, 801, 1334, 1500, 1501, 6000)
LARGEST = 800_000
"""Pixels: resizing larger pictures of the same shapes would only take longer."""


EVERY = {"densepose": 5, "real_esrgan": 4}
"""Of these pictures, for models that make large ones of small ones."""


def pictures() -> Iterator[RGBImage]:
    """Of every shape, also of such as no camera takes."""
    for height, width in product(SIDES, SIDES):
        if height * width <= LARGEST:
            yield RGBImage(np.full((height, width, 3), 90, np.uint8))


def as_input(model_id: str, picture: RGBImage) -> Any:
    match role_of(model_id):
        case "HumanParsing":
            return ParsingInput(image=picture, keypoints=Keypoints(np.zeros((25, 3), np.float32)))
        case "FaceRestoration":
            return RestorationInput(image=picture, landmarks=Landmarks(np.zeros((468, 3), np.float32)), scale=4)
    return picture


BY_WHOLE_PICTURES = tuple(dict.fromkeys(m for m, name in FREE if name in ("main", "forward")))


@pytest.mark.parametrize("model_id", BY_WHOLE_PICTURES)
def test_whatever_the_picture_what_the_engine_is_asked_lies_in_a_bucket(model_id: str) -> None:
    of = model_class(model_id)
    spec = of.spec.engines[of.main]
    engine = Shaped(spec)
    model: Model[Any, Any] = of({of.main: engine})
    for picture in list(pictures())[:: EVERY.get(model_id, 1)]:
        feeds = model.preprocess(as_input(model_id, picture))
        if model_id in ("real_esrgan", "graphonomy"):
            model.infer(feeds)
        else:
            engine.seen.append(sizes_of(spec, feeds))
    outside = [sizes for sizes in engine.seen if not any(lies_in(bucket, sizes) for bucket in spec.buckets)]
    assert not outside, f"{outside[:5]} lie in none of {spec.buckets}"
    for size in free_sizes(spec):
        asked = [sizes[size] for sizes in engine.seen]
        assert max(asked) == max(bucket[size][1] for bucket in spec.buckets), f"no picture has the largest {size}"


def test_densepose_looks_at_boxes_in_levels_of_the_same_buckets() -> None:
    engines = model_class("densepose").spec.engines
    for bucket, *finer in zip(*(engines[name].buckets for name in ("forward", "classify", "surface")), strict=True):
        for levels in finer:
            for size, ends in levels.items():
                if size != "R":
                    side, stride = size[0], int(size[1:])
                    assert ends == tuple(end // stride for end in bucket[side])


def test_classes_lie_where_the_gate_looks_for_them() -> None:
    """On axis 1, or on the last where axis 1 has more places: whichever is shorter."""
    labels = [
        (spec, tensor)
        for model_id in WITH_ENGINES
        for spec in model_class(model_id).spec.engines.values()
        for tensor in spec.outputs
        if tensor.kind == "labels"
    ]
    assert len(labels) > 8
    for spec, tensor in labels:
        _, *sides = (spec.sizes.get(size, size) for size in tensor.shape)
        axis = 0 if sides[0] <= sides[-1] else -1
        assert sides[axis] == min(sides) <= 30, f"{spec.weights} {tensor.name}"
