"""What Ray's own autoscaler reads of the cluster's description, and what it would start for the replicas."""

from collections import Counter
from typing import Any

import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingReply, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.common_pb2 import LabelSelectorOperator

from k8s.invariants import Rendered
from k8s.served import POOL

pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}


def configuration(of: Rendered) -> AutoscalingConfig:
    """As its sidecar makes it from the RayCluster."""
    cluster: dict[str, Any] = {
        "metadata": {"name": "modiste", "namespace": of.environment.namespace},
        "spec": of.service["spec"]["rayClusterConfig"],
    }
    return AutoscalingConfig(_derive_autoscaling_config_from_ray_cr(cluster), skip_content_hash=True)


def scheduled(of: Rendered, replicas: str) -> SchedulingReply:
    """An empty cluster, asked for all deployments' least or most replicas at once."""
    wanted = []
    for deployment in of.deployments().values():
        options = deployment["ray_actor_options"]
        selector = [(POOL, LabelSelectorOperator.LABEL_OPERATOR_IN, [options["label_selector"][POOL]])]
        demand = ResourceRequestUtil.make(
            {NAMES[name]: float(amount) for name, amount in options.items() if name in NAMES},
            label_selectors=[selector],
        )
        wanted += [demand] * deployment["autoscaling_config"][replicas]
    config = configuration(of)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_worker_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(wanted),
    )
    return ResourceDemandScheduler(None).schedule(request)


def started(reply: SchedulingReply) -> Counter[str]:
    counted: Counter[str] = Counter()
    for launch in reply.to_launch:
        counted[launch.instance_type] += launch.count
    counted.pop("headgroup", None)
    return counted


def test_it_knows_the_nodes_before_there_are_any(rendered: Rendered) -> None:
    types = configuration(rendered).get_node_type_configs()
    assert types["headgroup"].resources["CPU"] == 0
    for pool in rendered.environment.pools:
        found = types[pool.name]
        assert (found.min_worker_nodes, found.max_worker_nodes) == pool.nodes
        assert found.labels[POOL] == pool.name
        assert found.resources["CPU"] == pool.cpus
        assert found.resources.get("GPU", 0) == (pool.gpu is not None)


def test_the_least_nodes_hold_the_least_replicas(rendered: Rendered) -> None:
    reply = scheduled(rendered, "min_replicas")
    assert not reply.infeasible_resource_requests
    assert started(reply) == {pool.name: pool.nodes[0] for pool in rendered.environment.pools}


def test_it_finds_nodes_for_the_most_replicas(rendered: Rendered) -> None:
    reply = scheduled(rendered, "max_replicas")
    assert not reply.infeasible_resource_requests
    for pool in rendered.environment.pools:
        assert pool.nodes[0] <= started(reply)[pool.name] <= pool.nodes[1]


def test_it_says_so_where_there_is_no_room(production: Rendered) -> None:
    for group in production.groups:
        group["maxReplicas"] = group["minReplicas"]
    assert scheduled(production, "max_replicas").infeasible_resource_requests
