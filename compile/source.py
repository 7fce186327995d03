"""The graph file that an engine is built from."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from modiste.errors import WeightsUnavailable
from modiste.spec import EngineSpec
from weights.manifest import entry, files_digest
from weights.store import artefact, root

VERSION = 1
"""Goes up when networks are exported differently, so that graphs in caches are not taken for current ones."""


def graph_file(spec: EngineSpec) -> Path:
    """ONNX, OpenVINO IR or tflite.

    raises: WeightsUnavailable where it would have to be exported from a published network, which needs torch
    """
    if entry(spec.weights).network is None:
        return artefact(spec.weights, spec.part)
    exported = exported_file(spec)
    if not exported.exists():
        raise WeightsUnavailable(
            f"Expected the graph of {' '.join(filter(None, (spec.weights, spec.part)))} in the cache; "
            "run `python -m deployments export` in the torch environment, once its checkpoint is in the store."
        )
    return exported


def exported_file(spec: EngineSpec) -> Path:
    """Where the ONNX of a network's part lies, in a folder of its own, under all that shapes it.

    raises: WeightsUnavailable where the digest of its checkpoint is neither published nor pinned
    """
    of = entry(spec.weights)
    tensors = [asdict(tensor) for tensor in (*spec.inputs, *spec.outputs)]
    shaped_by = json.dumps([VERSION, files_digest(of), of.network, spec.part, tensors])
    key = hashlib.sha256(shaped_by.encode()).hexdigest()[:16]
    return root() / of.id / f"{spec.part or 'main'}-{key}" / "model.onnx"
