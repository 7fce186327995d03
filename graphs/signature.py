"""A flow's outside, read from its request and result types. HTTP routes and the command line derive from it."""

import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from graphs import graph_class
from graphs.base import Graph, VideoFile
from modiste.image import RGBAImage, RGBImage, decode, decode_rgba

Kind = Literal["picture", "cutout", "video", "json"]
"""What a field is to the outside; a cutout is a picture that keeps its alpha."""

_KINDS: Mapping[object, Kind] = {RGBImage: "picture", RGBAImage: "cutout", VideoFile: "video"}


@dataclass(frozen=True, slots=True)
class Slot:
    """One field of a request or result. many: a tuple of pictures. hint: its type, without None."""

    name: str
    kind: Kind
    required: bool
    many: bool
    hint: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """uploads: the request's files; options: the request's parameters; results: the result's fields."""

    flow: str
    graph: type[Graph[Any, Any]]
    uploads: tuple[Slot, ...]
    options: type[BaseModel]
    results: tuple[Slot, ...]

    @property
    def description(self) -> str:
        """What the flow does, in its own words."""
        return self.graph.__doc__ or sys.modules[self.graph.__module__].__doc__ or ""

    @property
    def takes_video(self) -> bool:
        return any(slot.kind == "video" for slot in self.uploads)

    @property
    def single_picture(self) -> Slot | None:
        """The one picture that the result consists of, as far as files go."""
        files = [slot for slot in self.results if slot.kind != "json"]
        return files[0] if len(files) == 1 and files[0].kind == "picture" and not files[0].many else None

    def request(self, uploads: Mapping[str, Any], options: BaseModel) -> Any:
        """The typed request; absent uploads are None."""
        return self.graph.request(**{slot.name: uploads.get(slot.name) for slot in self.uploads}, options=options)


@cache
def signature(flow: str) -> Signature:
    graph = graph_class(flow)
    hints = get_type_hints(graph.request)
    options = hints.pop("options")
    return Signature(
        flow=flow,
        graph=graph,
        uploads=tuple(_slot(name, hint) for name, hint in hints.items()),
        options=options,
        results=tuple(_slot(name, hint) for name, hint in get_type_hints(graph.result).items()),
    )


def _slot(name: str, hint: Any) -> Slot:
    required = True
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        required = False
        rest = tuple(arg for arg in get_args(hint) if arg is not type(None))
        hint = rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 - of a tuple of types
    many = get_origin(hint) is tuple and get_args(hint)[0] in _KINDS
    return Slot(name, _KINDS.get(get_args(hint)[0] if many else hint, "json"), required, many, hint)


def read_picture(slot: Slot, encoded: bytes) -> RGBImage | RGBAImage:
    """raises: what `modiste.image.decode` raises"""
    return decode(encoded) if slot.kind == "picture" else decode_rgba(encoded)


def resolution(request: Any) -> float | None:
    """Dots per inch of the result's pictures, where the flow has an option `dpi`."""
    return getattr(request.options, "dpi", None)


def jsonable(value: object) -> Any:
    """Dataclasses, pydantic models and numpy values as JSON values."""
    return to_jsonable_python(value, fallback=lambda found: found.tolist())


def explain(errors: list[Any]) -> list[dict[str, str]]:
    """Pydantic's `ValidationError.errors()` as field and message."""
    return [{"field": ".".join(map(str, e["loc"])) or "options", "message": str(e["msg"])} for e in errors]
