"""How each deployment scales: from what was measured (service.json, `make measure-service`) and what is declared.

No Ray; the policy that changes the number of replicas under load is in deployments/policy.py.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import floor
from pathlib import Path
from typing import Any

from deployments.placement import gpu_share
from modiste.settings import settings
from modiste.spec import Resources

TABLE = Path(__file__).with_name("service.json")

RARE = frozenset({"try_on", "id_photo", "sketch_search"})
"""Flows used now and then. A model that only these call has no replica until one is called."""

ACCEPTED_WAIT_S = 0.5
"""Of a call from its arrival at a model to its answer, before there are more replicas. A flow makes three to seven
calls one after the other, and few of them wait."""

FEWEST, MOST = 1.0, 16.0
"""Ongoing calls per replica, at least and at most: under one, a replica that works would already be too much; more than
half of what a replica takes on (deployments/app.py) leaves no room for a burst."""

UNMEASURED = 2.0
"""Ongoing calls per replica of what was not measured here, flows and the paper edition: Ray's own default. How many
replicas those have at least and at most is as declared."""

LOOK_BACK_S = 15.0
"""Load is averaged over this long; no delay may be shorter, or replicas come and go with every burst. Replicas report
every 10 s, so it may not be shorter either."""

MEMORY_SHARE = 0.5
"""Of a machine's memory, for the replicas of one model at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """accepted_wait_s: seconds of work that may wait for each replica; cold_start_s: None where it was not measured"""

    min_replicas: int
    max_replicas: int
    target_ongoing_requests: float
    accepted_wait_s: float
    cold_start_s: float | None = None


@cache
def measured() -> Mapping[str, Any]:
    """deployments/service.json"""
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


def scaling_of(name: str, resources: Resources) -> Scaling:
    """Of a model, a flow or what is beside them, before any override by the settings."""
    of = measured()["models"].get(name)
    if of is None:
        return Scaling(
            min_replicas=resources.min_replicas,
            max_replicas=resources.max_replicas,
            target_ongoing_requests=UNMEASURED,
            accepted_wait_s=ACCEPTED_WAIT_S,
        )
    call_s = of["call_s"]["median"]
    return Scaling(
        min_replicas=int(not is_rare(name)),
        max_replicas=_most(resources, of),
        target_ongoing_requests=round(min(MOST, max(FEWEST, ACCEPTED_WAIT_S / call_s)), 1),
        accepted_wait_s=round(max(ACCEPTED_WAIT_S, call_s), 3),
        cold_start_s=of["cold_start_s"],
    )


def is_rare(model: str) -> bool:
    """Whether no flow in steady use calls it in its typical request. Of those that were measured."""
    return RARE.issuperset(measured()["models"][model]["flows"])


def _most(resources: Resources, of: Mapping[str, Any]) -> int:
    """On GPUs what is declared, as their memory sets the limit (deployments/placement.py). On CPUs as many as this
    machine's cores keep at work and its memory holds: another one would only make each slower, and look as busy.
    On Kubernetes the manifests say how many (k8s/served.py)."""
    if gpu_share(resources):
        return resources.max_replicas
    at_work = of["call_cpu_s"]["median"] / of["call_s"]["median"]
    by_cores = round((os.cpu_count() or 1) / max(1.0, at_work))
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    by_memory = floor(MEMORY_SHARE * memory_mb / of["memory_mb"])
    return int(max(1, min(resources.max_replicas, by_cores, by_memory)))


def autoscaling(name: str, resources: Resources) -> dict[str, Any]:
    """Serve's `autoscaling_config` of a deployment, the settings' MODISTE_REPLICAS included."""
    of = scaling_of(name, resources)
    least, most = settings().replicas.get(name, (of.min_replicas, of.max_replicas))
    return {
        "min_replicas": least,
        "max_replicas": most,
        "target_ongoing_requests": of.target_ongoing_requests,
        "look_back_period_s": LOOK_BACK_S,
        "upscale_delay_s": LOOK_BACK_S,
        "downscale_delay_s": settings().downscale_delay_s,
        "downscale_to_zero_delay_s": 2 * settings().downscale_delay_s,
        "policy": {
            "policy_function": "deployments.policy:ByWork",
            "policy_kwargs": {"accepted_wait_s": of.accepted_wait_s},
        },
    }
