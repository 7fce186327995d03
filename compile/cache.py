"""Compiled blobs on disk, under a key of everything that shapes them."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from compile.source import VERSION as GRAPH_VERSION
from modiste.settings import settings
from modiste.spec import EngineSpec, Precision, Target
from modiste.telemetry import log
from weights.manifest import digest, load_manifest

Loaded = TypeVar("Loaded")


def engine_key(spec: EngineSpec, *, target: Target, precision: Precision, runtime: Mapping[str, str]) -> str:
    """sha256 (hex) over the weights' digest, the spec, and all that the runtime depends on: its exact version, the
    device and the build options."""
    parts = {
        "graph": GRAPH_VERSION,
        "weights": digest(load_manifest()[spec.weights]),
        "spec": asdict(spec),
        "target": target,
        "precision": precision,
        "runtime": dict(runtime),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def folder() -> Path:
    return settings().cache / "engines"


def cached_blob(key: str, build: Callable[[], bytes], load: Callable[[bytes], Loaded]) -> Loaded:
    """Load the blob stored under `key`; build and store it where it is absent or cannot be loaded.

    Stored as its own sha256 followed by the bytes, written to a side file and renamed: a reader sees all or nothing.
    """
    path = folder() / f"{key}.blob"
    if path.exists():
        stored = path.read_bytes()
        blob = stored[32:]
        if hashlib.sha256(blob).digest() == stored[:32]:
            try:
                return load(blob)
            except RuntimeError as error:
                log.warning("engine_rebuilt", key=key, reason=str(error))
        else:
            log.warning("engine_rebuilt", key=key, reason="the stored digest does not match the bytes")
    blob = build()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as side:
        side.write(hashlib.sha256(blob).digest() + blob)
    Path(side.name).replace(path)
    return load(blob)
