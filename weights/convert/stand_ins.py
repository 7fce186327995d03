"""What stands for the classes and functions that checkpoints name: what they hold, without what they do."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from modiste.errors import WeightsUnavailable


@dataclass(frozen=True, slots=True)
class Kind:
    """Stands for torch.FloatStorage and its like: a type name without the type."""

    dtype: str


STORAGES: Mapping[str, Kind] = {
    "FloatStorage": Kind("<f4"),
    "HalfStorage": Kind("<f2"),
    "DoubleStorage": Kind("<f8"),
    "LongStorage": Kind("<i8"),
    "IntStorage": Kind("<i4"),
    "ShortStorage": Kind("<i2"),
    "CharStorage": Kind("<i1"),
    "ByteStorage": Kind("<u1"),
    "BoolStorage": Kind("|b1"),
}


class Storage:
    """A block of values that may not have been read yet."""

    def __init__(self, dtype: str, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.block: NDArray[Any] | None = None

    def fill(self, raw: bytes) -> None:
        if len(raw) != self.count * np.dtype(self.dtype).itemsize:
            raise WeightsUnavailable(
                f"Expected a storage of {self.count} values of {self.dtype}; got {len(raw)} bytes."
            )
        self.block = np.frombuffer(raw, self.dtype)


@dataclass(frozen=True, slots=True)
class Tensor:
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        block = self.storage.block
        if block is None:
            raise WeightsUnavailable("Expected a tensor's values in the file; they are absent.")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or (0 not in self.shape and last >= block.size):
            raise WeightsUnavailable(f"Expected a tensor within its storage of {block.size}; it reaches to {last}.")
        strides = [stride * block.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(block[self.offset :], self.shape, strides).copy()


class DType:
    """numpy.dtype as pickles make it: a name, then a state that begins with version and byte order."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = str(name)
        self.order: Literal["<", ">", "|"] = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in (">", "|") else "<"

    def numpy(self) -> np.dtype[Any]:
        found = np.dtype(self.name) if self.name[:1] in "biuf" and self.name[1:].isdigit() else None
        if found is None:
            raise WeightsUnavailable(f"Expected an array of numbers; got one of {self.name!r}.")
        return found.newbyteorder(self.order) if self.order != "|" else found


class Array:
    """numpy.ndarray as pickles make it: empty at first, then version, shape, type, column order and bytes."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> NDArray[Any]:
        match self.state:
            case (_, tuple(shape), DType() as dtype, columns_first, bytes(raw)):
                flat = np.frombuffer(raw, dtype.numpy())
                return flat.reshape(shape, order="F" if columns_first else "C")
        raise WeightsUnavailable("Expected an array of numbers; got another state of one.")


class Module:
    """A module pickled by NVlabs' persistence: what it holds, without its class."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.state: Mapping[str, Any] = meta["state"]

    def tensors(self) -> dict[str, Any]:
        """As torch's state_dict orders them: parameters, buffers, then the modules inside."""
        own = {**self.state["_parameters"], **self.state["_buffers"]}
        found = {name: value for name, value in own.items() if value is not None}
        for name, module in self.state["_modules"].items():
            found |= {f"{name}.{inner}": value for inner, value in module.tensors().items()}
        return found


class Inert:
    """Stands for an object that a training script left beside the weights; takes anything and holds nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class Dict(dict[Any, Any]):
    """Stands for dictionaries of a class of their own."""


def _encode(text: str, encoding: str) -> bytes:
    """How Python 2 bytes come back in Python 3."""
    if encoding != "latin1":
        raise WeightsUnavailable(f"Expected bytes as latin1; got {encoding!r}.")
    return text.encode("latin1")


def _rebuild(storage: Any, offset: int, shape: Any, strides: Any, *_hooks: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise WeightsUnavailable(f"Expected a tensor's storage; got {type(storage).__name__}.")
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _scalar(dtype: DType, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.numpy())[0].item()


ALLOWED: Mapping[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.Size": tuple,
    # Modules hold one, which pickles before protocol 4 name.
    "builtins.set": set,
    "__builtin__.set": set,
    "_codecs.encode": _encode,
    **{f"torch.{name}": kind for name, kind in STORAGES.items()},
    **{
        f"{core}.multiarray.{name}": ours
        for core in ("numpy.core", "numpy._core")
        for name, ours in (("_reconstruct", Array), ("scalar", _scalar))
    },
    "numpy.ndarray": Array,
    "numpy.dtype": DType,
    "torch_utils.persistence._reconstruct_persistent_obj": Module,
    "dnnlib.util.EasyDict": Dict,
    "argparse.Namespace": Inert,
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": Inert,
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping": Inert,
}
"""Every global that a checkpoint may name, and what it gets instead."""
