"""How a flow calls its models: which call waits for which, and what the flow itself computes in between.

Each flow runs a few times as it is, which shows what overlaps; then once with every answer already known, so that all
the time it takes is its own.
"""

import asyncio
import hashlib
import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

from deployments import model_for
from graphs import graph_class
from graphs.base import Call
from graphs.local import LocalRunner
from graphs.report import run

RUNS = 3
"""Runs that dependencies must hold in."""

Key = tuple[str, str, int]
"""A role, the digest of what it is given, and which of the calls with the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One call of a flow to a model. started, ended: seconds since the flow began."""

    role: str
    model: str
    inputs: Sequence[Any]
    answer: Sequence[Any]
    started: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One request of a flow.

    calls:   in the order they are sent
    after:   by call, those that must have been answered before (only the last ones of each chain)
    own:     by call, CPU seconds the flow computes before it sends it, since it last sent or got something
    finish:  CPU seconds after the last answer
    seconds: of the whole, as it ran here, the shortest time
    result:  of the flow
    """

    calls: tuple[Recorded, ...]
    after: tuple[tuple[int, ...], ...]
    own: tuple[float, ...]
    finish: float
    seconds: float
    result: Any


@dataclass(slots=True)
class _Clock:
    """What one run sent and got. asked: how often each role was called with the same."""

    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: dict[Key, Recorded] = field(default_factory=dict)
    own: dict[Key, float] = field(default_factory=dict)
    began: float = field(default_factory=perf_counter)
    busy: float = field(default_factory=process_time)

    def key(self, role: str, inputs: Sequence[Any]) -> Key:
        digest = hashlib.sha256(pickle.dumps(inputs)).hexdigest()
        self.asked[role, digest] += 1
        self.lap()  # looking at the inputs is not the flow's work
        return role, digest, self.asked[role, digest]

    def lap(self) -> float:
        now = process_time()
        passed, self.busy = now - self.busy, now
        return passed


def structure_of(flow: str, request: object, runner: LocalRunner) -> Structure:
    """Run it and see.

    raises: RuntimeError where two runs of the flow call its models differently"""
    result = asyncio.run(_run(flow, request, runner, _Clock(), {}))  # opens the models
    clocks, seconds = [], []
    for _ in range(RUNS):
        clock = _Clock()
        asyncio.run(_run(flow, request, runner, clock, {}))
        seconds.append(perf_counter() - clock.began)
        clocks.append(clock)
    first = clocks[0]
    if any(clock.calls.keys() != first.calls.keys() for clock in clocks):
        raise RuntimeError(f"expected {flow} to call the same models in each run; it did not")
    known = _Clock()
    asyncio.run(_run(flow, request, runner, known, {key: call.answer for key, call in first.calls.items()}))
    order = sorted(first.calls, key=lambda key: first.calls[key].started)
    return Structure(
        calls=tuple(first.calls[key] for key in order),
        after=_after([[clock.calls[key] for key in order] for clock in clocks]),
        own=tuple(known.own[key] for key in order),
        finish=known.lap(),
        seconds=min(seconds),
        result=result,
    )


def calls_of(flow: str, request: object, runner: LocalRunner) -> list[Recorded]:
    """The calls of one run, whatever it takes."""
    clock = _Clock()
    asyncio.run(_run(flow, request, runner, clock, {}))
    return list(clock.calls.values())


async def _run(
    flow: str, request: object, runner: LocalRunner, clock: _Clock, known: Mapping[Key, Sequence[Any]]
) -> Any:
    graph = graph_class(flow)
    calls = {role: _listening(role, call, clock, known) for role, call in runner.calls(graph).items()}
    clock.began, clock.busy = perf_counter(), process_time()
    return (await run(flow, graph(calls), request)).result


def _listening(role: str, call: Call, clock: _Clock, known: Mapping[Key, Sequence[Any]]) -> Call:
    async def listen(inputs: Sequence[Any]) -> list[Any]:
        own = clock.lap()
        key = clock.key(role, list(inputs))
        clock.own[key] = own
        started = perf_counter() - clock.began
        if known:
            await asyncio.sleep(0)
            answer = list(known[key])
        else:
            answer = await call(inputs)
        clock.calls[key] = Recorded(
            role=role, model=model_for(role), inputs=list(inputs), answer=answer,
            started=started, ended=perf_counter() - clock.began,
        )  # fmt: skip
        return answer

    return listen


def _after(runs: Sequence[Sequence[Recorded]]) -> tuple[tuple[int, ...], ...]:
    """What waited in every run for what, without what follows from the rest."""
    count = len(runs[0])
    before = [
        {i for i in range(count) if all(calls[i].ended <= calls[j].started for calls in runs)} for j in range(count)
    ]
    return tuple(tuple(sorted(i for i in found if not any(i in before[k] for k in found))) for found in before)
