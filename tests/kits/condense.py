"""Makes the kits in this folder from full ones: `python tests/kits/condense.py OUT KIT_DIR...`.

The same form, less of it: keys and shapes of every network, and for those that are not too large to run in a test
the rules of their weights and a few hundred samples of each output instead of tens of thousands.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

from compile.kit import read_kits

SAMPLES = 200
"""Of each output."""
SMALL = 120_000
"""Bytes up to which a procedure's kit is taken along."""
LARGEST = 45_000_000
"""Parameters up to which a network is run in tests."""


TWICE = ("copart_vox_10segments", "gpen_bfr_128", "stylegan2_ada_128", "stylegan2_rosinality_128")
"""Kits of which a smaller one shows the same: their keys are enough."""


def main(out: Path, folders: list[Path]) -> None:
    for folder, kit in ((source, kit) for source in folders for kit in read_kits(source)):
        if not kit.shapes:  # a procedure: all of its arrays, or none
            files = list(folder.glob(f"{kit.name}.*"))
            if sum(path.stat().st_size for path in files) <= SMALL:
                for path in files:
                    (out / path.name).write_bytes(path.read_bytes())
            continue
        listed = {key: [list(shape), kit.dtypes[key]] for key, shape in kit.shapes.items()}
        _write(out / f"{kit.name}.keys.json", listed)
        parameters = sum(math.prod(shape) for shape in kit.shapes.values())
        if not kit.golden or not kit.inputs or parameters > LARGEST or kit.name in TWICE:
            continue
        fill = {"arch": kit.arch, "rules": kit.rules, "inputs": kit.inputs, "tolerance": kit.tolerance}
        _write(out / f"{kit.name}.fill.json", fill)
        condensed = {}
        for name in [name for name in kit.golden if f"{name}@shape" in kit.golden]:
            *shape, stride = kit.golden[f"{name}@shape"]
            # Odd, as the full kit's stride is, so that samples walk over every row and channel.
            every = max(1, -(-kit.golden[name].size // SAMPLES)) | 1
            condensed[name] = kit.golden[name][::every]
            condensed[f"{name}@shape"] = np.array([*shape, stride * every])
        np.savez_compressed(out / f"{kit.name}.golden.npz", **condensed)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
