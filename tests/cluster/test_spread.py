"""One Ray node for each GPU, as several GPUs are served: replicas of a model are spread over them.

Within one node, Ray fills the first GPU before it uses the second.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny

from deployments.environment import prepare
from modiste.image import RGBImage
from modiste.settings import settings
from modiste.telemetry import Context

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

# Ray's own threads and sockets outlive a test.
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

STORE = 80_000_000


@pytest.fixture(scope="module")
def nodes(request: pytest.FixtureRequest) -> "Iterator[Cluster]":
    """A node without a GPU for what Serve itself runs, and two with one GPU each, on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        prepare()
        patch.setenv("MODISTE_TARGET", "cuda")
        patch.setenv("MODISTE_GPU_MEMORY_MB", "8500")
        patch.setenv("MODISTE_GPU_RESERVE_MB", "500")
        settings.cache_clear()
        request.addfinalizer(settings.cache_clear)
        tables = [(table, dict(table)) for table in (tiny.MODELS, tiny.EDITIONS["default"], tiny.GRAPHS)]
        patch.setattr(tiny.gpu_device, "free_mb", tiny.gpu_device.free_mb)
        tiny.register()

        import ray
        from ray import serve
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0, "object_store_memory": STORE}
        )
        for gpu in "01":
            cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=STORE, env_vars={"CUDA_VISIBLE_DEVICES": gpu})
        try:
            ray.init(
                address=cluster.address,
                log_to_driver=False,
                runtime_env={
                    "worker_process_setup_hook": "tiny.register",
                    "env_vars": {"PYTHONPATH": f"{Path(tiny.__file__).parent}{os.pathsep}{Path.cwd()}"},
                },
            )
            serve.start(proxy_location="Disabled")
            yield cluster
        finally:
            serve.shutdown()
            ray.shutdown()
            cluster.shutdown()
            for table, entries in tables:
                table.clear()  # type: ignore[attr-defined]
                table.update(entries)  # type: ignore[attr-defined]


def test_replicas_of_one_model_are_on_different_gpus(nodes: "Cluster") -> None:
    from ray import serve

    from deployments.app import bind

    handle = serve.run(bind("paired_inverter"), name="paired_inverter", route_prefix=None)
    plate = tiny.Plate(image=RGBImage(np.full((4, 4, 3), 1, np.uint8)), seconds=0.05)
    seen: set[str] = set()
    started = time.monotonic()
    while seen != {"0", "1"} and time.monotonic() - started < 20:
        seen |= {call.result()[0].gpu for call in [handle.remote([plate], Context()) for _ in range(8)]}
    assert seen == {"0", "1"}
