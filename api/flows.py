"""A flow's HTTP face, derived from its request and result types: uploads in, files and JSON out."""

import asyncio
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, create_model

from api.errors import MissingFile, invalid_options
from api.files import FileStore, media_type
from graphs.base import VideoFile
from graphs.report import Outcome, Report
from graphs.signature import Kind, Signature, Slot, jsonable, read_picture, resolution
from modiste.image import Format, encode

_UPLOAD_TEXT: Mapping[Kind, str] = {
    "picture": "JPEG, PNG or WebP",
    "cutout": "JPEG, PNG or WebP; transparency is kept",
    "video": "MP4, MOV or WebM",
}


class FileLink(BaseModel):
    """A stored result."""

    id: str
    url: str = Field(description="path on this server: GET it; kept for a limited time")
    media_type: str
    bytes: int
    width: int | None = Field(default=None, description="pixels; pictures only")
    height: int | None = Field(default=None, description="pixels; pictures only")


@cache
def response_model(of: Signature) -> type[BaseModel]:
    """The result as JSON: files as links, the rest as in the flow's own type, and the report."""
    content: dict[str, Any] = {slot.name: (_schema_type(slot), ...) for slot in of.results}
    content["report"] = (Report, ...)
    return create_model(f"{of.graph.__name__}Response", __doc__=of.graph.result.__doc__, **content)


def _schema_type(slot: Slot) -> Any:
    inner: Any = slot.hint if slot.kind == "json" else list[FileLink] if slot.many else FileLink
    return inner if slot.required else inner | None


def request_schema(of: Signature) -> dict[str, Any]:
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


def parse_options(of: Signature, text: str | bytes | None) -> BaseModel:
    """raises: InvalidOptions"""
    try:
        return of.options.model_validate_json(text or b"{}")
    except ValidationError as error:
        raise invalid_options(error) from error


async def build_request(of: Signature, contents: Mapping[str, bytes | Path], options: BaseModel) -> Any:
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
    decoded = await asyncio.gather(*(asyncio.to_thread(_read, slot, contents[slot.name]) for slot in given))
    return of.request({slot.name: value for slot, value in zip(given, decoded, strict=True)}, options)


def _read(slot: Slot, content: bytes | Path) -> Any:
    if slot.kind == "video":
        return VideoFile(Path(content)) if isinstance(content, Path) else content
    return read_picture(slot, content.read_bytes() if isinstance(content, Path) else content)


async def store_result(
    of: Signature, request: object, outcome: Outcome[Any], files: FileStore, image_format: Format
) -> dict[str, Any]:
    """The result as JSON: pictures encoded and stored, videos moved into the store, the rest as it is."""

    def store(value: Any) -> dict[str, Any]:
        if isinstance(value, Path):
            return _link(files, files.adopt(value))
        encoded = encode(value, image_format, dpi=resolution(request))
        height, width = value.shape[:2]
        return _link(files, files.put(encoded, image_format), width=width, height=height)

    content: dict[str, Any] = {}
    for slot in of.results:
        value = getattr(outcome.result, slot.name)
        if value is None or slot.kind == "json":
            content[slot.name] = jsonable(value)
        elif slot.many:
            content[slot.name] = await asyncio.gather(*(asyncio.to_thread(store, one) for one in value))
        else:
            content[slot.name] = await asyncio.to_thread(store, value)
    return content | {"report": jsonable(outcome.report)}


def _link(files: FileStore, file_id: str, **size: int) -> dict[str, Any]:
    link = FileLink(
        id=file_id, url=f"/v1/files/{file_id}", media_type=media_type(file_id),
        bytes=files.path(file_id).stat().st_size, **size,
    )  # fmt: skip
    return link.model_dump(exclude_none=True)
