"""What every graph is: plain async Python over typed steps. No Ray.

class TryOn(Graph[TryOnRequest, TryOnResult]):
    parse = uses(HumanParsing)
    async def __call__(self, request): labels = await self.parse(...)
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NewType, Protocol, Self, TypeVar, overload

from deployments import is_played
from deployments.base import In, Model, Out
from modiste.telemetry import step

VideoFile = NewType("VideoFile", Path)
"""A video on storage that every process of the server can read."""

Request = TypeVar("Request")
Result = TypeVar("Result")


class Call(Protocol):
    """How a runner reaches one role's model: several inputs at once, results in order."""

    def __call__(self, inputs: Sequence[Any]) -> Awaitable[list[Any]]: ...


@dataclass(frozen=True, slots=True)
class Step(Generic[In, Out]):
    """A role as a graph calls it; its wall time is recorded under the attribute's name."""

    name: str
    call: Call

    async def __call__(self, x: In) -> Out:
        with step(self.name):
            results: list[Out] = await self.call([x])
        return results[0]

    async def many(self, inputs: Sequence[In]) -> list[Out]:
        """One round trip for several inputs, e.g. the frames of a chunk."""
        if not inputs:
            return []
        with step(self.name):
            results: list[Out] = await self.call(inputs)
        return results


class Declared(Generic[In, Out]):
    """A step of a graph: role, type and wiring in one."""

    def __init__(self, role: type[Model[In, Out]]) -> None:
        self.role = role.__name__
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class Uses(Declared[In, Out]):
    """A step whose role every edition plays."""

    @overload
    def __get__(self, graph: None, owner: type) -> Self: ...
    @overload
    def __get__(self, graph: "Graph[Any, Any]", owner: type) -> Step[In, Out]: ...
    def __get__(self, graph: "Graph[Any, Any] | None", owner: type) -> "Self | Step[In, Out]":
        return self if graph is None else Step(self.name, graph.calls[self.role])


class MayUse(Declared[In, Out]):
    """A step that editions without a model for its role leave out: there it is None."""

    @overload
    def __get__(self, graph: None, owner: type) -> Self: ...
    @overload
    def __get__(self, graph: "Graph[Any, Any]", owner: type) -> Step[In, Out] | None: ...
    def __get__(self, graph: "Graph[Any, Any] | None", owner: type) -> "Self | Step[In, Out] | None":
        if graph is None:
            return self
        return Step(self.name, graph.calls[self.role]) if self.role in graph.calls else None


def uses(role: type[Model[In, Out]]) -> Uses[In, Out]:
    return Uses(role)


def may_use(role: type[Model[In, Out]]) -> MayUse[In, Out]:
    return MayUse(role)


class Graph(ABC, Generic[Request, Result]):
    """A flow. `Request` and `Result` are frozen dataclasses.

    In a request, fields of type `RGBImage` (or `RGBImage | None`) and `VideoFile` are uploads, and `options` is a
    pydantic model. In a result, `RGBImage`, `tuple[RGBImage, ...]` and `VideoFile` are files, the rest is JSON.
    The http route, its schema and the command line derive from these types.
    """

    request: ClassVar[type]
    result: ClassVar[type]

    def __init__(self, calls: Mapping[str, Call]) -> None:
        self.calls = calls

    @abstractmethod
    async def __call__(self, request: Request) -> Result: ...

    @classmethod
    def roles(cls) -> tuple[str, ...]:
        """The roles of this graph's steps, each once, in order of declaration, without those that nobody plays."""
        steps = [value for c in reversed(cls.__mro__) for value in vars(c).values() if isinstance(value, Declared)]
        return tuple(dict.fromkeys(s.role for s in steps if not isinstance(s, MayUse) or is_played(s.role)))
