"""What a load test does and what it must show: TOML files in loadtests/load/profiles/, read strictly."""

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from graphs import GRAPHS
from loadtests.load.arrivals import Burst, Point
from loadtests.load.scenarios import shares

PROFILES = Path(__file__).resolve().parent / "profiles"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Traffic(_Strict):
    """One tenant's requests. Rates are for the reference machine of two cores; the command can scale them."""

    scenario: str = Field(description="of loadtests/load/scenarios.py, or a flow")
    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    rate: float = Field(gt=0, description="mean requests per second where the shape's factor is 1")
    burst: Burst | None = Field(default=None, description="none: independent arrivals (Poisson)")
    shape: tuple[Point, ...] = Field(default=(), description="factor of the rate over time, linear in between")

    @field_validator("scenario")
    @classmethod
    def _known(cls, scenario: str) -> str:
        shares(scenario)
        return scenario

    @field_validator("shape")
    @classmethod
    def _in_order(cls, shape: tuple[Point, ...]) -> tuple[Point, ...]:
        if any(b.at_s <= a.at_s for a, b in pairwise(shape)):
            raise ValueError("expected a shape's points in the order of time")
        return shape


class Ramp(_Strict):
    """The whole traffic in steps, each at a higher rate than the one before, until a gate breaks."""

    start: float = Field(gt=0, description="factor of all rates in the first step")
    factor: float = Field(gt=1, description="from one step to the next")
    steps: int = Field(ge=2, le=40)


class Limits(_Strict):
    """Seconds from the moment a request was due until its answer was complete."""

    p50_s: float | None = Field(default=None, gt=0)
    p95_s: float | None = Field(default=None, gt=0)
    p99_s: float | None = Field(default=None, gt=0)
    job_p95_s: float | None = Field(default=None, gt=0, description="until the job that a request began had ended")


class Gates(_Strict):
    """What a run must keep to. Shares are of all requests."""

    failed: float = Field(ge=0, le=1, description="answered wrongly or not at all; not those shed for load")
    shed: float = Field(ge=0, le=1, description="refused for load, with 429 or 503")
    shed_p95_s: float = Field(default=0.1, gt=0, description="how long a refusal takes, from when it was sent")
    late_p99_s: float = Field(default=0.05, gt=0, description="how far behind its timetable the generator may be")
    flows: dict[str, Limits]

    @field_validator("flows")
    @classmethod
    def _flows_exist(cls, flows: dict[str, Limits]) -> dict[str, Limits]:
        if unknown := sorted(set(flows) - set(GRAPHS)):
            raise ValueError(f"expected flows of {sorted(GRAPHS)}, got {unknown}")
        return flows


class Profile(_Strict):
    """duration_s: of the run, or of each step of a ramp; answers that are still due then are waited for."""

    name: str = ""
    description: str
    seed: int = 1
    duration_s: float = Field(gt=0, le=7200)
    timeout_s: float = Field(default=90.0, gt=0, description="how long an answer is waited for")
    job_timeout_s: float = Field(default=600.0, gt=0, description="how long the end of a job is waited for")
    retries: int = Field(default=0, ge=0, le=1, description="how often a client asks again after a 503")
    ramp: Ramp | None = None
    traffic: tuple[Traffic, ...] = Field(min_length=1)
    gates: Gates

    @model_validator(mode="after")
    def _every_flow_has_limits(self) -> Self:
        flows = {flow for traffic in self.traffic for flow in shares(traffic.scenario)}
        if missing := sorted(flows - set(self.gates.flows)):
            raise ValueError(f"expected limits in [gates.flows] for {missing}, got none")
        return self

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(traffic.tenant for traffic in self.traffic))


def load_profile(name: str) -> Profile:
    """raises: FileNotFoundError; ValidationError where the file is not as it should be"""
    path = PROFILES / f"{name}.toml"
    if not path.is_file():
        raise FileNotFoundError(f"expected one of {', '.join(names())}, got {name!r}")
    return Profile.model_validate({"name": name} | tomllib.loads(path.read_text()))


def names() -> list[str]:
    return sorted(path.stem for path in PROFILES.glob("*.toml"))
