"""Every kit of a folder against our own networks and procedures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from numpy.typing import NDArray

from compile import kit as kits
from compile.kit import Arrays, Kit
from deployments.networks import PROCEDURES, Network, Procedure, network, procedure, recognise


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
    found = kits.read_kits(folder)
    for kit in found:
        if only is None or who_knows(kit) == only:
            yield check(kit, found)


def who_knows(kit: Kit) -> str | None:
    """The network or procedure that a kit is about; None where there is none."""
    if kit.shapes:
        return recognise(kit.shapes)
    names = frozenset(kit.golden)
    return next((identifier for identifier in PROCEDURES if procedure(identifier).knows(names)), None)


def _with_inputs(kit: Kit, of: Procedure, folder: Sequence[Kit]) -> Arrays:
    """The kit's arrays, and those of the kit beside it that holds the inputs."""
    if of.beside is None:
        return kit.golden
    others = {other.name: other.golden for other in folder if other is not kit and of.beside(frozenset(other.golden))}
    nearest = get_close_matches(kit.name, others, n=1, cutoff=0.0)
    return {**(others[nearest[0]] if nearest else {}), **kit.golden}


def check(kit: Kit, folder: Sequence[Kit]) -> Row:
    """One kit. folder: all kits beside it"""
    # On a single thread oneDNN takes other algorithms, whose rounding warps then multiply past the tolerance.
    torch.set_num_threads(max(2, torch.get_num_threads()))
    started, who = perf_counter(), who_knows(kit)
    tolerance = max(kit.tolerance, network(who).tolerance) if who and kit.shapes else kit.tolerance

    def row(found: Mapping[str, float], missed: str | None = None) -> Row:
        output = max(found, key=lambda name: found[name], default=None)
        worst = None if output is None else found[output]
        # Not a number is a miss, too.
        if worst is not None and not worst <= tolerance:
            missed = f"expected at most {tolerance:g}"
        return Row(
            kit=kit.name, network=who, worst=worst, output=output, tolerance=tolerance,
            seconds=perf_counter() - started, missed=missed,
        )  # fmt: skip

    if who is None:
        return row({}, "no network or procedure knows it")
    try:
        if kit.shapes:
            return row(outputs_differ(kit, network(who)))
        found = procedure(who).reproduce(_with_inputs(kit, procedure(who), folder))
        return row({**found, **parts_differ(kit, found)} if kit.parts else found)
    except (KeyError, ValueError, RuntimeError) as error:
        return row({}, f"{type(error).__name__}: {error}")


def outputs_differ(kit: Kit, of: Network) -> dict[str, float]:
    """Build the network, compare its keys, fill it, run it; the worst difference of each output.

    raises: ValueError where the keys, their order or their shapes are others
    """
    if kit.golden:
        return kits.worst(kit.golden, _run(kit, of, kits.feeds(kit)))
    with torch.device("meta"):  # keys and shapes without the memory
        require_keys(kit, of.build(kit.shapes, kit.arch))
    return {}


def parts_differ(kit: Kit, reproduced: Mapping[str, float]) -> dict[str, float]:
    """A pipeline's networks, one after the other: what they give together, less what its procedure has reproduced."""
    outputs: dict[str, NDArray[Any]] = {}
    for part in kit.parts:
        who = recognise(part.shapes)
        if who is None:
            raise ValueError(f"expected a network that somebody knows, got {part.name}")
        outputs |= _run(part, network(who), kits.feeds(kit))
    golden = {name: array for name, array in kit.golden.items() if name.partition("@")[0] not in reproduced}
    return kits.worst(golden, outputs)


def part_differs(kit: Kit, part: Kit, of: Network) -> float | None:
    """Worst difference of what one network of a pipeline's kit gives; None where the kit stores none of it."""
    outputs = _run(part, of, kits.feeds(kit))
    found = kits.worst({key: array for key, array in kit.golden.items() if key.partition("@")[0] in outputs}, outputs)
    return max(found.values(), default=None)


def _run(kit: Kit, of: Network, feeds: Arrays) -> dict[str, NDArray[Any]]:
    built = of.build(kit.shapes, kit.arch)
    require_keys(kit, built)
    load(built, kit)
    with torch.inference_mode():
        outputs = of.outputs(built, {name: torch.from_numpy(array) for name, array in feeds.items()}, kit.arch)
    return {name: torch.as_tensor(value).numpy() for name, value in outputs.items()}


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
