"""Checkpoints that are pickles, read without torch and without running what a pickle may ask for.

A pickle is a program. Here it may name what a checkpoint is made of (tensors, arrays, plain containers and a few
classes that stand beside them), each replaced by ours; any other global is refused before it is looked up.
Read are both layouts of torch.save, the zip of torch 1.6 and later and the older stream of pickles and then raw
storages; and plain pickles, with numpy arrays or with modules that were pickled by their source text, of which the
text is never looked at.
"""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable
from weights.convert.stand_ins import ALLOWED, Array, Kind, Module, Storage, Tensor

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
DEEPEST = 8
"""Pickles within pickles."""


class _Unpickler(pickle.Unpickler):
    """Refuses every global that has no stand-in."""

    def __init__(self, stream: IO[bytes], depth: int = 0) -> None:
        super().__init__(stream, encoding="latin1")
        self._depth = depth
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._from_bytes
        found: Callable[..., Any] | None = ALLOWED.get(f"{module}.{name}") if "." not in name else None
        if found is None:
            raise WeightsUnavailable(f"Expected a state dict of tensors only; the pickle asks for {module}.{name}.")
        return found

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", Kind(dtype=dtype), str(key), str(), int(count), *_):
                return self.storages.setdefault(key, Storage(dtype, count))
        raise WeightsUnavailable(f"Expected a reference to a storage; got {pid!r}.")

    def _from_bytes(self, saved: bytes) -> Any:
        """What torch.save wrote, within a pickle."""
        if self._depth >= DEEPEST:
            raise WeightsUnavailable(f"Expected at most {DEEPEST} pickles within each other; got more.")
        return _read(io.BytesIO(saved), self._depth + 1)


def read_pickle(path: Path) -> Any:
    """All that a checkpoint holds: containers and plain values as they are, tensors as arrays in the stored dtype and
    shape, pickled modules as mappings of their tensors.

    raises: WeightsUnavailable for anything but a checkpoint
    """
    with path.open("rb") as stream:
        return _plain(_read(stream, 0))


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Tensor name to array; the file must hold nothing else."""
    loaded = read_pickle(path)
    if not isinstance(loaded, Mapping):
        raise WeightsUnavailable(f"Expected a mapping of tensors in {path.name}; got {type(loaded).__name__}.")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise WeightsUnavailable(f"Expected tensors by name in {path.name}; got {type(value).__name__}.")
    return dict(loaded)


def _plain(loaded: Any) -> Any:
    if isinstance(loaded, Tensor | Array):
        return loaded.array()
    if isinstance(loaded, Module):
        return _plain(loaded.tensors())
    if isinstance(loaded, Mapping):
        return {key: _plain(value) for key, value in loaded.items()}
    if isinstance(loaded, list | tuple):
        return type(loaded)(map(_plain, loaded))
    return loaded


def _read(stream: IO[bytes], depth: int) -> Any:
    if zipfile.is_zipfile(stream):
        return _read_zip(stream, depth)
    stream.seek(0)
    unpickler = _Unpickler(stream, depth)
    first = _load(unpickler)
    return _read_legacy(stream, depth) if first == LEGACY_MAGIC else first


def _read_zip(stream: IO[bytes], depth: int) -> Any:
    with zipfile.ZipFile(stream) as archive:
        pickled = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise WeightsUnavailable(f"Expected one data.pkl in the archive; got {len(pickled)}.")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickled[0])), depth)
        loaded = _load(unpickler)
        folder = pickled[0].removesuffix("data.pkl")
        for key, storage in unpickler.storages.items():
            try:
                storage.fill(archive.read(f"{folder}data/{key}"))
            except (KeyError, zipfile.BadZipFile) as error:
                raise WeightsUnavailable(f"Expected storage {key!r} whole in the archive: {error}.") from error
        return loaded


def _read_legacy(stream: IO[bytes], depth: int) -> Any:
    """After the magic: protocol, system, what was saved, storage keys; then the storages, counts first."""
    if _load(_Unpickler(stream, depth)) != LEGACY_PROTOCOL:
        raise WeightsUnavailable("Expected a file written by torch.save; got another protocol.")
    system = _load(_Unpickler(stream, depth))
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsUnavailable("Expected little-endian storages.")
    unpickler = _Unpickler(stream, depth)
    loaded = _load(unpickler)
    for key in _load(_Unpickler(stream, depth)):
        storage = unpickler.storages[key]
        stored = int.from_bytes(stream.read(8), "little")
        if stored != storage.count:
            raise WeightsUnavailable(f"Expected a storage of {storage.count} values; got {stored}.")
        storage.fill(stream.read(stored * np.dtype(storage.dtype).itemsize))
    return loaded


def _load(unpickler: _Unpickler) -> Any:
    try:
        return unpickler.load()
    except (pickle.UnpicklingError, EOFError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise WeightsUnavailable(f"Expected a state dict; the pickle is malformed: {error}.") from error
