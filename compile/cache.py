"""Built engines, in a folder of this machine and, where one is set, in a store that machines share.

    <cache>/engines/<key>.blob    seal (32 bytes), then the engine
    <cache>/engines/<key>.json    its report, for people; never read to open the engine
    <cache>/engines/<key>.lock    held by the process of this machine that builds it

Plans and torch programs can execute code, so a blob reaches its runtime only where its seal fits: HMAC-SHA256, with
the setting `engine_secret`, over its key and bytes. What is truncated, renamed, tampered with, sealed with another
secret, or refused by the runtime is logged and built again. Without a secret the seal only tells damage from health,
which is enough for a folder of one's own; the shared store (`engine_store`) is refused without one by the settings.

What cannot be stored still serves: an unwritable or full folder, or a store that takes no upload, is logged. A store
that cannot be read is an error: to build everything again on every machine would hide it.
"""

import hashlib
import hmac
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from compile.engine import GPUOutOfMemory
from compile.gate import METRICS, NOISE
from compile.source import VERSION as GRAPH_VERSION
from modiste.errors import EngineStoreUnavailable
from modiste.metrics import CACHE, record
from modiste.settings import settings
from modiste.spec import EngineSpec, Precision, Target
from modiste.telemetry import log
from weights.manifest import digest, entry

if TYPE_CHECKING:
    from compile.shared_store import SharedStore

Loaded = TypeVar("Loaded")

SEAL_BYTES = 32
POLL_S, PATIENCE_S = 5.0, 2 * 60 * 60.0
"""How often the shared store is asked for what another machine builds, and for how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    blob: bytes
    report: bytes


def engine_key(
    spec: EngineSpec, *, judges: str, target: Target, precision: Precision, runtime: Mapping[str, str]
) -> str:
    """sha256 (hex) of all that shapes an engine.

    The graph is told by what it is made from: files and converter with its version, or checkpoint, network and the
    version of the export; so neither the graph nor its weights need be at hand to find an engine. Next are the spec,
    the gate that it passed, and the runtime's own exact version, device and build options.
    """
    of = entry(spec.weights)
    shape = asdict(spec)
    del shape["precision"], shape["gpu_precision"]  # what the model asks for; `precision` is what is built
    parts = {
        "graph": [GRAPH_VERSION, of.network, digest(of)],
        "spec": shape,
        "gate": [judges, [[kind, metric.name, metric.limit] for kind, metric in [*METRICS.items(), ("noise", NOISE)]]],
        "target": target,
        "precision": precision,
        "runtime": dict(runtime),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def folder() -> Path:
    return settings().cache / "engines"


def cached_blob(key: str, build: Callable[[], Built], load: Callable[[bytes], Loaded]) -> Loaded:
    """Load the engine stored under `key`; build and store it where there is none that loads.

    Of several processes and machines that ask at once, one builds.

    load:   raises RuntimeError for a blob that it does not take
    raises: EngineStoreUnavailable, and what `build` raises
    """
    path = folder() / f"{key}.blob"
    if (opened := _open_local(path, load)) is not None:
        record(CACHE, cache="engines", result="hit")
        return opened
    record(CACHE, cache="engines", result="miss")
    with _alone(key):
        if (opened := _open_local(path, load)) is not None:  # another process has just built it
            return opened
        store = _shared_store(settings().engine_store)
        return _build(key, build, load) if store is None else _fetch_or_build(store, key, build, load)


def _open_local(path: Path, load: Callable[[bytes], Loaded]) -> Loaded | None:
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return None
    opened = _open(path.stem, sealed, load)
    with suppress(OSError):  # read-only folders are not pruned
        os.utime(path)
    return opened


def _open(key: str, sealed: bytes, load: Callable[[bytes], Loaded]) -> Loaded | None:
    """None, and a line in the log, where the seal does not fit or the runtime refuses what it seals."""
    blob = sealed[SEAL_BYTES:]
    if not hmac.compare_digest(_seal(key, blob), sealed[:SEAL_BYTES]):
        record(CACHE, cache="engines", result="refused")
        log.warning("engine_rebuilt", key=key, reason="its seal does not fit: damaged, renamed, or of another secret")
        return None
    try:
        return load(blob)
    except GPUOutOfMemory:
        raise  # the engine is as good as another that would be built
    except RuntimeError as error:
        record(CACHE, cache="engines", result="refused")
        log.warning("engine_rebuilt", key=key, reason=str(error))
        return None


def _seal(key: str, blob: bytes) -> bytes:
    seal = hmac.new(settings().engine_secret.get_secret_value().encode(), f"{key}\n".encode(), hashlib.sha256)
    seal.update(blob)
    return seal.digest()


def _build(key: str, build: Callable[[], Built], load: Callable[[bytes], Loaded]) -> Loaded:
    built = build()
    _keep(key, _seal(key, built.blob) + built.blob, built.report)
    return load(built.blob)


def _fetch_or_build(
    store: "SharedStore", key: str, build: Callable[[], Built], load: Callable[[bytes], Loaded]
) -> Loaded:
    """Whoever gets the claim looks once more, then builds; the others look until the blob is there."""
    started, seen, claim = monotonic(), None, None
    try:
        while True:
            if (found := store.get(f"{key}.blob", unless=seen)) is not None:
                seen = found.etag
                if (opened := _open(key, found.content, load)) is not None:
                    report = store.get(f"{key}.json")
                    _keep(key, found.content, report.content if report else None)
                    return opened
            if claim is not None:
                return _build_and_share(store, key, build, load)
            claim = store.claim(key)
            if claim is None:
                if monotonic() - started > PATIENCE_S:
                    raise EngineStoreUnavailable(
                        f"Expected another machine to build engine {key} within {PATIENCE_S / 60:.0f} minutes; "
                        "its claim in the engine store is held, and nothing came."
                    )
                sleep(POLL_S)
    finally:
        if claim is not None:
            with _best_effort(key, "released"):
                store.release(key, claim)


def _build_and_share(
    store: "SharedStore", key: str, build: Callable[[], Built], load: Callable[[bytes], Loaded]
) -> Loaded:
    built = build()
    sealed = _seal(key, built.blob) + built.blob
    _keep(key, sealed, built.report)
    with _best_effort(key, "uploaded"):
        store.put(f"{key}.json", built.report)
        store.put(f"{key}.blob", sealed)  # last: who sees it finds the report, too
    return load(built.blob)


@contextmanager
def _best_effort(key: str, what: str) -> Iterator[None]:
    try:
        yield
    except EngineStoreUnavailable as error:
        log.warning(f"engine_not_{what}", key=key, reason=error.detail)


@lru_cache(maxsize=1)
def _shared_store(url: str) -> "SharedStore | None":
    if not url:
        return None
    # Here and not above: where no store is set, nothing of boto3 is imported.
    from compile.shared_store import SharedStore

    return SharedStore(url)


def _keep(key: str, sealed: bytes, report: bytes | None) -> None:
    """In this machine's folder; each file is written to the side and renamed, so a reader sees all or nothing."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        if report is not None:
            _write(folder() / f"{key}.json", report)
        _write(folder() / f"{key}.blob", sealed)
    except OSError as error:
        log.warning("engine_not_kept", key=key, reason=str(error))


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as side:
        staged = Path(side.name)
        try:
            side.write(content)
            side.close()
            staged.replace(path)
        except BaseException:
            staged.unlink()
            raise


@contextmanager
def _alone(key: str) -> Iterator[None]:
    """No other process of this machine is in here with the same key; without that where the folder is unwritable."""
    lock = FileLock(folder() / f"{key}.lock")
    try:
        folder().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        log.warning("engine_not_locked", key=key, reason=str(error))
    try:
        yield
    finally:
        lock.release()
