"""Requests through flows, replicas and cores, event by event: what a deployment of any size would do under a load.

Calls wait for those before them, as was recorded (recording.py); each model's replicas take one call after the other,
or several together where engines run batches; whatever computes takes turns on the machine's processors.
Arrivals are independent of each other and of the answers (Poisson, open loop).
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

import numpy as np
import simpy

SLICE_S = 0.01
"""That a computation keeps a processor for before another has its turn."""

NORMAL_P95 = 1.645

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Hop:
    """What a call from one process to another takes beside the work, there and back. cpu_s: of all processes"""

    seconds: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a flow to a model.

    seconds: of the model's work; p95_s: how long it takes in one of twenty runs; own_s: CPU seconds of the flow before
    it; after: calls of the same request that it waits for
    """

    model: str
    seconds: float
    p95_s: float = 0.0
    inputs: int = 1
    own_s: float = 0.0
    hop: Hop = Hop()
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """edge_s, finish_s: CPU seconds at the ingress, and of the flow after its last call; hop: from ingress to flow"""

    calls: tuple[Call, ...]
    hop: Hop = Hop()
    edge_s: float = 0.0
    finish_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What there is to run on.

    cores:    CPU cores, all machines together; crowded: times as long as alone that work takes with all of them busy
    replicas: of each model and flow; 1 where nothing is said
    on:       models that compute on a GPU: which one each of their replicas has
    gpus:     how many; a GPU computes for one replica at a time
    limit:    requests to one flow at once, of which more are refused (api/admission.py)
    batch:    inputs that a replica takes together, by model; 1 where nothing is said
    joint:    seconds of a batch of n over those of n alone, as a share that does not shrink: 1 gains nothing
    """

    cores: float = float("inf")
    crowded: float = 1.0
    replicas: Mapping[str, int] = field(default_factory=dict)
    on: Mapping[str, Sequence[int]] = field(default_factory=dict)
    gpus: int = 0
    limit: float = float("inf")
    batch: Mapping[str, int] = field(default_factory=dict)
    joint: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the requests that arrived within the time that counts.

    arrived, refused, answered: how many did, were not let in, and were answered within the run
    seconds:    by flow, of each answered request, in order of arrival
    throughput: answers per second in the time that counts
    busy:       by model, share of its replicas' time
    """

    arrived: int
    refused: int
    answered: int
    seconds: Mapping[str, Sequence[float]]
    throughput: float
    busy: Mapping[str, float]

    def quantile(self, q: float, flow: str | None = None) -> float:
        """Seconds, of one flow or of all; infinite where nothing was answered."""
        chosen = [s for name, times in self.seconds.items() if flow in (None, name) for s in times]
        return float(np.quantile(chosen, q)) if chosen else float("inf")


Draw = Callable[[np.random.Generator, Call], float]


def as_measured(rng: np.random.Generator, call: Call) -> float:
    """Log-normal with the measured median and 95th percentile."""
    if call.p95_s <= call.seconds or not call.seconds:
        return call.seconds
    return float(call.seconds * np.exp(rng.normal(0.0, log(call.p95_s / call.seconds) / NORMAL_P95)))


class _Processors:
    """Cores, or one GPU: as many computations at once as there are, the others take turns."""

    def __init__(self, env: simpy.Environment, count: float, crowded: float = 1.0, piece: float = SLICE_S) -> None:
        self._env, self._crowded, self._piece = env, crowded, piece
        self._count = count
        self._places = simpy.Resource(env, capacity=int(count)) if count != float("inf") else None

    def compute(self, seconds: float) -> Steps:
        if self._places is None:
            yield self._env.timeout(seconds)
            return
        while seconds > 1e-9:
            part = min(seconds, self._piece)
            with self._places.request() as turn:
                yield turn
                busy = self._places.count
                share = (busy - 1) / (self._count - 1) if self._count > 1 else 0.0
                yield self._env.timeout(part * (1 + (self._crowded - 1) * share))
            seconds -= part


class _Replica:
    """Takes what waits for it: one call after the other, or as many inputs as a batch holds."""

    def __init__(self, world: "_World", model: str, processors: _Processors) -> None:
        self._world, self._processors = world, processors
        self._most = world.site.batch.get(model, 1)
        self._waiting: list[tuple[Call, simpy.Event]] = []
        self._awake: simpy.Event = world.env.event()
        self.ongoing = 0
        self.busy_s = 0.0
        world.env.process(self._work())

    def take(self, call: Call) -> simpy.Event:
        done = self._world.env.event()
        self.ongoing += 1
        self._waiting.append((call, done))
        if not self._awake.triggered:
            self._awake.succeed()
        return done

    def _work(self) -> Steps:
        env = self._world.env
        while True:
            if not self._waiting:
                self._awake = env.event()
                yield self._awake
            taken = [self._waiting.pop(0)]
            inputs = taken[0][0].inputs
            while self._waiting and inputs + self._waiting[0][0].inputs <= self._most:
                taken.append(self._waiting.pop(0))
                inputs += taken[-1][0].inputs
            alone = [self._world.draw(self._world.rng, call) for call, _ in taken]
            joint = self._world.site.joint if len(taken) > 1 else 1.0
            started = env.now
            yield from self._processors.compute(max(alone) + joint * (sum(alone) - max(alone)))
            self.busy_s += env.now - started
            for _, done in taken:
                self.ongoing -= 1
                done.succeed()


class _World:
    def __init__(self, site: Site, flows: Mapping[str, Flow], draw: Draw, seed: int) -> None:
        self.site, self.flows, self.draw = site, flows, draw
        self.rng = np.random.default_rng(seed)
        self.env = simpy.Environment()
        self.cores = _Processors(self.env, site.cores, site.crowded)
        gpus = [_Processors(self.env, 1, piece=float("inf")) for _ in range(site.gpus)]
        self.models: dict[str, list[_Replica]] = {}
        for model in sorted({call.model for flow in flows.values() for call in flow.calls}):
            where = (
                [gpus[i] for i in site.on[model]] if model in site.on else [self.cores] * site.replicas.get(model, 1)
            )
            self.models[model] = [_Replica(self, model, processors) for processors in where]
        self.loops = {name: [simpy.Resource(self.env) for _ in range(site.replicas.get(name, 1))] for name in flows}

    def _shorter(self, places: Sequence[Any], length: Callable[[Any], int]) -> Any:
        """Of two at random that with the shorter queue, as Serve chooses."""
        if len(places) == 1:
            return places[0]
        one, other = self.rng.choice(len(places), 2, replace=False)
        return min(places[one], places[other], key=length)

    def request(self, flow: Flow, name: str, answered: Callable[[], None]) -> Steps:
        loop = self._shorter(self.loops[name], lambda of: of.count + len(of.queue))
        yield from self.cores.compute(flow.edge_s)
        yield from self._hop(flow.hop)
        done = [self.env.event() for _ in flow.calls]
        for i, call in enumerate(flow.calls):
            self.env.process(self._call(call, [done[k] for k in call.after], loop, done[i]))
        yield self.env.all_of(done)
        yield from self._own(loop, flow.finish_s)
        answered()

    def _call(self, call: Call, before: Sequence[simpy.Event], loop: simpy.Resource, done: simpy.Event) -> Steps:
        yield self.env.all_of(before)
        yield from self._own(loop, call.own_s)
        yield from self._hop(call.hop)
        yield self._shorter(self.models[call.model], lambda of: of.ongoing).take(call)
        done.succeed()

    def _hop(self, hop: Hop) -> Steps:
        """What it computes beyond the time that it takes, other processes compute beside it."""
        if hop.cpu_s > hop.seconds:
            self.env.process(self.cores.compute(hop.cpu_s - hop.seconds))
        yield from self.cores.compute(min(hop.cpu_s, hop.seconds))
        yield self.env.timeout(max(0.0, hop.seconds - hop.cpu_s))

    def _own(self, loop: simpy.Resource, seconds: float) -> Steps:
        """The flow's own work, on its event loop."""
        if seconds > 0:
            with loop.request() as turn:
                yield turn
                yield from self.cores.compute(seconds)


def simulate(
    flows: Mapping[str, Flow],
    rates: Mapping[str, float],
    site: Site,
    *,
    seconds: float,
    warm_s: float = 0.0,
    ends_s: float | None = None,
    times: Mapping[str, Sequence[float]] | None = None,
    draw: Draw = as_measured,
    seed: int = 0,
) -> Outcome:
    """Requests of each flow at its rate (per second) for `seconds`; those of the first `warm_s` do not count.

    ends_s: when the run ends; unset: with the arrivals
    times:  of the arrivals of each flow, instead of its rate
    raises: KeyError for a flow that is not among the flows
    """
    world = _World(site, {name: flows[name] for name in rates}, draw, seed)
    env, took = world.env, {name: dict[int, float]() for name in rates}
    arrived = refused = ends_counted = 0
    inside = dict.fromkeys(rates, 0)

    def arrive(name: str, rate: float) -> Steps:
        nonlocal arrived, refused
        for number, at in enumerate(times[name] if times else _poisson(world.rng, rate, seconds)):
            yield env.timeout(at - env.now)
            began = env.now
            counts = began >= warm_s
            arrived += counts
            if inside[name] >= site.limit:
                refused += counts
                continue
            inside[name] += 1

            def answered(began: float = began, number: int = number, counts: bool = counts) -> None:
                nonlocal ends_counted
                inside[name] -= 1
                ends_counted += warm_s <= env.now < seconds
                if counts:
                    took[name][number] = env.now - began

            env.process(world.request(flows[name], name, answered))

    for name, rate in rates.items():
        if rate > 0:
            env.process(arrive(name, rate))
    env.run(until=ends_s or seconds)
    return Outcome(
        arrived=arrived,
        refused=refused,
        answered=sum(len(of) for of in took.values()),
        seconds={name: tuple(of[i] for i in sorted(of)) for name, of in took.items()},
        throughput=ends_counted / (seconds - warm_s),
        busy={m: sum(r.busy_s for r in of) / len(of) / env.now for m, of in world.models.items()},
    )


def _poisson(rng: np.random.Generator, rate: float, seconds: float) -> Iterator[float]:
    at = 0.0
    while (at := at + rng.exponential(1 / rate)) < seconds:
        yield at
