"""Checkpoints in the forms that torch and NVlabs' persistence give them, written without torch."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weights.convert.torch_pickle import LEGACY_MAGIC, LEGACY_PROTOCOL

STORAGE = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
LAYOUTS = ("zip", "legacy")


def _put(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    """Functions and classes under the modules that they say they are of, for as long as a test lasts."""
    for one in found:
        for name in (one.__module__.partition(".")[0], one.__module__):
            if not hasattr(sys.modules.get(name), "ours"):
                module = types.ModuleType(name)
                module.ours = True  # type: ignore[attr-defined]
                monkeypatch.setitem(sys.modules, name, module)
        setattr(sys.modules[one.__module__], one.__name__, one)


def _named(module: str, name: str) -> Any:
    def function(*_: Any) -> None: ...

    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function


def torch_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pickle of torch refers to."""
    kinds = [type(name, (), {"__module__": "torch"}) for name in STORAGE.values()]
    rebuilt = [_named("torch._utils", name) for name in ("_rebuild_tensor_v2", "_rebuild_parameter")]
    _put(monkeypatch, *kinds, *rebuilt, _named("torch.storage", "_load_from_bytes"))


class Stored:
    """A storage: a reference to it where torch saves, and all of it where anybody else does."""

    def __init__(self, key: str, array: NDArray[Any]) -> None:
        self.key, self.array = key, array

    def __reduce__(self) -> tuple[Any, ...]:
        stream = io.BytesIO()
        write_legacy(stream, self, {self.key: self.array})
        return sys.modules["torch.storage"]._load_from_bytes, (stream.getvalue(),)


class Tensor:
    """Pickles as a torch tensor does."""

    def __init__(self, storage: Stored, shape: Any, strides: tuple[int, ...], offset: int = 0) -> None:
        self.arguments: tuple[Any, ...] = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Parameter:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_parameter, (self.tensor, True, OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Stored):
            return None
        kind = getattr(sys.modules["torch"], STORAGE[obj.array.dtype.name])
        return ("storage", kind, obj.key, "cpu", obj.array.size)


def tensor(key: str, array: NDArray[Any]) -> Tensor:
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(Stored(key, array), array.shape, strides)


def write(path: Path, layout: str, state: Any, storages: Mapping[str, NDArray[Any]]) -> Path:
    """What torch.save writes: a zip since torch 1.6, a stream of pickles and storages before."""
    if layout == "zip":
        pickled = io.BytesIO()
        Pickler(pickled, protocol=2).dump(state)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", pickled.getvalue())
            for key, array in storages.items():
                archive.writestr(f"net/data/{key}", array.tobytes())
        return path
    with path.open("wb") as out:
        write_legacy(out, state, storages)
    return path


def write_legacy(out: Any, state: Any, storages: Mapping[str, NDArray[Any]]) -> None:
    for head in (LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}):
        pickle.dump(head, out, protocol=2)
    Pickler(out, protocol=2).dump(state)
    pickle.dump(list(storages), out, protocol=2)
    for array in storages.values():
        out.write(array.size.to_bytes(8, "little") + array.tobytes())


def save(path: Path, content: Any, layout: str = "zip") -> Path:
    """Arrays anywhere in dictionaries as tensors, each of a storage of its own."""
    storages: dict[str, NDArray[Any]] = {}

    def turned(found: Any) -> Any:
        if isinstance(found, np.ndarray):
            key = str(len(storages))
            storages[key] = np.ascontiguousarray(found).reshape(found.shape)
            return tensor(key, storages[key])
        if isinstance(found, dict):
            made = type(found)((key, turned(value)) for key, value in found.items())
            made.__dict__.update(found.__dict__) if isinstance(found, OrderedDict) else None
            return made
        return found

    return write(path, layout, turned(content), storages)


def state_dict(state: Mapping[str, NDArray[Any]]) -> OrderedDict[str, Any]:
    """As modules give it: with the versions of their layers beside."""
    found = OrderedDict(state)
    found._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return found


def persistence(monkeypatch: pytest.MonkeyPatch) -> type:
    """A module class that pickles as NVlabs' persistence does: by a function, with its source text."""
    reconstruct = _named("torch_utils.persistence", "_reconstruct_persistent_obj")
    easy_dict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    _put(monkeypatch, reconstruct, easy_dict)

    class Persistent:
        def __init__(self, parameters: Any, buffers: Any = (), **modules: "Persistent") -> None:
            state = {
                "_parameters": OrderedDict(parameters),
                "_buffers": OrderedDict(buffers),
                "_non_persistent_buffers_set": set(),
                "_modules": OrderedDict(modules),
                "training": False,
            }
            self.meta = easy_dict(
                type="class", version=6, class_name="Net", state=state, module_src="raise SystemExit('was run')"
            )

        def __reduce__(self) -> tuple[Any, ...]:
            return reconstruct, (self.meta,)

    return Persistent
