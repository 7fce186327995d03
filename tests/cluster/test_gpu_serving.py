"""Batches, limits, room and the lack of it on a real Ray cluster with declared GPUs."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tiny import FREE_MB, Negative, Plate

from modiste.errors import NoFace, OutOfMemory
from modiste.image import RGBImage
from modiste.telemetry import Context

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

# Ray's own threads and sockets outlive a test.
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]


def plate(value: int, **more: str) -> Plate:
    return Plate(image=RGBImage(np.full((4, 4, 3), value, np.uint8)), **more)


def inverter() -> "DeploymentHandle[list[Negative]]":
    from deployments.app import handle_of

    return handle_of("inverter")


@contextmanager
def serving(model_id: str) -> "Iterator[DeploymentHandle[list[Negative]]]":
    """One more model as an application of its own."""
    from ray import serve

    from deployments.app import bind

    try:
        yield serve.run(bind(model_id), name=model_id, route_prefix=None)
    finally:
        serve.delete(model_id)


async def one(handle: "DeploymentHandle[list[Negative]]", x: Plate) -> Negative:
    from deployments.app import answer

    results: list[Negative] = await answer(lambda: handle.remote([x], Context()), handle.deployment_name)
    return results[0]


async def test_concurrent_calls_are_inferred_together(cluster: Path) -> None:
    with serving("gathering_inverter") as handle:
        await one(handle, plate(1))
        values = range(1, 25)
        found = await asyncio.gather(*(one(handle, plate(value)) for value in values))
    assert [negative.image[0, 0, 0] for negative in found] == [255 - value for value in values]
    assert max(negative.calls for negative in found) == 4


async def test_a_refusal_does_not_fail_the_company(cluster: Path) -> None:
    with serving("gathering_inverter") as handle:
        await one(handle, plate(1))
        answers = await asyncio.gather(
            *(one(handle, plate(value)) for value in (3, 0, 5, 6)), handle.remote([], Context()), return_exceptions=True
        )
    assert isinstance(answers[1], NoFace)
    assert answers[4] == []
    assert [answers[i].image[0, 0, 0] for i in (0, 2, 3)] == [252, 250, 249]
    assert {answers[i].calls for i in (0, 2, 3)} == {4}


async def test_a_model_whose_engines_take_one_gathers_nothing(cluster: Path) -> None:
    found = await asyncio.gather(*(one(inverter(), plate(value)) for value in range(1, 9)))
    assert {negative.calls for negative in found} == {1}


async def test_a_replica_is_told_its_limits(cluster: Path) -> None:
    """A quarter of the memory, and twice that of the threads."""
    negative = await one(inverter(), plate(1))
    assert negative.limits == ("0=2000M", "50")
    assert negative.gpu in {"0", "1"}


def test_a_replica_without_room_does_not_start(cluster: Path) -> None:
    from ray import serve

    from deployments.app import bind

    try:
        large = serve.RunTarget(bind("large_inverter"), name="large_inverter", route_prefix=None)
        serve.run_many([large], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        assert f"expected {FREE_MB + 1} MB free on GPU" in _message("large_inverter", within_s=30)
        assert serve.status().applications["inverter"].status == "RUNNING"
    finally:
        serve.delete("large_inverter")


def _message(model_id: str, *, within_s: float) -> str:
    """What Serve says of a deployment that is in trouble."""
    from ray import serve

    started = time.monotonic()
    while time.monotonic() - started < within_s:
        deployment = serve.status().applications[model_id].deployments.get(model_id)
        if deployment is not None and "MB" in deployment.message:
            return str(deployment.message)
        time.sleep(0.2)
    raise AssertionError(f"Serve said nothing of it in {within_s} s")


async def test_out_of_memory_takes_one_replica_and_no_other(cluster: Path, tmp_path: Path) -> None:
    with serving("gathering_inverter") as other:
        first, beside = await one(inverter(), plate(1)), await one(other, plate(1))
        refused = (await inverter().remote([plate(2, exhaust_once=str(tmp_path / "first"))], Context()),)
        assert isinstance(refused[0], OutOfMemory)
        assert OutOfMemory.status == 503
        assert (await one(other, plate(1))).pid == beside.pid
        started = time.monotonic()
        while (after := await one(inverter(), plate(1))).pid == first.pid:
            assert time.monotonic() - started < 30
            await asyncio.sleep(0.2)
        assert after.image[0, 0, 0] == 254


async def test_what_found_no_room_is_sent_once_more(cluster: Path, tmp_path: Path) -> None:
    found = await one(inverter(), plate(2, exhaust_once=str(tmp_path / "once")))
    assert found.image[0, 0, 0] == 253
    never = tmp_path / "no" / "such" / "folder"  # cannot be written, so the next replica has no room either
    with pytest.raises(OutOfMemory):
        await one(inverter(), plate(2, exhaust_once=str(never)))
