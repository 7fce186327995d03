"""One file per flow, one line per flow here."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphs.base import Graph

GRAPHS: Mapping[str, str] = {
    "virtual_faces": "graphs.virtual_faces:VirtualFaces",
    "virtual_model": "graphs.virtual_model:VirtualModel",
    "try_on": "graphs.try_on:TryOn",
    "anonymize": "graphs.anonymize:Anonymize",
    "anonymize_video": "graphs.anonymize_video:AnonymizeVideo",
    "id_photo": "graphs.id_photo:IdPhoto",
    "sketch_search": "graphs.sketch_search:SketchSearch",
}


@cache
def graph_class(name: str) -> "type[Graph[Any, Any]]":
    module, _, found = GRAPHS[name].partition(":")
    graph: type[Graph[Any, Any]] = getattr(import_module(module), found)
    return graph
