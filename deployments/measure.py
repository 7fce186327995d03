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
from compile.source import graph_file
from deployments.full_size import FullSize, full_size_engines, keyed_kits
from deployments.gpu_memory import Counted, engine_row, graph_memory, largest_sizes
from deployments.networks import NETWORKS, Network, network, recognise
from deployments.parity import check, part_differs
from modiste.spec import EngineSpec
from weights.convert.official import OFFICIAL
from weights.manifest import entry


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


def memories(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """model -> engine -> what it takes of a GPU, for all models: deployments/gpu_memory.json.

    raises: ValueError for a network that no kit in these folders has the keys of
    """
    rows: dict[str, dict[str, Any]] = {}
    for of in full_size_engines(keyed_kits(folders)):
        if of.missing:
            raise ValueError(f"{of.name}: {of.missing}")
        model, _, name = of.name.partition(".")
        if of.same:
            other, _, their = of.same.partition(".")
            row = rows[other][their or "main"]
        else:
            row = engine_row(of.spec, [_counted(of, sizes) for sizes in largest_sizes(of.spec)])
        rows.setdefault(model, {})[name or "main"] = row
    return rows


def _counted(of: FullSize, sizes: Mapping[str, int]) -> Counted:
    if of.kit is None:
        return graph_memory(of.spec, graph_file(of.spec), sizes)
    return memory(of.kit, network(of.network or ""), of.spec, sizes)


def memory(kit: Kit, of: Network, spec: EngineSpec, sizes: Mapping[str, int]) -> Counted:
    """Of an engine that runs a part of the network, in eager torch with inputs of these sizes."""
    beside = {name: torch.zeros(512, device="meta") for name in OFFICIAL[entry(spec.weights).network or ""].beside}
    with torch.device("meta"), torch.no_grad():
        part = of.parts[spec.part](of.build(kit.shapes, kit.arch).requires_grad_(False), beside).eval()
        own = [*part.parameters(), *part.buffers()]
        given = [
            torch.zeros([sizes[s] if isinstance(s, str) else s for s in t.shape], dtype=getattr(torch, t.dtype))
            for t in spec.inputs
        ]
        with _Held() as held, _Read(own) as read:
            made = part(*given)
    io = sum(x.nbytes for x in tree_leaves((given, made)))
    return Counted(weights=read.bytes, activations=held.peak, io=io)


def _one(feeds: Arrays) -> Mapping[str, Tensor]:
    """The kit's inputs without values and for one picture."""
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items() if array.ndim}
    return {name: torch.empty(1, *x.shape[1:], dtype=x.dtype) for name, x in tensors.items()}


class _Read(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
    """Counts the bytes of those of a module's tensors that operations read: parts of a network share one module."""

    def __init__(self, own: Sequence[Tensor]) -> None:
        super().__init__()
        self._own = {x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in own}
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, Tensor):
                self._seen.add(x.untyped_storage()._cdata)
        return func(*args, **(kwargs or {}))

    @property
    def bytes(self) -> int:
        return sum(size for key, size in self._own.items() if key in self._seen)


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
