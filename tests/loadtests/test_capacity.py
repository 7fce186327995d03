"""Capacity from measured tables, what recorded calls wait for, and what a growth must show."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.scaling import measured
from loadtests.scaling.capacity import (
    GPU_MEMORY_MB,
    gpu_from_factor,
    gpu_from_rows,
    gpu_models,
    gpus_needed,
    hop,
    machines_needed,
    rates_of,
    recorded_flows,
)
from loadtests.scaling.growth import amiss
from loadtests.scaling.recording import Recorded, _after


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer simulated requests than for figures that somebody relies on."""
    monkeypatch.setattr("loadtests.scaling.capacity.REQUESTS", 200)
    monkeypatch.setattr("loadtests.scaling.capacity.LEAST_S", 10.0)


def test_shares_become_rates() -> None:
    assert rates_of("virtual_model=3, sketch_search", 8.0) == {"virtual_model": 6.0, "sketch_search": 2.0}
    with pytest.raises(ValueError, match="virtual_modell"):
        rates_of("virtual_modell=1", 1.0)


def test_flows_are_as_recorded() -> None:
    of, table = recorded_flows()["virtual_model"], measured()["flows"]["virtual_model"]
    assert [call.model for call in of.calls] == [call["model"] for call in table["calls"]]
    assert all(k < i for i, call in enumerate(of.calls) for k in call.after)
    swap = next(i for i, call in enumerate(of.calls) if call.model == "mesh_swap")
    assert of.calls[swap].after, "a face is swapped after it was found"


def test_large_calls_cost_more_and_each_goes_its_way() -> None:
    """Up to a megabyte straight to the replica's port; a picture through the object store."""
    token, crop, photo = hop(1_000, 0), hop(600_000, 0), hop(2_000_000, 2_000_000)
    assert token.cpu_s < crop.cpu_s < photo.cpu_s
    assert hop(1_000, 0, way="reference").cpu_s > token.cpu_s
    calls = {call.model: call for call in recorded_flows()["virtual_model"].calls}
    assert calls["centerface"].hop.cpu_s > calls["bisenet_v2"].hop.cpu_s > 0


def test_more_load_needs_no_fewer_machines_and_all_of_them_are_enough() -> None:
    few = machines_needed(rates_of("sketch_search", 2.0), 1.0)
    more = machines_needed(rates_of("sketch_search", 20.0), 1.0)
    assert few.enough and more.enough
    assert few.units < more.units <= 10
    assert more.p95_s["sketch_search"] <= 1.0


def test_gpus_hold_their_replicas() -> None:
    rates = rates_of("virtual_model=0.6,sketch_search=0.4", 20.0)
    answer = gpus_needed(rates, 1.0, gpu_from_factor("l4", GPU_MEMORY_MB["l4"], 16, 10.0))
    assert answer.enough
    slower = gpus_needed(rates, 1.0, gpu_from_factor("l4", GPU_MEMORY_MB["l4"], 16, 2.0))
    assert slower.units >= answer.units


def test_times_on_gpus_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = [
        {"row": "gpu", "engine": engine, "batch": 1, "way": way, "ms": ms}
        for model in gpu_models()
        for engine, way, ms in (
            (f"{model}.a", "tensorrt", 2.0),
            (f"{model}.b", "cuda", 3.0),
            (f"{model}.b", "low", 1.0),
        )
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = gpu_from_rows("l4", GPU_MEMORY_MB["l4"], 8, path)
    assert found.seconds == dict.fromkeys(gpu_models(), pytest.approx(0.005))
    path.write_text("\n".join(json.dumps(row) for row in rows[3:]))
    with pytest.raises(ValueError, match=gpu_models()[0]):
        gpu_from_rows("l4", GPU_MEMORY_MB["l4"], 8, path)


def recorded(started: float, ended: float) -> Recorded:
    return Recorded(role="", model="", inputs=(), answer=(), started=started, ended=ended)


def test_a_call_waits_for_the_last_of_those_that_were_over_in_every_run() -> None:
    one = [recorded(0, 1), recorded(0, 2), recorded(2.1, 3), recorded(3.1, 4)]
    other = [recorded(0, 2.5), recorded(0, 1), recorded(1.1, 3), recorded(3.1, 4)]
    assert _after([one]) == ((), (), (0, 1), (2,))
    assert _after([one, other]) == ((), (), (1,), (0, 2))


def growth(**replicas: list[int]) -> dict[str, Any]:
    return {"flow": "sketch_search", "failed": 0, "replicas": {"mesh_swap": [1, 1, 1], **replicas}}


def test_growth_is_as_it_should_be_or_says_what_is_not() -> None:
    assert amiss(growth(pix2pix_garment=[0, 2, 0], efficientnet_lite0=[0, 1, 0], sketch_search=[1, 2, 2])) == []
    assert any("mesh_swap" in said for said in amiss(growth(pix2pix_garment=[0, 2, 0], mesh_swap=[1, 2, 1])))
    assert any("shrink" in said for said in amiss(growth(pix2pix_garment=[0, 2, 2])))
    assert any("more than one" in said for said in amiss(growth(pix2pix_garment=[0, 1, 0])))
