"""What the generator is told and what it tells: every request of a run with its moment, and what became of each."""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Call(BaseModel):
    """One way to call the server. body: file beside the plan; kept apart, since many arrivals send the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow: str
    tenant: str
    path: str
    headers: dict[str, str]
    body: str


class Arrival(BaseModel):
    """at: seconds from the run's start; call: index into the plan's calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: float = Field(ge=0)
    call: int = Field(ge=0)


class Plan(BaseModel):
    """retries: how often a request that was answered with 503 is sent again, after what Retry-After says;
    timeout_s: how long an answer is waited for; job_timeout_s: how long the end of a job is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    calls: tuple[Call, ...]
    arrivals: tuple[Arrival, ...]
    timeout_s: float = Field(gt=0)
    job_timeout_s: float = Field(default=600.0, gt=0)
    retries: int = Field(default=0, ge=0, le=1)


class Row(BaseModel):
    """One request. All times in seconds from the run's start.

    at:          when it was due; sent: when it was sent; done: when its answer was complete
    status:      of the last answer; 0 where there was none
    code:        of the problem document, or of what went wrong on the way; "" where the answer was good
    retry_after: seconds, as the server said, None where it did not
    retries:     how often it was sent again
    job_s:       seconds from `at` until the job that it began had ended, None where it began none
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow: str
    tenant: str
    at: float
    sent: float
    done: float
    status: int
    code: str = ""
    size: int = 0
    retry_after: float | None = None
    retries: int = 0
    job_s: float | None = None

    @property
    def seconds(self) -> float:
        """From the moment it was due, so that a late generator or a full connection counts against the server."""
        return self.done - self.at

    @property
    def late(self) -> float:
        """How much after its moment the generator sent it, seconds."""
        return self.sent - self.at

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300 and not self.code

    @property
    def shed(self) -> bool:
        """Refused for load, as the contract has it: an answer that says when to come back."""
        return self.status in (429, 503)


def read_rows(path: Path) -> list[Row]:
    return [Row.model_validate_json(line) for line in path.read_text().splitlines()]


def write_plan(plan: Plan, bodies: Iterable[bytes], folder: Path) -> Path:
    """The plan as a file, with the bodies of its calls beside it; returns the plan's path."""
    for call, body in zip(plan.calls, bodies, strict=True):
        (folder / call.body).write_bytes(body)
    path = folder / "plan.json"
    path.write_text(json.dumps(plan.model_dump()))
    return path
