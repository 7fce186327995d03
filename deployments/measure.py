"""What a published network costs and how far it is from its reference: the figures of docs/models.md.

Costs are counted without weights or pictures, on torch's `meta` device. Needs torch; serving reads what was written.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from compile import kit as kits
from compile.kit import Arrays, Kit
from deployments.networks import NETWORKS, Network, network, recognise
from deployments.parity import check, part_differs


def measure(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Every network with its paper, licence and the figures of each kit about it, by id.

    A kit's `worst` is None where it holds keys alone; a network without kits has none anywhere.
    raises: ValueError where a kit misses its tolerance, or the same kit is in two folders
    """
    figures: dict[str, dict[str, Any]] = {identifier: {} for identifier in NETWORKS}
    for folder in folders:
        for who, figure in _of_folder(folder):
            if figure["kit"] in figures[who]:
                raise ValueError(f"expected each kit in one folder, got {figure['kit']} in two")
            figures[who][figure["kit"]] = figure
    return {who: {**declared(who), "kits": [found[k] for k in sorted(found)]} for who, found in sorted(figures.items())}


def declared(identifier: str) -> dict[str, Any]:
    """What a network says of where it comes from."""
    of = network(identifier)
    return {"paper": of.paper, "licence": of.licence}


def _of_folder(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    found = kits.read_kits(folder)
    for kit in found:
        if not kit.shapes and not kit.parts:
            continue
        row = check(kit, found)
        if row.missed:
            raise ValueError(f"{kit.name}: {row.missed}")
        if kit.shapes and row.network:
            yield row.network, _figure(kit, network(row.network), row.worst, row.tolerance, kits.feeds(kit))
        for part in kit.parts:
            who = recognise(part.shapes)
            assert who, part.name
            of = network(who)
            yield who, _figure(part, of, part_differs(kit, part, of), max(kit.tolerance, of.tolerance), kits.feeds(kit))


def _figure(kit: Kit, of: Network, worst: float | None, tolerance: float, feeds: Arrays) -> dict[str, Any]:
    return {
        "kit": kit.name,
        "worst": None if worst is None else float(f"{worst:.1e}"),
        "tolerance": tolerance,
        **cost(kit, of, feeds),
    }


def cost(kit: Kit, of: Network, feeds: Arrays) -> dict[str, Any]:
    """parameters in millions; for one pass with one picture, multiplications with additions in billions (`gmacs`) and
    the most that tensors other than weights hold at once in megabytes (`activation_mb`), eager, float32, and the
    `input`; these None where neither the kit nor the network says what goes in."""
    with torch.device("meta"), torch.no_grad():
        built = of.build(kit.shapes, kit.arch).requires_grad_(False)
        figures: dict[str, Any] = {
            "parameters": round(sum(p.numel() for p in built.parameters()) / 1e6, 2),
            "input": None,
            "gmacs": None,
            "activation_mb": None,
        }
        if of.once is None and not feeds:
            return figures
        with _Held() as held, FlopCounterMode(display=False) as flops:
            if of.once is not None:
                given = of.once(built)
            else:
                inputs = _one(feeds)
                given = [x for x in inputs.values() if x.ndim]
                of.outputs(built, inputs, kit.arch)
    shapes = dict.fromkeys(" x ".join(str(n) for n in x.shape[1:]) for x in given)
    return figures | {
        "input": ", ".join(shapes),
        "gmacs": round(flops.get_total_flops() / 2e9, 2),
        "activation_mb": round(held.peak / 1e6, 1),
    }


def _one(feeds: Arrays) -> Mapping[str, Tensor]:
    """The kit's inputs without values and for one picture."""
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items() if array.ndim}
    return {name: torch.empty(1, *x.shape[1:], dtype=x.dtype) for name, x in tensors.items()}


class _Held(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
    """Counts the bytes of what operations make for as long as somebody holds it. peak: the most at once"""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.now = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in before and storage._cdata not in self._known:
                    self._hold(storage)
        return made

    def _hold(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()

        def forget(_: Any) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, forget)
        self.now += size
        self.peak = max(self.peak, self.now)
