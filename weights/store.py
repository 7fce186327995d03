"""The local store of checkpoints, addressed by content.

    <cache>/weights/<id>/files-<16 hex>/<name>     as published, under the published names
    <cache>/weights/<id>/<id>-<16 hex>.onnx        converted; its own sha256 lies beside it. <id>-<part>- with parts
    <cache>/weights/.partial/                      what an interrupted fetch goes on from

The hexadecimal digits are those of the entry's digest, so that a changed manifest or converter never meets
old bytes. A file appears under its name only when it is whole, has the listed sha256 and is on disk; hence
presence is enough to open it. One lock lets several processes ask for the same thing and fetch it once.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from filelock import BaseFileLock, FileLock

from modiste.errors import NotFound, WeightsUnavailable
from modiste.settings import settings
from weights.convert import load_converter
from weights.manifest import WeightEntry, WeightFile, digest, entry, files_digest, pin, pinned, read_pins_again, select
from weights.transfer import Progress

CHUNK = 1 << 20


def _silent(_what: str, _done: int, _total: int) -> None:
    return


def artefact(identifier: str, part: str = "") -> Path:
    """The file an engine opens: ONNX where the entry has a converter; fetched and converted where it is absent.

    part: which network of an entry that has several, as listed under its `parts`; "" where it has one
    """
    of = entry(identifier)
    if of.network is not None:
        raise NotFound(f"Expected weights that are opened as they are; {identifier} are those of a network.")
    expected = sorted(of.parts) or [""]
    if part not in expected:
        raise NotFound(f"Expected a part of {identifier} among {expected}; got {part!r}.")
    published = of.parts[part] if part else next(iter(of.files))
    opened = onnx_path(of, part) if of.converter else files_folder(of) / published
    if not opened.exists():
        fetch([identifier])
    return opened


def path(identifier: str) -> Mapping[str, Path]:
    """The files of an entry as they were published, by name, fetched where they are absent."""
    of = entry(identifier)
    if _absent(of):
        fetch([identifier])
    return {name: files_folder(of) / name for name in of.files}


def fetch(ids: Iterable[str] = (), progress: Progress = _silent) -> None:
    """Bring the given entries (all where none is given) into the store, and convert those that need it.

    Goes on where an earlier call stopped. What fails does not keep the rest from arriving; all failures are
    reported together at the end, as WeightsUnavailable.
    """
    entries = select(ids)
    if all(complete(of) for of in entries):
        return
    with _lock():
        known = [of for of in entries if all(file.sha256 for file in of.files.values())]
        failures = _fetch_absent(known, progress)
        for of in entries:
            if of not in known:
                failures += _fetch_unpinned(of, progress)
        for of in entries:
            if of.converter and not _absent(of) and not complete(of):
                convert(of)
    if failures:
        raise WeightsUnavailable("\n".join(failures))


def put(identifier: str, files: Mapping[str, Path]) -> None:
    """Bring files that a person fetched into the store. Digests that nobody has published are pinned to these files'.

    files:  every file of the entry, by its listed name
    raises: NotFound, and WeightsUnavailable for files that are not the listed or pinned ones
    """
    of = entry(identifier)
    if set(files) != set(of.files):
        raise NotFound(f"Expected the files {', '.join(of.files)} of {identifier}; got {', '.join(files) or 'none'}.")
    for name, path in files.items():
        if path.suffix != Path(name).suffix or not path.is_file():
            raise NotFound(f"Expected {name} of {identifier} as a file of that kind; got {path}.")
    with _lock():
        _bring(identifier, files)


def _bring(identifier: str, files: Mapping[str, Path]) -> None:
    """Put all files of an entry into the store, then pin what is unlisted: what is pinned has been there.

    Needs the lock. raises: WeightsUnavailable, with the store and the pins as they were
    """
    read_pins_again()
    of = entry(identifier)
    found = {name: (_sha256(path), path.stat().st_size) for name, path in files.items()}
    complete = pinned(of, found)
    for name, (sha256, size) in found.items():
        _require_same(complete.files[name], sha256, size)
    for name, path in files.items():
        with path.open("rb") as stream:
            _place(complete.files[name], stream, files_folder(complete) / name)
    if unlisted := {name: found[name] for name, file in of.files.items() if None in (file.sha256, file.bytes)}:
        pin(of, unlisted)


def convert(of: WeightEntry) -> None:
    """Convert an entry that has a converter, also where that was done before."""
    if of.converter is None:
        raise NotFound(f"Expected an entry with a converter; got {of.id!r}, which is opened as published.")
    with _lock():
        for part in of.parts or ("",):
            onnx = onnx_path(of, part)
            staged, noted = onnx.with_name(f".{onnx.name}.part"), onnx.with_name(f".{onnx.name}.sha256.part")
            load_converter(of.converter)(_of_part(of, part, path(of.id)), staged)
            noted.write_text(f"{_sha256(staged)}\n")
            _commit(noted, _sidecar(onnx))
            _commit(staged, onnx)


def _of_part(of: WeightEntry, part: str, files: Mapping[str, Path]) -> Mapping[str, Path]:
    """All files, or those that differ from the part's in their suffix only."""
    stem = Path(of.parts[part]).stem if part else ""
    return {name: file for name, file in files.items() if not part or Path(name).stem == stem}


def verify(ids: Iterable[str] = ()) -> list[str]:
    """Hash everything again; returns one line for each file that is absent or not what it should be."""
    problems = []
    for of in select(ids):
        if any(file.sha256 is None for file in of.files.values()):
            problems += [f"{of.id}: {name} is absent" for name in of.files]
            continue
        expected = {files_folder(of) / name: file.sha256 for name, file in of.files.items()}
        for onnx in _converted(of):
            expected[onnx] = sidecar.read_text().strip() if (sidecar := _sidecar(onnx)).exists() else "unknown"
        for place, sha256 in expected.items():
            if not place.exists():
                problems.append(f"{of.id}: {place.name} is absent")
            elif (found := _sha256(place)) != sha256:
                problems.append(f"{of.id}: {place.name} has sha256 {found}; expected {sha256}")
    return problems


def root() -> Path:
    return settings().cache / "weights"


def _lock() -> BaseFileLock:
    """Between processes; may be taken again by the thread that holds it."""
    root().mkdir(parents=True, exist_ok=True)
    return FileLock(root() / ".lock", is_singleton=True)


def files_folder(of: WeightEntry) -> Path:
    return root() / of.id / f"files-{files_digest(of)[:16]}"


def onnx_path(of: WeightEntry, part: str = "") -> Path:
    return root() / of.id / f"{'-'.join(filter(None, (of.id, part, digest(of)[:16])))}.onnx"


def _converted(of: WeightEntry) -> list[Path]:
    """What the entry's converter makes, if it has one."""
    return [onnx_path(of, part) for part in of.parts or ("",)] if of.converter else []


def _sidecar(onnx: Path) -> Path:
    return onnx.with_name(f"{onnx.name}.sha256")


def _absent(of: WeightEntry) -> list[WeightFile]:
    if any(file.sha256 is None for file in of.files.values()):
        return list(of.files.values())
    return [file for name, file in of.files.items() if not (files_folder(of) / name).exists()]


def complete(of: WeightEntry) -> bool:
    return not _absent(of) and all(onnx.exists() for onnx in _converted(of))


def _fetch_absent(entries: list[WeightEntry], progress: Progress) -> list[str]:
    """Fetch what is absent, each archive once however many entries share it; returns the failures."""
    origins: dict[tuple[str, str | None, str | None], list[tuple[WeightFile, Path]]] = {}
    for of in entries:
        for file in _absent(of):
            targets = origins.setdefault((file.url, file.python, file.platform), [])
            targets.append((file, files_folder(of) / file.name))
    failures = []
    for origin, targets in origins.items():
        try:
            _fetch_origin(origin, targets, progress)
        except WeightsUnavailable as error:
            failures.append(error.detail)
    return failures


def _fetch_unpinned(of: WeightEntry, progress: Progress) -> list[str]:
    """Fetch all files of an entry whose digests are not known, which become known by it; returns the failures."""
    from weights.sources import SCHEMES

    scratches = {name: _scratch(file.url) for name, file in of.files.items()}
    found = {}
    try:
        for name, file in of.files.items():
            _require_network(file)
            found[name] = SCHEMES[file.scheme](file, scratches[name], progress)
        _bring(of.id, found)
    except WeightsUnavailable as error:
        return [error.detail]
    finally:
        if found.keys() == of.files.keys():
            for scratch in scratches.values():
                shutil.rmtree(scratch, ignore_errors=True)
    return []


def _scratch(origin: str) -> Path:
    """Where what is fetched from there gathers. It goes when it is whole: then it is needed no longer, or wrong."""
    scratch = root() / ".partial" / hashlib.sha256(origin.encode()).hexdigest()[:16]
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def _require_network(file: WeightFile) -> None:
    if settings().offline and file.scheme not in ("file", "page"):
        raise WeightsUnavailable(
            f"{file.name} from {file.url} is not in the store and MODISTE_OFFLINE is set; "
            "unset it, or run `python -m weights fetch` where there is a network."
        )


def _fetch_origin(
    origin: tuple[str, str | None, str | None], targets: list[tuple[WeightFile, Path]], progress: Progress
) -> None:
    # Here and not above: every replica imports this module, and none of them should carry an HTTP client.
    from weights.sources import SCHEMES, open_member

    first = targets[0][0]
    _require_network(first)
    scratch = _scratch(repr(origin))
    fetched = SCHEMES[first.scheme](first, scratch, progress)
    try:
        for file, target in targets:
            with open_member(file, fetched) as stream:
                _place(file, stream, target)
    finally:
        shutil.rmtree(scratch)


def _place(file: WeightFile, stream: IO[bytes], target: Path) -> None:
    """Copy into the store: hash, flush to the disk, and only then give it its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.part")
    sha = hashlib.sha256()
    with staged.open("wb") as out:
        while chunk := stream.read(CHUNK):
            sha.update(chunk)
            out.write(chunk)
        size = out.tell()
    try:
        _require_same(file, sha.hexdigest(), size)
        _commit(staged, target)
    finally:
        staged.unlink(missing_ok=True)


def _require_same(file: WeightFile, sha256: str, size: int) -> None:
    if file.bytes not in (None, size) or file.sha256 != sha256:
        raise WeightsUnavailable(
            f"Expected {file.name} from {file.url} to have {file.bytes or 'some'} bytes and sha256 {file.sha256}; "
            f"got {size} bytes and {sha256}."
        )


def _commit(staged: Path, target: Path) -> None:
    """Make a finished file durable under its name, in one step."""
    with staged.open("rb") as out:
        os.fsync(out.fileno())
    staged.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
