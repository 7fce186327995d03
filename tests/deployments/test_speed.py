"""Rows of the published networks' speed, and reasons where there are none."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
KITS = Path(__file__).parents[1] / "kits"


def test_a_network_is_measured_once() -> None:
    from deployments.speed import Limits, rows

    engine, network = done = list(rows([KITS], "teed", Limits(repeats=1), []))
    assert (engine["row"], engine["name"], engine["kit"]) == ("engine", "teed", "teed")
    assert engine["input"] == "3 x 512 x 512" and engine["threads"] == 1
    assert all(0 < engine[f"{way}_s"] < 60 for way in ("eager", "openvino", "bfloat16"))
    assert 0 < engine["worst"] < 1e-4 < engine["bfloat16_error"]
    assert (network["row"], network["name"], network["reference_s"]) == ("network", "teed", 0.38)
    assert network["ratio"] == pytest.approx(network["eager_s"] / 0.38, abs=0.01)
    assert list(rows([KITS], "teed", Limits(repeats=1), done)) == []


def test_what_is_not_measured_says_why(tmp_path: Path) -> None:
    from deployments.speed import Limits, rows

    references_alone = [{"row": "network", "name": "pix2pix_unet256", "eager_s": 1.0}]
    (large,) = rows([KITS], "pix2pix_unet", Limits(memory_gb=0.5), references_alone)
    assert large["skipped"] == "weights take 0.9 GB in 4 copies, 0.5 are allowed"
    (unknown,) = rows([tmp_path], "pix2pix_unet", Limits(), [])
    assert unknown["missed"].startswith("expected one kit with the keys of pix2pix_edges2shoes, got none")


def test_every_size_that_is_named_is_one_of_a_kit_and_a_checkpoint() -> None:
    """Kits of other folders are named, too; these hold all that have keys."""
    from deployments.full_size import FACTS
    from weights.manifest import listed_manifest

    kits = {path.name.removesuffix(".keys.json") for path in KITS.glob("*.keys.json")}
    assert set(FACTS["kits"]) <= set(listed_manifest()) and set(FACTS["kits"].values()) <= kits
    assert set(FACTS["reference"]) <= kits
