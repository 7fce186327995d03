"""Every kit of a folder against our own networks and procedures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from compile import kit as kits
from compile.kit import Kit
from deployments.networks import PROCEDURES, Network, network, procedure, recognise


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """worst: largest difference over the largest value, of the output named; None where only keys are known, or
    where it came to nothing, for the reason in `missed`."""

    kit: str
    network: str | None
    worst: float | None = None
    output: str | None = None
    tolerance: float
    seconds: float
    missed: str | None = None


def check_folder(folder: Path, only: str | None = None) -> Iterator[Row]:
    """Check kit by kit. only: id of the one network or procedure that is wanted"""
    for kit in kits.read_kits(folder):
        who = recognise(kit.shapes) if kit.shapes else _procedure_for(kit)
        if only is None or who == only:
            yield _check(kit, who)


def _procedure_for(kit: Kit) -> str | None:
    names = frozenset(kit.golden)
    return next((identifier for identifier in PROCEDURES if procedure(identifier).knows(names)), None)


def _check(kit: Kit, who: str | None) -> Row:
    started = perf_counter()

    def row(found: Mapping[str, float], missed: str | None = None) -> Row:
        output = max(found, key=lambda name: found[name], default=None)
        worst = None if output is None else found[output]
        # Not a number is a miss, too.
        if worst is not None and not worst <= kit.tolerance:
            missed = f"expected at most {kit.tolerance:g}"
        return Row(
            kit=kit.name, network=who, worst=worst, output=output, tolerance=kit.tolerance,
            seconds=perf_counter() - started, missed=missed,
        )  # fmt: skip

    if who is None:
        return row({}, "no network or procedure knows it")
    try:
        if not kit.shapes:
            return row(procedure(who).reproduce(kit.golden))
        return row(outputs_differ(kit, network(who)))
    except (KeyError, ValueError, RuntimeError) as error:
        return row({}, f"{type(error).__name__}: {error}")


def outputs_differ(kit: Kit, of: Network) -> dict[str, float]:
    """Build the network, compare its keys, fill it, run it; the worst difference of each output.

    raises: ValueError where the keys, their order or their shapes are others
    """
    built = of.build(kit.shapes, kit.arch)
    require_keys(kit, built)
    if not kit.golden:
        return {}
    load(built, kit)
    feeds = {name: torch.from_numpy(array) for name, array in kits.feeds(kit).items()}
    with torch.inference_mode():
        outputs = of.outputs(built, feeds, kit.arch)
    return kits.worst(kit.golden, {name: torch.as_tensor(value).numpy() for name, value in outputs.items()})


def require_keys(kit: Kit, built: Any) -> None:
    ours = {key: tuple(value.shape) for key, value in built.state_dict().items()}
    if ours == dict(kit.shapes) and list(ours) == list(kit.shapes):
        return
    absent, extra = [k for k in kit.shapes if k not in ours], [k for k in ours if k not in kit.shapes]
    other = [f"{k} {ours[k]} for {kit.shapes[k]}" for k in kit.shapes if k in ours and ours[k] != kit.shapes[k]]
    place = next((f"{a} for {b}" for a, b in zip(ours, kit.shapes, strict=False) if a != b), "")
    raise ValueError(
        f"expected the checkpoint's keys; {len(absent)} absent {absent[:3]}, {len(extra)} more {extra[:3]}, "
        f"{len(other)} of another shape {other[:3]}, first out of order {place!r}"
    )


def load(built: Any, kit: Kit) -> None:
    """Fill a network with the kit's deterministic weights; what they leave out stays as built."""
    state = built.state_dict()
    for key, values in kits.weights(kit).items():
        state[key].copy_(torch.from_numpy(values))
