"""`python cluster_server.py NODES FOLDER`: the application on a Ray cluster of so many raylets on this machine.

The first node is the head, which the controller, the proxy and the ingress live on; the others are workers that may be
killed.
FOLDER is Ray's own; sockets lie in it, and their paths may not be long. Runs until SIGTERM.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import faults

from deployments.environment import prepare
from modiste.logs import share_stderr

CPUS = 4
STORE_BYTES = 400_000_000


def main() -> None:
    nodes, folder = int(sys.argv[1]), sys.argv[2]
    prepare()
    share_stderr()
    faults.install()

    import ray
    from ray import serve
    from ray._common.utils import get_default_ray_temp_dir
    from ray.cluster_utils import Cluster
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    import api.app
    from modiste.settings import settings
    from modiste.spec import Resources

    options = vars(api.app)["options"]

    def on_the_head(name: str, resources: Resources) -> dict[str, Any]:
        given: dict[str, Any] = options(name, resources)
        if name == api.app.HTTP:
            given["ray_actor_options"] = given["ray_actor_options"] | {"resources": {"head": 1}}
        return given

    vars(api.app)["options"] = on_the_head

    Path(get_default_ray_temp_dir()).mkdir(parents=True, exist_ok=True)  # the cluster's address is noted there
    shape = {"num_cpus": CPUS, "num_gpus": 0, "object_store_memory": STORE_BYTES}
    inline = api.app.INLINE_BYTES
    system = {"max_direct_call_object_size": inline, "task_rpc_inlined_bytes_limit": 4 * inline}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **shape,
            "resources": {"head": 100},
            "temp_dir": folder,
            "include_dashboard": False,
            "_system_config": system,
        },
    )
    for _ in range(nodes - 1):
        cluster.add_node(**shape)
    here = Path(faults.__file__).parent
    ray.init(
        address=cluster.address,
        log_to_driver=True,
        runtime_env={
            "worker_process_setup_hook": "faults.install",
            "env_vars": {"PYTHONPATH": os.pathsep.join(map(str, (here, here.parent / "tiny", Path.cwd())))},
        },
    )
    quiet = LoggingConfig(log_level="WARNING", encoding="JSON", enable_access_log=False)
    serve.start(
        proxy_location="HeadOnly",
        http_options=HTTPOptions(host=settings().host, port=settings().port),
        logging_config=quiet,
    )
    api.app.deploy(quiet)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
