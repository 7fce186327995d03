"""What has to hold between rendered manifests, the specs and the settings; each rule names what breaks it.

Schemas say whether a field is known; these say whether the service could run.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from api.app import HTTP, JOBS, applications
from deployments import MODELS, model_class, model_for
from deployments.placement import Demand, pack, share
from graphs import GRAPHS, graph_class
from k8s.cluster import RAY_ITSELF_MB
from k8s.environments import Environment
from k8s.served import POOL, model_settings, under
from modiste.settings import settings

Manifest = dict[str, Any]
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Rendered:
    """The documents of one environment, and what of them most rules are about."""

    environment: Environment
    documents: list[Manifest]

    def of_kind(self, *kinds: str) -> list[Manifest]:
        return [document for document in self.documents if document["kind"] in kinds]

    @property
    def service(self) -> Manifest:
        (found,) = self.of_kind("RayService")
        return found

    @property
    def serve(self) -> Manifest:
        found: Manifest = yaml.safe_load(self.service["spec"]["serveConfigV2"])
        return found

    @property
    def groups(self) -> list[Manifest]:
        found: list[Manifest] = self.service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        return found

    def deployments(self) -> dict[str, Manifest]:
        return {of["name"]: of["deployments"][0] for of in self.serve["applications"]}


def every_application_once(of: Rendered) -> Iterator[str]:
    """Models in use, flows, jobs and HTTP, each in one application, which its builder is told to build."""
    with under(model_settings(of.environment)):
        wanted = set(applications())
    counted = Counter(application["name"] for application in of.serve["applications"])
    for name in sorted(wanted | set(counted)):
        if counted[name] != (name in wanted):
            yield f"{name}: expected {int(name in wanted)} applications, got {counted[name]}"
    for application in of.serve["applications"]:
        name = application["name"]
        args = {"model": name} if name in MODELS else {"flow": name} if name in GRAPHS else {}
        if application["args"] != args:
            yield f"{name}: expected the arguments {args}, got {application['args']}"


def every_call_has_a_target(of: Rendered) -> Iterator[str]:
    there = set(of.deployments())
    with under(model_settings(of.environment)):
        calls = {name: {model_for(role) for role in graph_class(name).roles()} for name in GRAPHS}
    for caller, called in (calls | {HTTP: {*GRAPHS, JOBS}, JOBS: set(GRAPHS)}).items():
        for name in sorted(called - there):
            yield f"{caller} calls {name}, which no application is"


def delays_outlast_the_look_back(of: Rendered) -> Iterator[str]:
    for name, deployment in of.deployments().items():
        scaling = deployment["autoscaling_config"]
        for delay in ("upscale_delay_s", "downscale_delay_s", "downscale_to_zero_delay_s"):
            if scaling[delay] < scaling["look_back_period_s"]:
                yield f"{name}: expected a {delay} of {scaling['look_back_period_s']} at least, got {scaling[delay]}"


def every_replica_has_a_pool(of: Rendered) -> Iterator[str]:
    pools = {group["labels"][POOL] for group in of.groups}
    for name, deployment in of.deployments().items():
        asked = deployment["ray_actor_options"].get("label_selector", {}).get(POOL)
        if asked not in pools:
            yield f"{name}: expected one of the pools {sorted(pools)}, got {asked}"


def nodes_are_what_their_pods_hold(of: Rendered) -> Iterator[str]:
    """What Ray is told of a node is what its pod has; one GPU at most for each Ray node, as ADR 0013 says."""
    for group in of.groups:
        name, told = group["groupName"], group["rayStartParams"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        if told["num-cpus"] != limits["cpu"]:
            yield f"{name}: expected {limits['cpu']} CPUs, got {told['num-cpus']}"
        if told["num-gpus"] != limits.get("nvidia.com/gpu", "0") or int(told["num-gpus"]) > 1:
            yield f"{name}: expected one GPU, of the pod, or none; got {told['num-gpus']}"
        taken = (int(told["memory"]) + int(told["object-store-memory"])) // MIB + RAY_ITSELF_MB
        if taken > mebibytes(limits["memory"]):
            yield f"{name}: expected at most {limits['memory']}, got replicas, object store and Ray with {taken}Mi"


def gpu_shares_fit(of: Rendered) -> Iterator[str]:
    """Shares are of the pool's type, and the models' declared memory packs onto its GPUs, least and most."""
    with under({}):
        reserve = settings().gpu_reserve_mb
    for pool in of.environment.pools:
        here = {
            name: deployment
            for name, deployment in of.deployments().items()
            if deployment["ray_actor_options"].get("label_selector", {}).get(POOL) == pool.name
        }
        if pool.gpu is None:
            for name in sorted(name for name, found in here.items() if found["ray_actor_options"].get("num_gpus")):
                yield f"{name}: expected no share of a GPU in {pool.name}"
            continue
        usable = pool.gpu.memory_mb - reserve
        demands = []
        for name, deployment in here.items():
            memory = model_class(name).spec.resources.gpu_memory_mb
            scaling = deployment["autoscaling_config"]
            given = deployment["ray_actor_options"].get("num_gpus", 0)
            if given != share(memory, usable):
                yield f"{name}: expected {share(memory, usable)} of a GPU with {usable} MB, got {given}"
            least, most = max(1, scaling["min_replicas"]), scaling["max_replicas"]
            demands.append(Demand(model=name, memory_mb=memory, least=least, most=max(least, most)))
        for gpus, wanted in zip(pool.nodes, ("missing", "spare"), strict=True):
            plan = pack(demands, gpus=gpus, usable_mb=usable)
            lacking = plan.missing if wanted == "missing" else plan.missing + plan.spare
            for name, count in sorted(lacking.items()):
                yield f"{name}: {count} replicas find no room on {gpus} GPUs of {pool.name}"


def replicas_are_placeable(of: Rendered) -> Iterator[str]:
    """Cores and memory: the least replicas on the least nodes of their pool, the most on the most."""
    for group in of.groups:
        told = group["rayStartParams"]
        room = (float(told["num-cpus"]), float(told["memory"]))
        for replicas, nodes in (("min_replicas", "minReplicas"), ("max_replicas", "maxReplicas")):
            wanted = []
            for name, deployment in of.deployments().items():
                options = deployment["ray_actor_options"]
                if options.get("label_selector", {}).get(POOL) == group["labels"][POOL]:
                    size = (options["num_cpus"], float(options["memory"]))
                    wanted += [(size, name)] * deployment["autoscaling_config"][replicas]
            lacking = Counter(_without_room(wanted, room, group[nodes]))
            for name, count in sorted(lacking.items()):
                yield f"{name}: {count} of its {replicas} find no room on {group[nodes]} nodes of {group['groupName']}"


def _without_room(
    wanted: Sequence[tuple[tuple[float, float], str]], room: tuple[float, float], nodes: int
) -> Iterator[str]:
    """First fit, the largest share of a node first."""
    free = [room] * nodes
    for (cpus, memory), name in sorted(wanted, key=lambda one: max(one[0][0] / room[0], one[0][1] / room[1]))[::-1]:
        for node, (cores, bytes_) in enumerate(free):
            if cpus <= cores + 1e-9 and memory <= bytes_:
                free[node] = (cores - cpus, bytes_ - memory)
                break
        else:
            yield name


def every_proxy_knows_the_tenants(of: Rendered) -> Iterator[str]:
    """Each worker has one, and users reach all of them: where the file is not, no tenant would have a limit."""
    for group in of.groups if of.environment.site else ():
        container = group["template"]["spec"]["containers"][0]
        told = {each["name"]: each.get("value") for each in container["env"]}.get("MODISTE_TENANTS")
        mounted = [each["mountPath"] for each in container["volumeMounts"]]
        if told is None or told.rpartition("/")[0] not in mounted:
            yield f"{group['groupName']}: expected MODISTE_TENANTS in a mounted folder, got {told} and {mounted}"


def mebibytes(quantity: str) -> int:
    """Of a quantity as we write it."""
    if not quantity.endswith("Mi"):
        raise ValueError(f"expected Mi, got {quantity}")
    return int(quantity[:-2])


RULES: tuple[Callable[[Rendered], Iterator[str]], ...] = (
    every_application_once,
    every_call_has_a_target,
    delays_outlast_the_look_back,
    every_replica_has_a_pool,
    nodes_are_what_their_pods_hold,
    gpu_shares_fit,
    replicas_are_placeable,
    every_proxy_knows_the_tenants,
)
