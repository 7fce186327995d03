"""GPU memory is counted from graphs as tensors come and go, and every model declares enough of it."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from deployments import MODELS, model_class
from deployments.gpu_memory import (
    CONTEXT_MB,
    MB,
    Counted,
    declared_for,
    engine_row,
    graph_memory,
    largest_sizes,
    misdeclared,
    needed_mb,
    outdated,
    table,
)
from modiste.spec import EngineSpec, TensorSpec

SIDE = 64


def spec(**more: object) -> EngineSpec:
    tensors = {
        name: TensorSpec(name=name, shape=("N", 1, SIDE, "W"), range="any", meaning="plane") for name in ("x", "y")
    }
    return EngineSpec(weights="none", inputs=(tensors["x"],), outputs=(tensors["y"],), **more)  # type: ignore[arg-type]


def written(folder: Path, *nodes: onnx.NodeProto) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1, SIDE, "W"]) for name in ("x", "y"))
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1000], [1.0] * 1000)
    graph = helper.make_graph(list(nodes), "g", [x], [y], initializer=[weight])
    path = folder / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_what_lives_at_once_is_counted(tmp_path: Path) -> None:
    """a lives until the sum; b dies with c's making; the sum is an output: at most a, b and c."""
    graph = written(
        tmp_path,
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Add", ["a", "d"], ["y"]),
    )
    plane = 4 * 3 * SIDE * 10
    counted = graph_memory(spec(), graph, {"N": 3, "W": 10})
    assert counted == Counted(weights=4000, activations=3 * plane, io=2 * plane)


def test_views_take_no_memory_of_their_own_but_hold_their_source(tmp_path: Path) -> None:
    graph = written(
        tmp_path,
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Relu", ["x"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["y"]),
    )
    assert graph_memory(spec(), graph, {"N": 1, "W": 10}).activations == 2 * 4 * SIDE * 10


def test_a_shape_that_depends_on_values_is_refused(tmp_path: Path) -> None:
    graph = written(
        tmp_path, helper.make_node("NonZero", ["x"], ["places"]), helper.make_node("Cast", ["places"], ["y"], to=1)
    )
    with pytest.raises(ValueError, match=r"shape of places \(NonZero\)"):
        graph_memory(spec(), graph, {"N": 1, "W": 10})


def test_half_the_bytes_take_half_of_the_memory_inside() -> None:
    counted = [Counted(weights=8 * MB, activations=16 * MB, io=MB)] * 2
    bucketed = {"buckets": ({"W": (1, 20)}, {"W": (20, 30)}), "max_batch": 2}
    whole, half = spec(**bucketed), spec(gpu_precision="float16", **bucketed)
    row = engine_row(whole, counted)
    assert row["sizes"] == [{"N": 2, "W": 20}, {"N": 2, "W": 30}]
    assert (row["weights_mb"], row["activations_mb"], row["io_mb"]) == (8.0, 16.0, 4.0)
    assert row == engine_row(half, counted)
    assert needed_mb({"main": whole, "second": half}, {"main": row, "second": row}) == CONTEXT_MB + 28 + 16
    assert declared_for(444) == 600


@pytest.mark.parametrize("model_id", MODELS)
def test_what_was_counted_is_what_is_declared_now(model_id: str) -> None:
    """Otherwise: `python -m deployments memory tests/kits`."""
    assert outdated(model_id) == []


def test_every_model_on_gpus_declares_enough_and_not_far_more() -> None:
    assert misdeclared() == []


@pytest.mark.weights
@pytest.mark.parametrize("model_id", ["bisenet_v2", "efficientnet_lite0", "mobile_stylegan"])
def test_the_table_is_what_the_graphs_say(model_id: str) -> None:
    from compile.source import graph_file

    for name, engine in model_class(model_id).spec.engines.items():
        counted = [graph_memory(engine, graph_file(engine), sizes) for sizes in largest_sizes(engine)]
        assert engine_row(engine, counted) == table()[model_id][name]


@pytest.mark.torch
def test_a_graph_and_its_network_are_counted_alike(tmp_path: Path) -> None:
    """Eager torch against the exported graph, which computes constants ahead and has no work in place."""
    from deployments.full_size import full_size_engines, graph_of, keyed_kits, module_of
    from deployments.measure import memory
    from deployments.networks import network

    kits = keyed_kits([Path(__file__).parent.parent / "kits"])
    (engine,) = full_size_engines(kits, "teed")
    assert engine.kit is not None
    (sizes,) = largest_sizes(engine.spec)
    eager = memory(engine.kit, network(engine.network or ""), engine.spec, sizes)
    graph = graph_memory(engine.spec, graph_of(engine, module_of(engine), tmp_path), sizes)
    assert eager.io == graph.io
    assert eager.weights == pytest.approx(graph.weights, rel=0.05)
    assert eager.activations == pytest.approx(graph.activations, rel=0.35)
