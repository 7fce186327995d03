"""A flow's HTTP face, derived from its request and result types: uploads in, files and JSON out."""

import asyncio
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic_core import to_jsonable_python

from api.errors import MissingFile, invalid_options
from api.files import FileStore, media_type
from graphs import graph_class
from graphs.base import Graph, VideoFile
from graphs.report import Outcome, Report
from modiste.image import Format, RGBAImage, RGBImage, decode, decode_rgba, encode

Kind = Literal["picture", "cutout", "video", "json"]
"""What a field of a request or result is to HTTP; a cutout is a picture that keeps its alpha."""

_KINDS: Mapping[object, Kind] = {RGBImage: "picture", RGBAImage: "cutout", VideoFile: "video"}
_UPLOAD_TEXT: Mapping[Kind, str] = {
    "picture": "JPEG, PNG or WebP",
    "cutout": "JPEG, PNG or WebP; transparency is kept",
    "video": "MP4, MOV or WebM",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """One field of a request or result. many: a tuple of pictures."""

    name: str
    kind: Kind
    required: bool
    many: bool
    hint: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Everything HTTP needs to know of a flow."""

    name: str
    graph: type[Graph[Any, Any]]
    uploads: tuple[Slot, ...]
    options: type[BaseModel]
    results: tuple[Slot, ...]
    response: type[BaseModel]

    @property
    def description(self) -> str:
        """What the flow does, in its own words."""
        return self.graph.__doc__ or sys.modules[self.graph.__module__].__doc__ or ""

    @property
    def is_job(self) -> bool:
        """Videos take minutes: their flows run as jobs."""
        return any(slot.kind == "video" for slot in self.uploads)

    @property
    def single_picture(self) -> Slot | None:
        """The one picture that the result consists of, as far as files go."""
        files = [slot for slot in self.results if slot.kind != "json"]
        return files[0] if len(files) == 1 and files[0].kind == "picture" and not files[0].many else None


class FileLink(BaseModel):
    """A stored result."""

    id: str
    url: str = Field(description="path on this server: GET it; kept for a limited time")
    media_type: str
    bytes: int
    width: int | None = Field(default=None, description="pixels; pictures only")
    height: int | None = Field(default=None, description="pixels; pictures only")


@cache
def flow(name: str) -> Flow:
    graph = graph_class(name)
    hints = get_type_hints(graph.request)
    options = hints.pop("options")
    results = tuple(_slot(n, hint) for n, hint in get_type_hints(graph.result).items())
    return Flow(
        name=name,
        graph=graph,
        uploads=tuple(_slot(n, hint) for n, hint in hints.items()),
        options=options,
        results=results,
        response=_response_model(graph, results),
    )


def _response_model(graph: type[Graph[Any, Any]], results: tuple[Slot, ...]) -> type[BaseModel]:
    content: dict[str, Any] = {slot.name: (_schema_type(slot), ...) for slot in results}
    content["report"] = (Report, ...)
    return create_model(f"{graph.__name__}Response", __doc__=graph.result.__doc__, **content)


def _slot(name: str, hint: Any) -> Slot:
    required = True
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        required = False
        rest = [a for a in get_args(hint) if a is not type(None)]
        hint = rest[0] if len(rest) == 1 else hint
    many = get_origin(hint) is tuple and get_args(hint)[0] in _KINDS
    inner = get_args(hint)[0] if many else hint
    kind: Kind = _KINDS.get(inner, "json")
    return Slot(name, kind, required, many, hint)


def _schema_type(slot: Slot) -> Any:
    inner: Any = slot.hint if slot.kind == "json" else list[FileLink] if slot.many else FileLink
    return inner if slot.required else inner | None


def request_schema(of: Flow) -> dict[str, Any]:
    """OpenAPI request body: one multipart part for each upload, and `options` as JSON."""
    properties: dict[str, Any] = {
        slot.name: {"type": "string", "format": "binary", "description": _UPLOAD_TEXT[slot.kind]} for slot in of.uploads
    }
    properties["options"] = {"$ref": f"#/components/schemas/{of.options.__name__}"}
    schema = {"type": "object", "properties": properties}
    needed = [slot.name for slot in of.uploads if slot.required]
    needed += [] if _has_defaults(of.options) else ["options"]
    if needed:
        schema["required"] = needed
    content = {"schema": schema, "encoding": {"options": {"contentType": "application/json"}}}
    return {"required": bool(needed), "content": {"multipart/form-data": content}}


def _has_defaults(options: type[BaseModel]) -> bool:
    return not any(found.is_required() for found in options.model_fields.values())


def parse_options(of: Flow, text: str | bytes | None) -> BaseModel:
    """raises: InvalidOptions"""
    try:
        return of.options.model_validate_json(text or b"{}")
    except ValidationError as error:
        raise invalid_options(error) from error


async def build_request(of: Flow, contents: Mapping[str, bytes | Path], options: BaseModel) -> Any:
    """The flow's typed request from uploaded bytes (pictures) and stored files (videos).

    Pictures are decoded on threads, side by side.
    raises: MissingFile, and what `modiste.image.decode` raises
    """
    missing = [slot.name for slot in of.uploads if slot.required and slot.name not in contents]
    if missing:
        raise MissingFile(
            f"expected the file{'s'[: len(missing) > 1]} {', '.join(missing)}; send as multipart/form-data"
        )
    given = [slot for slot in of.uploads if slot.name in contents]
    decoded = await asyncio.gather(*(asyncio.to_thread(_decode, slot, contents[slot.name]) for slot in given))
    absent = {slot.name: None for slot in of.uploads if slot.name not in contents}
    return of.graph.request(
        **{slot.name: value for slot, value in zip(given, decoded, strict=True)}, **absent, options=options
    )


def _decode(slot: Slot, content: bytes | Path) -> Any:
    if slot.kind == "video":
        return VideoFile(Path(content)) if isinstance(content, Path) else content
    encoded = content.read_bytes() if isinstance(content, Path) else content
    return decode(encoded) if slot.kind == "picture" else decode_rgba(encoded)


async def store_result(of: Flow, outcome: Outcome[Any], files: FileStore, image_format: Format) -> dict[str, Any]:
    """The result as JSON: pictures encoded and stored, videos moved into the store, the rest as it is."""
    content: dict[str, Any] = {}
    for slot in of.results:
        value = getattr(outcome.result, slot.name)
        if value is None or slot.kind == "json":
            content[slot.name] = jsonable(value)
        elif slot.many:
            jobs = (asyncio.to_thread(_store, slot, one, files, image_format) for one in value)
            content[slot.name] = await asyncio.gather(*jobs)
        else:
            content[slot.name] = await asyncio.to_thread(_store, slot, value, files, image_format)
    return content | {"report": jsonable(outcome.report)}


def _store(slot: Slot, value: Any, files: FileStore, image_format: Format) -> dict[str, Any]:
    if slot.kind == "video":
        return _link(files, files.adopt(Path(value)))
    height, width = value.shape[:2]
    return _link(files, files.put(encode(value, image_format), image_format), width=width, height=height)


def _link(files: FileStore, file_id: str, **size: int) -> dict[str, Any]:
    link = FileLink(
        id=file_id, url=f"/v1/files/{file_id}", media_type=media_type(file_id),
        bytes=files.path(file_id).stat().st_size, **size,
    )  # fmt: skip
    return link.model_dump(exclude_none=True)


def jsonable(value: object) -> Any:
    """Dataclasses, pydantic models and numpy values as JSON values."""
    return to_jsonable_python(value, fallback=lambda found: found.tolist())
