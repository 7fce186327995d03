"""What an environment serves: each application with its declared resources and the pool that its replicas run in."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import deployments.app
from api.app import HTTP, INGRESS, INGRESS_TAKES, JOBS, KEEPER, applications
from deployments import MODELS, model_class
from deployments.scaling import measured, scaling_of
from graphs import GRAPHS
from graphs.replica import FLOW
from k8s.environments import Environment, Pool, Replicas
from modiste.settings import settings
from modiste.spec import Resources

PREFIX = "MODISTE_"

POOL = "modiste.dev/pool"
"""Label of Ray nodes that says which pool they are of. Replicas ask for theirs by it: a model's share of a GPU is one
of that type's memory, and what needs no GPU leaves those nodes to what does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One application. import_path, args: who builds it; options: Serve's, for its one deployment of the same name"""

    name: str
    import_path: str
    args: Mapping[str, str]
    pool: Pool
    resources: Resources
    options: Mapping[str, Any]


@contextmanager
def under(values: Mapping[str, str]) -> Iterator[None]:
    """The settings of a process whose environment has these, and no others of ours."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update({name: value for name, value in values.items() if name.startswith(PREFIX)})
    settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()


def model_settings(environment: Environment, pool: Pool | None = None) -> dict[str, str]:
    """MODISTE_* that say which models there are and how they run; without a pool, those of nodes that open none.

    All say that models run on GPUs where some do, as the class that serves a model is chosen where it is built.
    """
    gpu = pool.gpu if pool is not None else None
    largest = max((of.gpu.memory_mb for of in environment.pools if of.gpu is not None), default=0)
    memory = gpu.memory_mb if gpu is not None else largest
    return {
        "MODISTE_EDITION": environment.edition,
        "MODISTE_TARGET": environment.target,
        **({"MODISTE_GPU_MEMORY_MB": str(memory)} if memory else {}),
        **environment.settings,
    }


def pool_of(environment: Environment, resources: Resources) -> Pool:
    """The pool that replicas run in: that of the last GPU type in the table which takes models of their size, or, of
    what needs no GPU or has none, the first pool.
    """
    found = environment.pools[0]
    for pool in environment.pools:
        if pool.gpu is not None and resources.gpu_memory_mb >= pool.gpu.models_mb:
            found = pool
    return found


def scaled(resources: Resources, of: Replicas, name: str) -> Resources:
    """Least and most replicas of an environment, from those of one machine."""
    if name in of.single:
        least, most = of.single[name]
    else:
        single = resources.max_replicas == 1  # there must not be two
        most = 1 if single else min(resources.max_replicas * of.factor, of.cap or resources.max_replicas * of.factor)
        least = min(most, max(of.least, resources.min_replicas)) if resources.min_replicas else 0
    return replace(resources, min_replicas=least, max_replicas=most)


def served(environment: Environment) -> list[Served]:
    """Every application under the environment's settings; callers after those whom they call."""
    with under(model_settings(environment)):
        names = list(applications())
    return [_served(environment, name) for name in names]


def _served(environment: Environment, name: str) -> Served:
    import_path, args, declared = _declared(name)
    pool = pool_of(environment, declared)
    given = model_settings(environment, pool)
    with under(given):
        found = scaling_of(name, declared)
    resources = scaled(replace(declared, min_replicas=found.min_replicas), environment.replicas, name)
    chosen = {name: [resources.min_replicas, resources.max_replicas]}
    with under(given | {"MODISTE_REPLICAS": json.dumps(chosen)}):
        options = deployments.app.options(name, resources)
    if name == HTTP:
        options |= INGRESS_TAKES
    options["ray_actor_options"] = {
        **{key: value for key, value in options["ray_actor_options"].items() if key != "num_gpus" or value},
        "num_cpus": round(resources.cpus * pool.cpu_share, 4),
        "memory": replica_mb(name, pool) * 2**20,
        "label_selector": {POOL: pool.name},
    }
    if name in environment.rolled:
        options["ray_actor_options"]["runtime_env"] = {"env_vars": {"MODISTE_ROLLED": environment.rolled[name]}}
    return Served(name=name, import_path=import_path, args=args, pool=pool, resources=resources, options=options)


def replica_mb(name: str, pool: Pool) -> int:
    """Memory that a replica is promised: half as much again as was measured, or what the pool says where it was not, as
    on GPUs.
    """
    of = measured()["models"].get(name)
    if of is None or pool.gpu is not None:
        return pool.replica_mb
    return ceil(1.5 * float(of["memory_mb"]) / 64) * 64


def _declared(name: str) -> tuple[str, dict[str, str], Resources]:
    if name in MODELS:
        return "deployments.app:application", {"model": name}, model_class(name).spec.resources
    if name in GRAPHS:
        return "graphs.replica:application", {"flow": name}, FLOW
    return {HTTP: ("api.app:http", {}, INGRESS), JOBS: ("api.app:jobs", {}, KEEPER)}[name]
