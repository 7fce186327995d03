"""Kits as files: of a network, of keys alone, of a procedure, of a pipeline with several networks."""

import json
from pathlib import Path

import numpy as np
import pytest

from compile.kit import Kit, feeds, read_kits, weights, worst

KEYS = {"conv.weight": [[4, 3, 1, 1], "float32"], "steps": [[], "int64"]}


@pytest.fixture
def kits(tmp_path: Path) -> dict[str, Kit]:
    def write(name: str, content: object) -> None:
        (tmp_path / name).write_text(json.dumps(content))

    write("net.keys.json", KEYS)
    write("net.fill.json", {"rules": [["weight$", "normal:0.5"]], "inputs": {"x": ["unit", [1, 3, 2, 2], 7]}})
    np.savez(tmp_path / "net.golden.npz", **{"y": np.ones(4), "y@shape": np.array([1, 4, 1])})
    write("half_width0.5_cm1.keys.json", KEYS)
    np.savez(tmp_path / "crop.golden.npz", picture=np.zeros((2, 2), np.uint8))
    write("pipe.unet.keys.json", KEYS)
    write("pipe.vae.keys.json", KEYS)
    write("pipe.json", {"unet": {"heads": 2}, "vae": {"groups": 4}, "inputs": {"x": ["unit", [1, 3]], "step": 500}})
    np.savez(tmp_path / "pipe.golden.npz", **{"image": np.full(3, 9, np.uint8), "y": np.ones(4), "y@shape": [4, 1]})
    write("pipe.unet.older_names.keys.json", KEYS)
    write("other.unet.keys.json", KEYS)
    return {kit.name: kit for kit in read_kits(tmp_path)}


def test_every_kit_is_found_once(kits: dict[str, Kit]) -> None:
    assert list(kits) == ["crop", "half_width0.5_cm1", "net", "other.unet", "pipe", "pipe.unet.older_names"]
    assert [kit.name for kit in kits.values() if kit.parts] == ["pipe"]


def test_a_pipelines_networks_have_their_own_keys_and_arguments(kits: dict[str, Kit]) -> None:
    unet, vae = kits["pipe"].parts
    assert (unet.name, vae.name) == ("pipe.unet", "pipe.vae")
    assert (unet.arch, vae.arch) == ({"heads": 2}, {"groups": 4})
    assert unet.shapes == {"conv.weight": (4, 3, 1, 1), "steps": ()}
    assert not kits["pipe"].shapes


def test_inputs_are_made_by_recipe_taken_as_numbers_or_stored(kits: dict[str, Kit]) -> None:
    made = feeds(kits["pipe"])
    assert list(made) == ["image", "x", "step"]
    assert made["step"] == 500
    assert made["image"].dtype == np.uint8
    assert np.array_equal(made["x"], np.random.default_rng(0).random((1, 3), dtype=np.float32))


def test_weights_follow_the_rules_and_leave_whole_numbers(kits: dict[str, Kit]) -> None:
    filled = weights(kits["net"])
    assert list(filled) == ["conv.weight"]
    assert np.allclose(filled["conv.weight"] / weights(kits["half_width0.5_cm1"])["conv.weight"], 0.5 * np.sqrt(3))


def test_the_worst_difference_is_relative_and_shapes_must_agree(kits: dict[str, Kit]) -> None:
    assert worst(kits["net"].golden, {"y": np.full((1, 4), 1.25)}) == {"y": 0.25}
    assert worst(kits["pipe"].golden, {"y": np.ones(4)}) == {"y": 0}
    with pytest.raises(ValueError, match="expected shape"):
        worst(kits["net"].golden, {"y": np.ones((2, 2))})
    with pytest.raises(KeyError):
        worst(kits["net"].golden, {})
