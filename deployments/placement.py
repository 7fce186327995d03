"""How replicas share GPUs: arithmetic over declared memory. No Ray, and no GPU needed.

MB of GPU memory are 2**20 bytes everywhere, as NVIDIA's tools count.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from deployments.base import Model
from modiste.settings import settings
from modiste.spec import Resources

PARTS = 10_000
"""Ray counts fractions of a GPU in ten-thousandths."""

OVERSUBSCRIBED = 2.0
"""Threads that a replica may keep busy, over its share of the memory. Limits reserve nothing, and replicas seldom
work at the same moment: with twice the share of each, a busy one uses what idle ones leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Replicas of one model. memory_mb: of each; least: that must find room, most: that may run."""

    model: str
    memory_mb: int
    least: int = 1
    most: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which replicas go where.

    gpus:    how many replicas of which model, for each GPU
    free_mb: what is left of each GPU beside the reserve
    missing: how many of a model's least replicas found no room
    spare:   how many of the others found none
    """

    gpus: tuple[Counter[str], ...]
    free_mb: tuple[int, ...]
    missing: Counter[str] = field(default_factory=Counter)
    spare: Counter[str] = field(default_factory=Counter)


def pack(demands: Sequence[Demand], *, gpus: int, usable_mb: int) -> Plan:
    """First fit, the largest first: each model's least replicas, then one more of each as long as there is room.

    A replica goes to the first GPU with room among those with the fewest of its model: one that is lost takes as few
    replicas of a model with it as can be.
    """
    placed: tuple[Counter[str], ...] = tuple(Counter() for _ in range(gpus))
    free = [usable_mb] * gpus

    def place(of: Demand) -> bool:
        fitting = [gpu for gpu in range(gpus) if free[gpu] >= of.memory_mb]
        if not fitting:
            return False
        chosen = min(fitting, key=lambda gpu: placed[gpu][of.model])
        placed[chosen][of.model] += 1
        free[chosen] -= of.memory_mb
        return True

    missing: Counter[str] = Counter()
    spare: Counter[str] = Counter()
    by_size = sorted(demands, key=lambda of: (-of.memory_mb, of.model))
    for of in by_size:
        missing[of.model] = sum(not place(of) for _ in range(of.least))
    if not missing.total():
        for number in range(max((of.most for of in demands), default=0)):
            for of in by_size:
                if of.least <= number < of.most:
                    spare[of.model] += not place(of)
    return Plan(gpus=placed, free_mb=tuple(free), missing=+missing, spare=+spare)


def demand(model: str, resources: Resources) -> Demand:
    """Models that start when they are called need room for one."""
    least = max(1, resources.min_replicas)
    return Demand(model=model, memory_mb=resources.gpu_memory_mb, least=least, most=max(least, resources.max_replicas))


def share(memory_mb: int, usable_mb: int) -> float:
    """Fraction of a GPU, rounded up, so that the sum of what is placed stays within the memory."""
    return ceil(memory_mb * PARTS / usable_mb) / PARTS


def gpu_share(resources: Resources) -> float:
    """Fraction of a GPU that one replica is placed on under the settings; 0 where it runs on the CPU.

    raises: ValueError for a model that does not fit a GPU, or where the target and the memory contradict each other
    """
    if not resources.gpu_memory_mb:
        return 0.0
    total, target = settings().gpu_memory_mb, settings().target
    if not total and target == "openvino":
        return 0.0
    if not total or target == "openvino":
        raise ValueError(f"expected a target for GPUs and their memory, or neither; got {target} and {total} MB")
    usable = total - settings().gpu_reserve_mb
    if resources.gpu_memory_mb > usable:
        raise ValueError(
            f"expected at most {usable} MB of a GPU beside its reserve, got a model of {resources.gpu_memory_mb} MB"
        )
    return share(resources.gpu_memory_mb, usable)


def gathers(of: type[Model[Any, Any]]) -> bool:
    """Whether replicas collect concurrent calls into batches: where they run on GPUs, unless the settings say."""
    wanted = settings().gather
    return of.max_batch() > 1 and (gpu_share(of.spec.resources) > 0 if wanted is None else wanted)


def mps_limits(resources: Resources) -> dict[str, str]:
    """What a replica's environment says to CUDA's multi-process service; empty where it is off, or on the CPU.

    The memory is a limit on all that the process allocates, TensorRT's included; the threads are one on the share of
    multiprocessors. Neither is a reservation.
    """
    part = gpu_share(resources)
    if not part or not settings().mps:
        return {}
    return {
        # The replica sees one device, whichever it is, as its device 0.
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"0={resources.gpu_memory_mb}M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(min(100, ceil(100 * OVERSUBSCRIBED * part))),
    }


def memory_mb(text: str) -> int:
    """ "24GB" or "24000MB" in MB; a GB is 1024 MB.

    raises: ValueError
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([GM])i?B", text.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(f'expected memory such as "24GB" or "24000MB", got "{text}"')
    return int(float(found[1]) * (1024 if found[2].upper() == "G" else 1))
