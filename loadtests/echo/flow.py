"""A model that gives back what it gets, and a flow that calls it once."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from compile.engine import Tensors
from deployments import EDITIONS, MODELS
from deployments.base import Model
from graphs import GRAPHS
from graphs.base import Graph, uses
from modiste.spec import ModelSpec, Resources


class Echoing(Model[str, str]):
    """A text, unchanged."""


class EchoModel(Echoing):
    spec = ModelSpec(
        id="echo_model",
        role="Echoing",
        paper="none",
        licence="ours",
        resources=Resources(cpus=0.5, min_replicas=1, max_replicas=1),
    )

    def postprocess(self, outputs: Tensors, x: str) -> str:
        return x


class EchoOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    text: str = Field(description="what is given back")


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoRequest:
    options: EchoOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoResult:
    """text: as it came"""

    text: str


class Echo(Graph[EchoRequest, EchoResult]):
    """Gives back a text."""

    request = EchoRequest
    result = EchoResult
    give_back = uses(Echoing)

    async def __call__(self, request: EchoRequest) -> EchoResult:
        return EchoResult(text=await self.give_back(request.options.text))


def register() -> None:
    """Make the tables of this process name this model beside the others, and this flow alone."""
    MODELS["echo_model"] = f"{__name__}:EchoModel"  # type: ignore[index]
    EDITIONS["default"]["Echoing"] = "echo_model"  # type: ignore[index]
    GRAPHS.clear()  # type: ignore[attr-defined]
    GRAPHS["echo"] = f"{__name__}:Echo"  # type: ignore[index]
