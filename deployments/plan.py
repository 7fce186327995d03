"""The models in use, packed onto GPUs that are only spoken of, as `python -m deployments plan` shows them."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from deployments import model_class, models_in_use
from deployments.placement import Demand, Plan, demand, pack, share
from modiste.settings import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """usable_mb: of each GPU beside its reserve; elsewhere: models that run on the CPU"""

    demands: tuple[Demand, ...]
    plan: Plan
    total_mb: int
    usable_mb: int
    elsewhere: tuple[str, ...]


def planned(*, gpus: int, total_mb: int) -> Planned:
    """raises: ValueError where the reserve leaves nothing"""
    usable = total_mb - settings().gpu_reserve_mb
    if usable <= 0:
        raise ValueError(f"expected more than the reserve of {settings().gpu_reserve_mb} MB, got {total_mb} MB")
    resources = {model: model_class(model).spec.resources for model in models_in_use()}
    demands = tuple(demand(model, of) for model, of in resources.items() if of.gpu_memory_mb)
    return Planned(
        demands=demands,
        plan=pack(demands, gpus=gpus, usable_mb=usable),
        total_mb=total_mb,
        usable_mb=usable,
        elsewhere=tuple(model for model, of in resources.items() if not of.gpu_memory_mb),
    )


def fits(found: Planned) -> bool:
    return not found.plan.missing


def shown(found: Planned) -> Iterator[Table | str]:
    """A table of models and one of GPUs, then what found no room and what needs none."""
    of, gpus = found.plan, range(len(found.plan.gpus))
    models = Table("model", "MB each", "share", "least-most", *(f"GPU {gpu}" for gpu in gpus), "no room for")
    for each in sorted(found.demands, key=lambda each: -each.memory_mb):
        part = f"{share(each.memory_mb, found.usable_mb):.4f}" if each.memory_mb <= found.usable_mb else "over 1"
        lacking = of.missing[each.model] or of.spare[each.model]
        models.add_row(
            each.model,
            str(each.memory_mb),
            part,
            f"{each.least}-{each.most}",
            *(str(of.gpus[gpu][each.model] or "") for gpu in gpus),
            f"{lacking} more" if each.model in of.spare else str(lacking or ""),
        )
    yield models
    left = Table("GPU", "replicas", "MB taken", "MB left", "MB in reserve")
    for gpu in gpus:
        taken = found.usable_mb - of.free_mb[gpu]
        left.add_row(
            *(str(n) for n in (gpu, of.gpus[gpu].total(), taken, of.free_mb[gpu], found.total_mb - found.usable_mb))
        )
    yield left
    least = sum(each.least * each.memory_mb for each in found.demands)
    yield f"All that must run takes {least} MB of {found.usable_mb * len(gpus)} MB beside the reserve."
    if of.missing:
        yield "Does not fit: " + ", ".join(f"{count} x {model}" for model, count in of.missing.items()) + "."
    yield f"On the CPU: {', '.join(found.elsewhere) or 'none'}."
