"""`python -m k8s.drain SECONDS`, before a worker's pod ends: Serve starts its replicas elsewhere, and ends those here.

Ray is told that the node goes, as its autoscaler tells it of nodes that clouds take back. Nothing new is placed on it;
Serve starts a replacement for each replica on it first, and then lets the replica answer what it has taken on. Where
the whole cluster ends, its head is gone first; Ray looks for it for some 40 s, which ends this with an error.
"""

import subprocess
import sys
import time

import ray
from ray.util.state import list_actors

LOOK_EVERY_S = 1.0
REPLICA = "ServeReplica:"
"""Begins the class names of Serve's replicas."""


def drain(node_id: str, address: str, within_s: float) -> list[str]:
    """Ask for the node to be emptied and wait for it; the replicas that are still there after `within_s`."""
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node_id),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the pod ends"),
            *("--deadline-remaining-seconds", str(int(within_s))),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise RuntimeError(f"expected Ray to drain {node_id}: {asked.stderr.strip()[-500:]}")
    until = time.monotonic() + within_s
    while left := replicas_on(node_id, address):
        if time.monotonic() > until:
            return left
        time.sleep(LOOK_EVERY_S)
    return []


def replicas_on(node_id: str, address: str) -> list[str]:
    """Names of the living replicas of a node."""
    found = list_actors(address, filters=[("node_id", "=", node_id), ("state", "=", "ALIVE")], limit=10_000)
    return sorted(actor.class_name for actor in found if actor.class_name.startswith(REPLICA))


def main() -> None:
    ray.init(address="auto", log_to_driver=False, configure_logging=False)
    context = ray.get_runtime_context()
    left = drain(context.get_node_id(), context.gcs_address, float(sys.argv[1]))
    if left:  # the pod ends anyway; callers send once more what a replica took with it
        sys.exit(f"still here: {', '.join(left)}")


if __name__ == "__main__":
    main()
