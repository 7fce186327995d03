"""The published networks against their references: condensed kits here, whole ones where the development data is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compile.kit import Kit, read_kits, worst

torch = pytest.importorskip("torch", reason="needs the torch environment")
pytestmark = pytest.mark.torch

FOLDER = Path(__file__).resolve().parent.parent / "kits"
KITS = read_kits(FOLDER)


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.name)
def test_a_network_gives_what_its_reference_gave(kit: Kit) -> None:
    from deployments.parity import check

    row = check(kit, KITS)
    assert row.missed is None
    assert (row.worst is None) == (not kit.golden)


def test_every_network_and_procedure_has_a_kit() -> None:
    from deployments.networks import NETWORKS
    from deployments.parity import who_knows

    parts = [part for kit in KITS for part in kit.parts]
    assert {who_knows(kit) for kit in [*KITS, *parts]} >= set(NETWORKS) - {"unet_lapa"}  # no reference of it runs


@pytest.mark.parametrize("what", ["order", "shape", "absent", "values"])
def test_a_network_that_differs_is_a_miss(what: str) -> None:
    from deployments.parity import check

    (kit,) = (kit for kit in KITS if kit.name == "retinaface_mnet025")
    keys = list(kit.shapes)
    if what == "order":
        kit = replace(kit, shapes={key: kit.shapes[key] for key in [keys[1], keys[0], *keys[2:]]})
    elif what == "shape":
        kit = replace(kit, shapes={**kit.shapes, keys[0]: (9, 3, 3, 3)})
    elif what == "absent":
        kit = replace(kit, shapes={**kit.shapes, "more.weight": (1,)}, dtypes={**kit.dtypes, "more.weight": "float32"})
    else:
        kit = replace(kit, golden={**kit.golden, "loc": kit.golden["loc"] + 1e-3})
    assert check(kit, KITS).missed is not None


def test_no_number_is_a_miss() -> None:
    golden = {"y": np.ones(3, np.float32), "y@shape": np.array([3, 1])}
    assert np.isnan(worst(golden, {"y": np.full(3, np.nan)})["y"])


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize("part", ["face", "body"])
def test_whole_kits_pass(part: str, shared: Path) -> None:
    from deployments.parity import check_folder

    missed = {row.kit: row.missed for row in check_folder(shared / "parity" / part) if row.missed}
    assert not missed


def test_every_network_declares_where_it_comes_from() -> None:
    from deployments.networks import NETWORKS, network

    for identifier in NETWORKS:
        of = network(identifier)
        assert len(of.paper) > 20 and of.licence, identifier


def test_the_figures_are_of_these_networks() -> None:
    """What was measured names exactly the networks of the table, and says of their origin what they declare."""
    from deployments.measure import declared
    from deployments.networks import NETWORKS
    from deployments.page import FIGURES

    figures = json.loads(FIGURES.read_text())
    assert list(figures) == sorted(NETWORKS)
    for identifier, found in figures.items():
        assert {name: found[name] for name in ("paper", "licence")} == declared(identifier), identifier
        assert all(kit["worst"] is None or kit["worst"] <= kit["tolerance"] for kit in found["kits"])
        assert found["kits"] or identifier == "unet_lapa"  # no reference of it runs


def test_a_pass_costs_what_its_layers_do() -> None:
    """ArcFace's published figures, and three convolutions counted by hand."""
    from torch import nn

    from deployments.measure import cost
    from deployments.networks import Network, network

    (kit,) = (kit for kit in KITS if kit.name == "arcface_iresnet50")
    found = cost(kit, network("arcface_iresnet"), {"img": np.zeros((2, 3, 112, 112), np.float32)})
    assert (found["parameters"], found["gmacs"], found["input"]) == (43.59, 6.31, "3 x 112 x 112")

    layers = [nn.Conv2d(a, b, 1, bias=False) for a, b in ((1, 2), (2, 8), (8, 1))]
    row = Network(
        paper="none",
        licence="none",
        knows=lambda shapes: True,
        build=lambda shapes, arch: nn.Sequential(*layers),
        outputs=lambda net, feeds, arch: {"y": net(feeds["x"])},
    )
    found = cost(replace(kit, shapes={}), row, {"x": np.zeros((3, 1, 500, 1000), np.float32)})
    # The input is held throughout; the second layer's output beside the first's is the most: 1 + 2 + 8 channels.
    assert found["activation_mb"] == 4 * 0.5 * (1 + 2 + 8)
    assert found["gmacs"] == round(0.5e6 * (2 + 16 + 8) / 1e9, 2)
