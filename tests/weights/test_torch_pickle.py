"""State dicts in torch's two layouts, written here without torch, and pickles that mean harm."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch_file import LAYOUTS, Stored, Tensor, tensor, torch_names, write

from modiste.errors import WeightsUnavailable
from weights.convert.torch_pickle import read_state_dict

TENSORS: dict[str, NDArray[Any]] = {
    "stem.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "stem.half": np.linspace(0, 1, 5, dtype=np.float16),
    "steps": np.array(7, np.int64),
}


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_names(monkeypatch)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_come_back_as_they_were(layout: str, tmp_path: Path) -> None:
    state = OrderedDict((name, tensor(str(i), value)) for i, (name, value) in enumerate(TENSORS.items()))
    storages = {str(i): value for i, value in enumerate(TENSORS.values())}
    loaded = read_state_dict(write(tmp_path / "net.pth", layout, state, storages))
    assert list(loaded) == list(TENSORS)
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype


def test_views_share_a_storage(tmp_path: Path) -> None:
    block = np.arange(12, dtype=np.float32)
    stored = Stored("0", block)
    state = {"tail": Tensor(stored, (4,), (1,), 8), "turned": Tensor(stored, (4, 3), (1, 4))}
    loaded = read_state_dict(write(tmp_path / "net.pth", "zip", state, {"0": block}))
    np.testing.assert_array_equal(loaded["tail"], block[8:])
    np.testing.assert_array_equal(loaded["turned"], block.reshape(3, 4).T)


class Exploit:
    """Runs a command when it is unpickled."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced

    def __call__(self) -> None:
        """Only so that it may stand where pickle wants something to call."""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["value", "key", "whole", "argument"])
@pytest.mark.parametrize("how", ["system", "eval", "getattr"])
def test_a_poisoned_pickle_is_refused_and_runs_nothing(layout: str, place: str, how: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    exploit = {
        "system": Exploit(os.system, f"touch {marker}"),
        "eval": Exploit(eval, f"__import__('pathlib').Path({str(marker)!r}).touch()"),
        "getattr": Exploit(Exploit(getattr, Exploit(__import__, "os"), "system"), f"touch {marker}"),
    }[how]
    good = tensor("0", TENSORS["stem.weight"])
    state: Any = {
        "value": {"good": good, "bad": exploit},
        "key": {"good": good, exploit: 1},
        "whole": exploit,
        "argument": {"good": Tensor(Stored("0", TENSORS["stem.weight"]), exploit, (1,))},
    }[place]
    poisoned = write(tmp_path / "net.pth", layout, state, {"0": TENSORS["stem.weight"]})
    with pytest.raises(WeightsUnavailable, match=r"tensors only; the pickle asks for (posix|__builtin__)\."):
        read_state_dict(poisoned)
    assert not marker.exists()
    # The same bytes do run where the pickle is believed.
    believing = type("Believing", (pickle.Unpickler,), {"persistent_load": lambda _self, _pid: None})
    believing(io.BytesIO(_pickle_of(poisoned, layout))).load()
    assert marker.exists()


def _pickle_of(path: Path, layout: str) -> bytes:
    if layout == "zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read("net/data.pkl")
    stream = io.BytesIO(path.read_bytes())
    for _ in range(3):
        pickle.load(stream)
    return stream.read()


@pytest.mark.parametrize("name", ["OrderedDict.fromkeys", "OrderedDict.__class__"])
def test_attributes_of_what_is_allowed_are_refused(name: str, tmp_path: Path) -> None:
    content = b"\x80\x04\x8c\x0bcollections" + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", content)
    with pytest.raises(WeightsUnavailable, match=name):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((25,), (1,), 0), ((2,), (-1,), 5), ((1,), (1,), 24), ((2, 2), (1, 23), 1)],
)
def test_a_tensor_beyond_its_storage_is_refused(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, tmp_path: Path
) -> None:
    block = np.zeros(24, np.float32)
    state = {"far": Tensor(Stored("0", block), shape, strides, offset)}
    with pytest.raises(WeightsUnavailable, match="within its storage"):
        read_state_dict(write(tmp_path / "net.pth", "zip", state, {"0": block}))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_off_file_is_refused(layout: str, tmp_path: Path) -> None:
    value = TENSORS["stem.weight"]
    path = write(tmp_path / "net.pth", layout, {"w": tensor("0", value)}, {"0": value.ravel()[:20]})
    with pytest.raises(WeightsUnavailable, match="storage of 24 values"):
        read_state_dict(path)


@pytest.mark.parametrize("damage", ["absent", "changed"])
def test_a_damaged_archive_is_refused(damage: str, tmp_path: Path) -> None:
    value = np.arange(24, dtype=np.float32)
    storages = {} if damage == "absent" else {"0": value}
    path = write(tmp_path / "net.pth", "zip", {"w": tensor("0", value)}, storages)
    if damage == "changed":
        path.write_bytes(path.read_bytes().replace(value.tobytes(), value[::-1].tobytes()))
    with pytest.raises(WeightsUnavailable, match="Expected storage '0' whole"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2])])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailable, match="Expected"):
        read_state_dict(path)
