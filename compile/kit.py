"""Parity kits: what a published network must give with weights that anyone can make again.

A kit holds the keys and shapes of a network's official checkpoint (`<name>.keys.json`), rules for deterministic
weights and inputs (`<name>.fill.json`) and what the reference implementation gave with them (`<name>.golden.npz`).
Kits with a golden file alone hold a procedure's inputs and results; kits with keys alone say what must load.
A kit of a pipeline has keys for each of its networks (`<name>.<part>.keys.json`), and what `.fill.json` says otherwise
in `<name>.json`, with the constructor arguments under the parts' names.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]

TOLERANCE = 1e-5
"""Largest difference over the largest value of an output, where a kit names no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """shapes: in the checkpoint's order, empty for procedures; dtypes: as numpy names them; arch: the reference's
    constructor arguments; rules: pattern -> kind of weight; inputs: name -> recipe or number; golden: empty where only
    keys are known; parts: a pipeline's networks, which share its inputs and golden arrays."""

    name: str
    shapes: Shapes
    dtypes: Mapping[str, str]
    arch: Mapping[str, Any] = field(default_factory=dict)
    rules: Sequence[tuple[str, str]] = ()
    inputs: Mapping[str, Sequence[Any] | float] = field(default_factory=dict)
    golden: Arrays = field(default_factory=dict)
    tolerance: float = TOLERANCE
    parts: Sequence["Kit"] = ()


def read_kits(folder: Path) -> list[Kit]:
    """All kits of a folder, by name."""
    keyed = {path.name.partition(".keys.json")[0] for path in folder.glob("*.keys.json")}
    golden = {path.name.partition(".golden.npz")[0] for path in folder.glob("*.golden.npz")}
    parts = {name: sorted(key for key in keyed if key.rpartition(".")[0] == name) for name in golden}
    alone = keyed.difference(*parts.values())
    return [_read(folder, name, parts.get(name, ())) for name in sorted(alone | golden)]


def _read(folder: Path, name: str, parts: Sequence[str]) -> Kit:
    keys, golden = (folder / f"{name}.{ending}" for ending in ("keys.json", "golden.npz"))
    fill = folder / (f"{name}.json" if parts else f"{name}.fill.json")
    listed: dict[str, tuple[list[int], str]] = json.loads(keys.read_text()) if keys.exists() else {}
    spec: dict[str, Any] = json.loads(fill.read_text()) if fill.exists() else {}
    arrays: dict[str, NDArray[Any]] = {}
    if golden.exists():
        with np.load(golden) as stored:
            arrays = {key: stored[key] for key in stored.files}
    rules = [(pattern, kind) for pattern, kind in spec.get("rules", [])]
    return Kit(
        name=name,
        shapes={key: tuple(shape) for key, (shape, _) in listed.items()},
        dtypes={key: dtype for key, (_, dtype) in listed.items()},
        arch=spec.get("arch", {}),
        rules=rules,
        inputs=spec.get("inputs", {}),
        golden=arrays,
        tolerance=spec.get("tolerance", TOLERANCE),
        parts=[
            replace(_read(folder, part, ()), arch=spec.get(part.removeprefix(f"{name}."), {}), rules=rules)
            for part in parts
        ],
    )


def weights(kit: Kit) -> dict[str, NDArray[np.float32]]:
    """The deterministic weights; keys that stay as the network builds them are left out."""
    kinds = {key: _kind(key, shape, kit.rules) for key, shape in kit.shapes.items()}
    filled = {
        key: _values(key, kit.shapes[key], kind)
        for key, kind in kinds.items()
        if kind not in ("skip", "spectral") and kit.dtypes[key].startswith(("float", "bfloat"))
    }
    for key, kind in kinds.items():
        if kind == "spectral":
            prefix, _, which = key.rpartition(".weight_")
            filled[key] = _spectral(prefix, filled[f"{prefix}.weight_orig"])["uv".index(which)]
    return filled


def _kind(key: str, shape: tuple[int, ...], rules: Sequence[tuple[str, str]]) -> str:
    for pattern, kind in rules:
        if re.search(pattern, key):
            return kind
    if key.endswith("num_batches_tracked"):
        return "skip"
    if key.endswith("running_var"):
        return "var"
    if len(shape) >= 2:
        return "matrix"
    return "gain" if len(shape) == 1 and key.endswith("weight") else "bias"


_SPREAD = {"gain": 0.1, "bias": 0.05, "prelu": 0.05}
_CENTRE = {"gain": 1.0, "one": 1.0, "prelu": 0.25}


def _values(key: str, shape: tuple[int, ...], kind: str) -> NDArray[np.float32]:
    """Normal numbers seeded by the key alone, scaled as the kind says."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    z = np.random.default_rng(seed).standard_normal(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    name, _, argument = kind.partition(":")
    spread = np.float32(argument or _SPREAD.get(name, 1.0))
    if name == "matrix":
        return np.asarray(z * np.float32(float(spread) / np.sqrt(np.prod(shape[1:]))), np.float32)
    if name == "var":
        return np.asarray(np.float32(1) + np.float32(0.1) * np.abs(z), np.float32)
    return np.asarray(z * spread + np.float32(_CENTRE.get(name, 0.0)), np.float32)


def _spectral(prefix: str, weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Spectral normalisation's vectors of a weight [out, ...]: u seeded by its key, v = W'u of length 1."""
    matrix = weight.astype(np.float64).reshape(weight.shape[0], -1)
    u = _values(f"{prefix}.weight_u", (matrix.shape[0],), "normal").astype(np.float64)
    u /= np.linalg.norm(u)
    v = matrix.T @ u
    return u.astype(np.float32), (v / np.linalg.norm(v)).astype(np.float32)


def feeds(kit: Kit) -> dict[str, NDArray[Any]]:
    """The kit's inputs by name: those stored as they are, and those made by recipe."""
    stored = {
        name: array for name, array in kit.golden.items() if _is_stored(name, kit.golden) and array.dtype.kind in "buif"
    }
    made = {
        name: _input(*recipe) if isinstance(recipe, Sequence) else np.asarray(recipe)
        for name, recipe in kit.inputs.items()
    }
    return {**stored, **made}


def _is_stored(name: str, golden: Arrays) -> bool:
    return "@" not in name and f"{name}@shape" not in golden


def _input(kind: str, shape: Sequence[int], seed: int = 0, *more: Any) -> NDArray[Any]:
    """signed: uniform in [-1, 1); unit: in [0, 1); normal; byte: whole numbers 0-255; smooth: signed, constant over
    blocks of 8 x 8; wave: the mean of four slow sines per plane; onehot: classes over such blocks; tokens: token ids.

    more: scale and offset (a number, or one per channel); for tokens the vocabulary, then the id that ends a text
    and where
    """
    rng = np.random.default_rng(seed)
    if kind == "onehot":
        return _one_hot(rng, shape)
    if kind == "tokens":
        tokens = rng.integers(0, more[0], shape)
        if len(more) > 1:
            tokens[:, more[2] :] = more[1]
        return tokens
    if kind == "smooth":
        height, width = shape[-2:]
        coarse = rng.random((*shape[:-2], -(-height // 8), -(-width // 8)), dtype=np.float32) * 2 - 1
        x = np.ascontiguousarray(coarse.repeat(8, -2).repeat(8, -1)[..., :height, :width])
    elif kind == "wave":
        x = _wave(rng, shape)
    elif kind == "byte":
        x = rng.integers(0, 256, shape).astype(np.float32)
    elif kind == "normal":
        x = rng.standard_normal(shape, dtype=np.float32)
    elif kind in ("signed", "unit"):
        x = rng.random(shape, dtype=np.float32)
        x = x * 2 - 1 if kind == "signed" else x
    else:
        raise ValueError(f"expected a kind of input that kits know, got {kind!r}")
    if more:
        scale, offset = more[0], more[1] if len(more) > 1 else 0.0
        shaped = np.asarray(offset, np.float32).reshape((1, -1) + (1,) * (len(shape) - 2))
        x = x * np.float32(scale) + shaped
    return np.asarray(x, np.float32)


def _wave(rng: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float32]:
    """Each plane the mean of four sines of -3 to 3 periods down and across; no description of kits names this kind, it
    was found from what networks gave with it."""
    *planes, height, width = shape
    down, across, start = rng.uniform(-3, 3, (3, *planes, 4, 1, 1))
    periods = down * (np.arange(height)[:, None] / height) + across * (np.arange(width) / width) + start
    return np.asarray(np.sin(2 * np.pi * periods).mean(-3), np.float32)


def _one_hot(rng: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float32]:
    count, classes, height, width = shape
    index = rng.integers(0, classes, (count, -(-height // 8), -(-width // 8)))
    index = index.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.ascontiguousarray(np.eye(classes, dtype=np.float32)[index].transpose(0, 3, 1, 2))


def worst(golden: Arrays, outputs: Mapping[str, Any]) -> dict[str, float]:
    """Largest difference of each golden output over its largest value.

    golden:  samples by name, with `<name>@shape` = the whole output's shape and the stride of the samples
    raises:  KeyError where an output is absent, ValueError where its shape is another
    """
    found = {}
    for name in [key for key in golden if "@" not in key and not _is_stored(key, golden)]:
        *shape, stride = (int(n) for n in golden[f"{name}@shape"])
        output = np.asarray(outputs[name], np.float32)
        if list(output.shape) != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {list(output.shape)}")
        difference = np.abs(output.reshape(-1)[::stride] - golden[name]).max()
        found[name] = float(difference / np.abs(golden[name]).max())
    return found


def difference(expected: NDArray[Any], result: NDArray[Any]) -> float:
    """Largest difference of a procedure's result over the largest value of the reference's.

    raises: ValueError where the shapes differ
    """
    if expected.shape != result.shape:
        raise ValueError(f"expected shape {list(expected.shape)}, got {list(result.shape)}")
    if not expected.size:
        return 0.0
    apart = np.abs(np.asarray(expected, np.float64) - result).max()
    return float(apart / (np.abs(expected).max() or 1.0))
