"""Checkpoints in the forms they are published in."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_file
from numpy.typing import NDArray
from safetensors.numpy import save_file

from modiste.errors import WeightsUnavailable
from weights.convert.checkpoints import read_checkpoint
from weights.convert.torch_pickle import read_pickle

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
BIAS = np.array([0.5, -0.5], np.float32)


def same(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> bool:
    return list(found) == list(expected) and all(
        np.array_equal(found[key], value) and found[key].dtype == value.dtype for key, value in expected.items()
    )


def written(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_in_a_pickle(protocol: int, tmp_path: Path) -> None:
    content = {
        "model": {"conv.weight": WEIGHT, "big": BIAS.astype(">f4"), "columns": np.asfortranarray(WEIGHT)},
        "__author__": "somebody",
        "scale": np.float32(0.25),
    }
    if protocol == 5:  # arrays are then rebuilt from buffers, which no published file has
        with pytest.raises(WeightsUnavailable, match="_frombuffer"):
            read_checkpoint(written(tmp_path / "m.pkl", content, protocol), at=["model"])
        return
    path = written(tmp_path / "m.pkl", content, protocol)
    found = read_checkpoint(path, at=["model"])
    assert list(found) == ["conv.weight", "big", "columns"]
    assert np.array_equal(found["conv.weight"], WEIGHT)
    assert np.array_equal(found["big"], BIAS)
    assert np.array_equal(found["columns"], WEIGHT)
    assert read_pickle(path)["scale"] == 0.25


def test_levels_and_prefixes(tmp_path: Path) -> None:
    state = OrderedDict([("module.a.weight", WEIGHT), ("module.a.bias", BIAS)])
    bare = {"a.weight": WEIGHT, "a.bias": BIAS}
    wrapped = written(tmp_path / "wrapped.pth", {"state_dict": state, "epoch": 3, "lr": [0.1, 0.2]})
    assert same(read_checkpoint(wrapped, at=["state_dict"], strip="module."), bare)
    plain = written(tmp_path / "bare.pth", bare)
    assert same(read_checkpoint(plain, at=["state_dict"], strip="module."), bare)
    two = written(tmp_path / "two.tar", {"generator": {"w": WEIGHT}, "encoder": {"b": BIAS}, "epoch": 1})
    assert same(read_checkpoint(two), {"generator.w": WEIGHT, "encoder.b": BIAS})
    assert same(read_checkpoint(two, strip="encoder."), {"b": BIAS})


def test_safetensors(tmp_path: Path) -> None:
    save_file({"w": WEIGHT}, tmp_path / "m.safetensors")
    assert same(read_checkpoint(tmp_path / "m.safetensors"), {"w": WEIGHT})
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(WeightsUnavailable, match=r"bad\.safetensors"):
        read_checkpoint(tmp_path / "bad.safetensors")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="none"):
        read_checkpoint(written(tmp_path / "empty.pth", {"epoch": 1}))


@pytest.fixture
def persistence(monkeypatch: pytest.MonkeyPatch) -> type:
    return torch_file.persistence(monkeypatch)


def test_modules_pickled_by_their_source(persistence: type, tmp_path: Path) -> None:
    inner = persistence({"weight": WEIGHT, "bias": None}, {"noise": BIAS})
    outer = persistence({"const": BIAS}, {"w_avg": BIAS}, b4=inner)
    path = written(tmp_path / "net.pkl", {"G": outer, "G_ema": outer, "augment_pipe": None})
    expected = {"const": BIAS, "w_avg": BIAS, "b4.weight": WEIGHT, "b4.noise": BIAS}
    assert same(read_checkpoint(path, at=["G_ema"]), expected)


def test_a_poisoned_pickle_is_refused_whatever_stands_before_it(persistence: type, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Exploit:
        def __reduce__(self) -> tuple[Any, ...]:
            return eval, (f"__import__('pathlib').Path({str(marker)!r}).touch()",)

    for place in (
        {"model": {"w": WEIGHT}, "extra": Exploit()},
        {"G_ema": persistence({"weight": WEIGHT}, {"trap": Exploit()})},
        [WEIGHT, Exploit()],
    ):
        with pytest.raises(WeightsUnavailable, match=r"asks for __builtin__\.eval"):
            read_checkpoint(written(tmp_path / "net.pkl", place))
    assert not marker.exists()
    pickle.loads((tmp_path / "net.pkl").read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("content", ["objects", "text"])
def test_arrays_of_anything_but_numbers_are_refused(content: str, tmp_path: Path) -> None:
    array = np.array([{}, None], object) if content == "objects" else np.array(["a", "b"])
    with pytest.raises(WeightsUnavailable, match="array of numbers"):
        read_checkpoint(written(tmp_path / "net.pkl", {"w": array}))
