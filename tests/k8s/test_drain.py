"""A worker that ends loses nobody's request: on a Ray of three nodes, under load."""

import threading
import time
from collections.abc import Generator

import pytest

from k8s.drain import drain, replicas_on

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def nodes() -> Generator[tuple[str, list[str]], None, None]:
    """The address of a cluster, and the ids of its two workers; the head takes no replicas, as in production."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": True})
    try:
        workers = [cluster.add_node(num_cpus=1).node_id for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
        serve.start(proxy_location="Disabled")
        yield cluster.address, workers
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_replicas_move_before_the_node_ends(nodes: tuple[str, list[str]]) -> None:
    from ray import serve

    address, (going, staying) = nodes

    @serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.4}, max_ongoing_requests=8)
    class Echo:
        async def __call__(self, number: int) -> int:
            import asyncio

            await asyncio.sleep(0.2)
            return number

    handle = serve.run(Echo.bind(), name="echo", route_prefix=None)
    answered: list[int] = []
    failed: list[BaseException] = []
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            try:
                answered.append(handle.remote(len(answered)).result(timeout_s=30))
            except Exception as error:
                failed.append(error)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        assert [len(replicas_on(node, address)) for node in (going, staying)] == [1, 1]
        before = len(answered)
        assert drain(going, address, 60.0) == []
        during = len(answered) - before
        assert [len(replicas_on(node, address)) for node in (going, staying)] == [0, 2]
        time.sleep(1.0)
    finally:
        ended.set()
        for caller in callers:
            caller.join()
    assert not failed
    assert during > 0


def test_a_node_that_is_gone_has_nothing_left(nodes: tuple[str, list[str]]) -> None:
    address, _ = nodes
    assert drain("0" * 56, address, 1.0) == []
