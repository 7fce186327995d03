"""The small model and flows under load, while parts of their server end. `make chaos` does it to real models."""

import asyncio
from collections.abc import Iterator
from time import perf_counter

import numpy as np
import pytest
from arrivals import Ask, ask, at_once, disconnect, failed, figures, quantile, send, steadily
from conftest import Record
from processes import kill, until
from servers import Server, small

from modiste.image import RGBImage, encode

pytestmark = [pytest.mark.chaos, pytest.mark.cluster]

PICTURE = encode(RGBImage(np.full((48, 64, 3), 90, np.uint8)))
LIMIT, DEADLINE_S = 20, 8.0
AT_ONCE = 200


def invert(*, steps: int = 2, seconds: float = 0.05) -> Ask:
    return ask("tiny", {"picture": PICTURE}, {"steps": steps, "seconds": seconds}, accept="image/*")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        "MODISTE_REPLICAS": '{"inverter": [2, 2], "tiny": [2, 2]}',
        "MODISTE_CONCURRENCY": f'{{"tiny": {LIMIT}}}',
        "MODISTE_DEADLINE_S": str(DEADLINE_S),
    }
    with small(tmp_path_factory.mktemp("small"), environment) as running:
        until(lambda: len(running.replicas("inverter")) == 2, within_s=30, what="two replicas of the model")
        yield running


@pytest.mark.parametrize("name", ["inverter", "tiny"], ids=["model", "flow"])
async def test_a_replica_dies_and_no_request_fails(server: Server, record: Record, name: str) -> None:
    """Of the model, or of the flow; each of two has a long call when one ends."""
    noticed = server.said("replica_died")
    load = asyncio.create_task(steadily(server.port, [invert()], rate=3, seconds=5))
    await asyncio.sleep(1)
    long = asyncio.create_task(at_once(server.port, invert(steps=1, seconds=0.9), 4))
    await asyncio.sleep(0.5)
    (victim, _) = server.replicas(name)
    kill(victim)
    answers = [*await long, *await load]
    retried = server.said("replica_died") - noticed
    record(f"small_{name}_dies", **figures(answers), step_retries=retried)
    assert not failed(answers)
    assert retried, "no call was in the replica: this test proved nothing"
    until(lambda: len(server.replicas(name)) == 2, within_s=30, what="another replica")


async def test_the_controller_dies_and_no_request_fails(server: Server, record: Record) -> None:
    """What it is for works again: a replica that dies afterwards is replaced."""
    load = asyncio.create_task(steadily(server.port, [invert()], rate=3, seconds=5))
    await asyncio.sleep(1)
    kill(*server.controller())
    back_s = await asyncio.to_thread(until, server.controller, within_s=20, what="another controller")
    answers = await load
    kill(server.replicas("inverter")[0])
    replaced_s = until(lambda: len(server.replicas("inverter")) == 2, within_s=40, what="another replica")
    record("small_controller_dies", **figures(answers), back_s=back_s, replaced_s=replaced_s)
    assert not failed(answers)


async def test_work_for_clients_that_left_is_dropped(server: Server, record: Record) -> None:
    """Sixteen requests of four seconds, given up after half a second; the next client waits for none of them."""
    await send(server.port, invert())
    slow = invert(steps=10, seconds=0.4)
    await asyncio.gather(*(disconnect(server.port, slow, after_s=0.5) for _ in range(16)))
    started = perf_counter()
    after = await send(server.port, invert(steps=1, seconds=0))
    record("small_disconnects", **figures([after]))
    assert after.ok
    assert perf_counter() - started < 1.5


async def test_more_than_the_limit_at_once_are_told_to_come_again(server: Server, record: Record) -> None:
    answers = await at_once(server.port, invert(steps=1), AT_ONCE)
    shed = [sent for sent in answers if not sent.ok]
    record("small_overload", **figures(answers), shed_max_s=max(sent.seconds for sent in shed))
    assert len(answers) - len(shed) >= LIMIT
    assert {(sent.status, sent.code) for sent in shed} <= {(503, "overloaded"), (429, "too_many_requests")}
    assert all(sent.retry_after for sent in shed)
    assert (await send(server.port, invert())).ok
    arriving = await steadily(server.port, [invert(steps=1, seconds=0.6)], rate=25, seconds=2)
    told = quantile([sent.seconds for sent in arriving if not sent.ok], 0.5)
    record("small_overload_arriving", **figures(arriving), shed_p50_s=told)
    assert told is not None
    assert told < 0.1


async def test_work_over_its_deadline_is_given_up(server: Server, record: Record) -> None:
    endless = invert(steps=100, seconds=0.2)
    answers = await asyncio.gather(*(send(server.port, endless) for _ in range(4)))
    record("small_deadline", **figures(answers), slowest_s=max(sent.seconds for sent in answers))
    assert {(sent.status, sent.code) for sent in answers} == {(504, "deadline_exceeded")}
    assert max(sent.seconds for sent in answers) < DEADLINE_S + 1
    started = perf_counter()
    assert (await send(server.port, invert(steps=1, seconds=0))).ok
    assert perf_counter() - started < 1
