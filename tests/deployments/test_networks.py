"""The published networks against their references: condensed kits here, whole ones where the development data is."""

from pathlib import Path

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
    from dataclasses import replace

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
    import numpy as np

    golden = {"y": np.ones(3, np.float32), "y@shape": np.array([3, 1])}
    assert np.isnan(worst(golden, {"y": np.full(3, np.nan)})["y"])


@pytest.mark.shared
@pytest.mark.parametrize("part", ["face", "body"])
def test_whole_kits_pass(part: str, shared: Path) -> None:
    from deployments.parity import check_folder

    missed = {row.kit: row.missed for row in check_folder(shared / "parity" / part) if row.missed}
    assert not missed
