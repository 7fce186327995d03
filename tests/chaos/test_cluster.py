"""Two raylets with the default models under load, while parts of them end, slow down or get more than they can do."""

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from arrivals import Sent, at_once, disconnect, failed, figures, look, quantile, send, stall, steadily
from conftest import Record
from processes import busy_cores, cores_used, family, kill, memory_mb, until
from requests_of import FACE, HEAVY, ONE, SKETCH
from servers import Server, clustered

pytestmark = [pytest.mark.chaos, pytest.mark.cluster, pytest.mark.weights, pytest.mark.long]

SKETCH_MODELS = ("pix2pix_garment", "efficientnet_lite0")
FACE_MODELS = ("blazeface", "face_mesh", "bisenet_v2", "dlib_resnet", "mobile_stylegan", "mesh_swap")
FLOWS = ("sketch_search", "virtual_model", "virtual_faces")
REPLICAS = dict.fromkeys((*SKETCH_MODELS, "sketch_search", "virtual_model", "http"), 2) | dict.fromkeys(FACE_MODELS, 1)
"""How many there are of each: requests to `virtual_model` meet models that have one alone."""
DEADLINE_S = 60.0
ARRIVING_S = 8.0
PLACES, FACE_PLACES = 20, 16
"""Of `virtual_faces` and of `virtual_model`."""
BURSTS = 3
AGAIN = 20
"""Times that a client tries while there is no ingress."""
MIX = (SKETCH, SKETCH, FACE)
RATE = 1.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, catalogued: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("cluster")
    shutil.copytree(catalogued, folder / "state")
    environment = {
        "MODISTE_REPLICAS": json.dumps(
            {name: (count, count) for name, count in REPLICAS.items()} | {"efficientnet_lite0": (2, 3)}
        ),
        "MODISTE_CONCURRENCY": json.dumps({"virtual_faces": PLACES, "virtual_model": FACE_PLACES}),
        "MODISTE_DEADLINE_S": str(DEADLINE_S),
    }
    with clustered(folder, environment, nodes=2, flows=FLOWS) as running:
        whole(running)
        asyncio.run(steadily(running.port, MIX, rate=RATE, seconds=10))
        yield running


def whole(server: Server) -> float:
    """Seconds until every deployment has its replicas."""
    return until(
        lambda: all(len(server.replicas(name)) >= count for name, count in REPLICAS.items()),
        within_s=120,
        what="all replicas",
    )


async def during(
    server: Server, seconds: float, break_it: Any, *, tries: int = 1, rate: float = RATE
) -> tuple[list[Sent], dict[str, Any]]:
    """Load for so long, in which something is broken after a third; answers, and figures of before and after.

    A model is slowed meanwhile, and four requests more come shortly before, so that what is broken has surely work.
    """
    retried = server.said("replica_died")
    slow(server, "pix2pix_garment", "+0.6")
    try:
        load = asyncio.create_task(steadily(server.port, MIX, rate=rate, seconds=seconds, tries=tries))
        await asyncio.sleep(seconds / 3 - 0.7)
        more = [asyncio.create_task(send(server.port, SKETCH, tries=tries)) for _ in range(4)]
        await asyncio.sleep(0.7)
        broken = perf_counter()
        await asyncio.to_thread(break_it)
        recovered = await asyncio.to_thread(whole, server)
        answers = [*await load, *await asyncio.gather(*more)]
    finally:
        slow(server, "pix2pix_garment", None)
    usual = quantile([sent.seconds for sent in answers if sent.due + sent.seconds < broken], 0.5) or 1.0
    after = [sent for sent in answers if sent.due + sent.seconds >= broken]
    return answers, {
        **figures(answers),
        "usual_s": usual,
        "felt_s": stall(after, usual_s=usual),
        "replaced_s": recovered,
        "step_retries": server.said("replica_died") - retried,
    }


def slow(server: Server, model: str, told: str | None) -> None:
    """Put the brake on the model's replicas, or take it away (faults.py)."""
    brake = server.faults / f"slow_{model}"
    brake.unlink() if told is None else brake.write_text(told)


@pytest.mark.parametrize("name", ["pix2pix_garment", "sketch_search"], ids=["model", "flow"])
async def test_a_replica_dies_and_no_request_fails(server: Server, record: Record, name: str) -> None:
    answers, measured = await during(server, 15, lambda: kill(server.replicas(name)[0]))
    record("model_replica" if name == "pix2pix_garment" else "flow_replica", **measured)
    assert not failed(answers)
    assert measured["step_retries"], "no call was in the replica: this test proved nothing"


async def test_an_ingress_dies_and_one_retry_of_the_client_is_enough(server: Server, record: Record) -> None:
    """What was in it is lost; its client sends that once more."""
    answers, measured = await during(server, 15, lambda: kill(server.replicas("http")[0]), tries=2)
    record("ingress_1_of_2", **measured)
    assert not failed(answers)
    assert measured["tried_again"]


async def test_all_ingresses_die_and_clients_that_go_on_trying_are_answered(server: Server, record: Record) -> None:
    """Nothing is served until there is another one; a client that tries again every second loses nothing."""
    answers, measured = await during(server, 15, lambda: kill(*server.replicas("http")), tries=AGAIN)
    record("ingress_2_of_2", **measured, tries=max(sent.tries for sent in answers))
    assert not failed(answers)
    assert measured["tried_again"]


async def test_the_controller_dies_and_no_request_fails(server: Server, record: Record) -> None:
    """Load that asks for a third replica afterwards gets it."""
    back: list[float] = []

    def break_it() -> None:
        kill(*server.controller())
        back.append(until(server.controller, within_s=30, what="another controller"))

    answers, measured = await during(server, 15, break_it)
    slow(server, "efficientnet_lite0", "+1.3")
    try:
        load = asyncio.create_task(steadily(server.port, [SKETCH], rate=1.5, seconds=45))
        scaled_s = await asyncio.to_thread(
            until, lambda: len(server.replicas("efficientnet_lite0")) == 3, within_s=60, what="a third replica"
        )
    finally:
        slow(server, "efficientnet_lite0", None)
    await load
    record("controller", **measured, back_s=back[0], scaled_s=scaled_s)
    assert not failed(answers)


async def test_models_slowed_tenfold_do_not_hurt_other_flows(server: Server, record: Record) -> None:
    async def both() -> tuple[list[Sent], list[Sent]]:
        faces, sketches = await asyncio.gather(
            steadily(server.port, [FACE], rate=1.5, seconds=30), steadily(server.port, [SKETCH], rate=1.0, seconds=30)
        )
        return faces, sketches

    usual_faces, usual_sketches = await both()
    for model in FACE_MODELS:
        slow(server, model, "10")
    try:
        faces, sketches = await both()
    finally:
        for model in FACE_MODELS:
            slow(server, model, None)
    shed = [sent for sent in faces if not sent.ok]
    factor = _p95(sketches) / _p95(usual_sketches)
    record(
        "slow_model",
        usual_slowed_flow=figures(usual_faces), slowed_flow=figures(faces),
        usual_other_flow=figures(usual_sketches), other_flow=figures(sketches),
        p95_factor=round(factor, 2), shed_max_s=quantile([sent.seconds for sent in shed], 1.0),
    )  # fmt: skip
    assert not failed([*usual_faces, *usual_sketches, *sketches])
    assert shed
    assert {sent.status for sent in shed} <= {429, 503}
    assert all(sent.retry_after for sent in shed)
    assert factor < 2


def _p95(answers: Sequence[Sent]) -> float:
    return quantile([sent.seconds for sent in answers if sent.ok], 0.95) or 0.0


async def test_work_for_clients_that_left_is_dropped(server: Server, record: Record) -> None:
    idle = await asyncio.to_thread(cores_used, server.root, 3.0)
    before = await asyncio.to_thread(memory_mb, server.root)
    started = perf_counter()
    leaving = asyncio.gather(*(disconnect(server.port, HEAVY, after_s=3.0) for _ in range(12)))
    await asyncio.sleep(1.5)
    at_work = await asyncio.to_thread(cores_used, server.root, 1.0)
    await leaving
    idle_after_s, used = await asyncio.to_thread(busy_cores, server.root, idle=idle + 0.2, within_s=20)
    after = await asyncio.to_thread(memory_mb, server.root)
    record(
        "disconnects", requests=12, left_after_s=3.0, idle_cores=idle, cores_at_work=at_work,
        idle_after_s=idle_after_s, cores_afterwards=used, memory_mb_before=before, memory_mb_after=after,
    )  # fmt: skip
    assert at_work > idle + 0.3, "nothing was computed: this test proved nothing"
    assert perf_counter() - started < 30
    assert (await send(server.port, SKETCH)).ok


async def test_two_hundred_at_once_where_twenty_may(server: Server, record: Record) -> None:
    """Three times. What the proxy alone needs to answer as many tells how much of it is the server's."""
    answers: list[Sent] = []
    proxy: list[float] = []
    for _ in range(BURSTS):
        proxy.append(max(sent.seconds for sent in await at_once(server.port, look("/-/healthz"), 200)))
        answers += await at_once(server.port, ONE, 200)
    shed = [sent.seconds for sent in answers if not sent.ok]
    record(
        "overload", **figures(answers), shed=len(shed), bursts=BURSTS, proxy_max_s=quantile(proxy, 0.5),
        shed_p50_s=quantile(shed, 0.5), shed_p99_s=quantile(shed, 0.99), shed_max_s=quantile(shed, 1.0),
    )  # fmt: skip
    refused = [sent for sent in answers if not sent.ok]
    assert {(sent.status, sent.code) for sent in refused} == {(503, "overloaded")}
    assert all(sent.retry_after for sent in refused)
    assert len(answers) - len(refused) <= BURSTS * (PLACES + 10)
    assert (quantile(shed, 0.99) or 1.0) < 0.1 + (quantile(proxy, 0.5) or 0.0)
    assert (await send(server.port, ONE)).ok


async def test_two_hundred_that_arrive_where_twenty_may_are_told_within_a_tenth_of_a_second(
    server: Server, record: Record
) -> None:
    """A model is slowed for this, so that the places stay taken; the cores are free for those that are refused."""
    slow(server, "mobile_stylegan", "+0.5")
    try:
        answers = await steadily(server.port, [ONE], rate=200 / ARRIVING_S, seconds=ARRIVING_S)
    finally:
        slow(server, "mobile_stylegan", None)
    refused = [sent for sent in answers if not sent.ok]
    shed = [sent.seconds for sent in refused]
    record(
        "overload_arriving", **figures(answers), within_s=ARRIVING_S, shed=len(shed),
        shed_p50_s=quantile(shed, 0.5), shed_p99_s=quantile(shed, 0.99), shed_max_s=quantile(shed, 1.0),
    )  # fmt: skip
    assert {(sent.status, sent.code) for sent in refused} == {(503, "overloaded")}
    assert all(sent.retry_after for sent in refused)
    assert (quantile(shed, 0.99) or 1.0) < 0.1


async def test_nothing_is_computed_past_its_deadline(server: Server, record: Record) -> None:
    """More work at once than one model can do in time: it waits two seconds for each call."""
    idle = await asyncio.to_thread(cores_used, server.root, 3.0)
    slow(server, "mobile_stylegan", "+2")
    try:
        answers = await at_once(server.port, HEAVY, 20)
    finally:
        slow(server, "mobile_stylegan", None)
    slowest = max(sent.seconds for sent in answers)
    idle_after_s, used = await asyncio.to_thread(busy_cores, server.root, idle=idle + 0.2, within_s=15)
    record(
        "deadline", **figures(answers), deadline_s=DEADLINE_S, slowest_s=round(slowest, 2),
        idle_cores=idle, idle_after_s=idle_after_s, cores_afterwards=used,
    )  # fmt: skip
    ends = {(sent.status, sent.code) for sent in answers if not sent.ok}
    assert (504, "deadline_exceeded") in ends
    assert ends <= {(504, "deadline_exceeded"), (503, "overloaded"), (503, "busy")}
    assert slowest < DEADLINE_S + 2


async def test_a_worker_node_dies_and_no_request_fails(server: Server, record: Record) -> None:
    """Its raylet and all its replicas, at one moment; the ingress lives on the other node.

    Those that take their places start on the very cores that the others work on, hence the lighter load.
    """
    (raylet,) = server.workers()
    lost = family(raylet.pid)
    assert any("ServeReplica" in " ".join(process.cmdline()) for process in lost)
    answers, measured = await during(server, 45, lambda: kill(*lost), rate=0.8)
    record("worker_node", **measured, processes_killed=len(lost))
    assert not failed(answers)
