"""State dicts written by torch.save, read without torch and without running what a pickle may ask for.

A pickle is a program. Here it may name OrderedDict, the rebuilding of a tensor and the storage types, each
replaced by ours; any other global is refused before it is looked up.
Both layouts are read: the zip of torch 1.6 and later, and the older stream of pickles and then raw storages.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


@dataclass(frozen=True, slots=True)
class _Kind:
    """Stands for torch.FloatStorage and its like: a type name without the type."""

    dtype: str


STORAGES: Mapping[str, _Kind] = {
    "FloatStorage": _Kind("<f4"),
    "HalfStorage": _Kind("<f2"),
    "DoubleStorage": _Kind("<f8"),
    "LongStorage": _Kind("<i8"),
    "IntStorage": _Kind("<i4"),
    "ByteStorage": _Kind("<u1"),
}


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor whose block may not have been read yet."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Refuses every global but those a state dict needs."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise WeightsUnavailable(f"Expected a state dict of tensors only; the pickle asks for {module}.{name}.")

    def persistent_load(self, pid: Any) -> str:
        match pid:
            case ("storage", _Kind(dtype=dtype), str(key), str(), int(count), *_):
                self.storages[key] = (dtype, count)
                return key
        raise WeightsUnavailable(f"Expected a reference to a storage; got {pid!r}.")


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Tensor name to array, in the stored dtype and shape."""
    with path.open("rb") as stream:
        loaded, blocks = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(stream)
    if not isinstance(loaded, Mapping):
        raise WeightsUnavailable(f"Expected a mapping of tensors in {path.name}; got {type(loaded).__name__}.")
    tensors = {}
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise WeightsUnavailable(f"Expected tensors by name in {path.name}; got {type(tensor).__name__}.")
        tensors[name] = _view(tensor, blocks[tensor.key])
    return tensors


def _rebuild(storage: str, offset: int, shape: Any, strides: Any, *_hooks: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _view(tensor: _Tensor, block: NDArray[Any]) -> NDArray[Any]:
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (0 not in tensor.shape and last >= block.size):
        raise WeightsUnavailable(f"Expected a tensor within its storage of {block.size}; it reaches to {last}.")
    strides = [stride * block.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(block[tensor.offset :], tensor.shape, strides).copy()


def _read_zip(path: Path) -> tuple[Any, dict[str, NDArray[Any]]]:
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
        loaded = _load(unpickler)
        folder = pickled.removesuffix("data.pkl")
        return loaded, {
            key: _block(archive.read(f"{folder}data/{key}"), dtype, count)
            for key, (dtype, count) in unpickler.storages.items()
        }


def _read_legacy(stream: IO[bytes]) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Magic, protocol, system, state dict, storage keys: five pickles; then the storages, counts first."""
    if _load(_Unpickler(stream)) != LEGACY_MAGIC or _load(_Unpickler(stream)) != LEGACY_PROTOCOL:
        raise WeightsUnavailable("Expected a file written by torch.save; got another pickle.")
    system = _load(_Unpickler(stream))
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsUnavailable("Expected little-endian storages.")
    unpickler = _Unpickler(stream)
    loaded = _load(unpickler)
    blocks = {}
    for key in _load(_Unpickler(stream)):
        dtype, count = unpickler.storages[key]
        stored = int.from_bytes(stream.read(8), "little")
        if stored != count:
            raise WeightsUnavailable(f"Expected a storage of {count} values; got {stored}.")
        blocks[key] = _block(stream.read(count * np.dtype(dtype).itemsize), dtype, count)
    return loaded, blocks


def _block(raw: bytes, dtype: str, count: int) -> NDArray[Any]:
    if len(raw) != count * np.dtype(dtype).itemsize:
        raise WeightsUnavailable(f"Expected a storage of {count} values of {dtype}; got {len(raw)} bytes.")
    return np.frombuffer(raw, dtype)


def _load(unpickler: _Unpickler) -> Any:
    try:
        return unpickler.load()
    except (pickle.UnpicklingError, EOFError, TypeError, ValueError, IndexError, KeyError) as error:
        raise WeightsUnavailable(f"Expected a state dict; the pickle is malformed: {error}.") from error
