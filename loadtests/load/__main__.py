"""`python -m loadtests.load PROFILE [--target URL]`: a load test, judged; exit 1 where a gate broke."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from jinja2 import Environment, FileSystemLoader
from rich.console import Console
from rich.table import Table

from demo.server import running_server
from loadtests.cases import SAMPLES
from loadtests.load.arrivals import bursts, poisson
from loadtests.load.drive import Stream, drive
from loadtests.load.hosting import ask
from loadtests.load.outcome import judged, over_time, summary
from loadtests.load.plan import Row
from loadtests.load.plots import knee_plot, run_plots
from loadtests.load.profile import Profile, load_profile, names
from loadtests.load.scenarios import requests, shares
from loadtests.load.tenancy import given_keys, make_tenants
from loadtests.machine import machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "loadtests" / "results" / "load"
REPORTS = ROOT / "out" / "load"
console = Console(stderr=True)
TRIES = 2
"""Of a ramp's step, with other arrivals each time: one unlucky moment is no knee."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """keys: of the tenants; none where the server asks for none"""

    address: str
    keys: Mapping[str, str]
    named: str


@contextmanager
def own_server(tenants: tuple[str, ...]) -> Iterator[Target]:
    """A server with the sample catalogue and these tenants, with default settings otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        state, file = Path(folder) / "state", Path(folder) / "tenants.toml"
        keys = make_tenants(tenants, file)
        environment = os.environ | {"MODISTE_STATE": str(state), "MODISTE_TENANTS": str(file)}
        feed = str(SAMPLES / "catalogue" / "feed.csv")
        subprocess.run([sys.executable, "-m", "api.catalogue", "import", feed], env=environment, check=True)
        with running_server(environment) as server:
            yield Target(address=server.address, keys=keys, named="a server of its own on the same machine")


def warm_up(profile: Profile, target: Target) -> None:
    """Every flow of the profile once, so that models which start on demand have started, and once for each face."""
    flows = dict.fromkeys(flow for traffic in profile.traffic for flow in shares(traffic.scenario))
    key = next(iter(target.keys.values()), None)
    for flow in flows:
        several = 3 if flow == "virtual_model" else 1
        for number in range(min(several, len(requests()[flow]))):
            ask(target.address, flow, number, key).raise_for_status()


def streams(profile: Profile, scale: float, turn: int = 0) -> list[Stream]:
    found = []
    for number, traffic in enumerate(profile.traffic):
        rate, seed = traffic.rate * scale, (profile.seed, turn, number)
        times = (
            poisson(rate, profile.duration_s, seed, traffic.shape)
            if traffic.burst is None
            else bursts(rate, profile.duration_s, traffic.burst, seed, traffic.shape)
        )
        found.append(Stream(times, traffic.scenario, traffic.tenant, (*seed, 1)))
    return found


def send(profile: Profile, target: Target, scale: float, turn: int = 0) -> list[Row]:
    return drive(
        target.address, streams(profile, scale, turn), timeout_s=profile.timeout_s,
        job_timeout_s=profile.job_timeout_s, retries=profile.retries, keys=target.keys,
    )  # fmt: skip


def run_once(profile: Profile, target: Target, scale: float) -> dict[str, Any]:
    rows = send(profile, target, scale)
    found = summary(rows)
    gates = judged(found, profile.gates)
    held = all(gate["held"] for gate in gates)
    return {"summary": found, "gates": gates, "passed": held, "series": over_time(rows, profile.duration_s)}


def run_ramp(profile: Profile, target: Target, scale: float) -> dict[str, Any]:
    """Steps at growing rates until a gate breaks. A step whose generator lagged says nothing about the server.

    Passed where the first step kept to all gates and a later one did not.
    """
    assert profile.ramp is not None
    steps: list[dict[str, Any]] = []
    rows: list[Row] = []
    for number in range(profile.ramp.steps):
        factor = scale * profile.ramp.start * profile.ramp.factor**number
        for turn in range(TRIES):
            rows = send(profile, target, factor, TRIES * number + turn)
            step = _step(profile, rows, factor)
            console.print(f"{step['rate']:.2f} requests/s: {', '.join(step['broken']) or 'all gates held'}")
            if not step["broken"]:
                break
        steps.append(step)
        if step["broken"]:
            break
    good, last = [step for step in steps if not step["broken"]], steps[-1]
    passed = bool(good and last["broken"]) and "late_p99_s" not in last["broken"]
    knee = {"rate": good[-1]["rate"] if good else None, "sentence": _sentence(good, last, passed)}
    shown = good[-1] if good else last
    return {
        "summary": {key: shown[key] for key in summary(rows)}, "gates": shown["gates"], "passed": passed,
        "knee": knee, "steps": steps, "series": over_time(rows, profile.duration_s),
    }  # fmt: skip


def _step(profile: Profile, rows: list[Row], factor: float) -> dict[str, Any]:
    found = summary(rows)
    gates = judged(found, profile.gates)
    rate = round(len(rows) / profile.duration_s, 3)
    broken = [gate["gate"] for gate in gates if not gate["held"]]
    return {"rate": rate, "factor": round(factor, 3), "broken": broken, "gates": gates, **found}


def _sentence(good: list[dict[str, Any]], last: dict[str, Any], found: bool) -> str:
    broken = ", ".join(last["broken"]) or "no gate"
    if found:
        return f"The knee is at {good[-1]['rate']:.2f} requests/s: at {last['rate']:.2f}, {broken} broke."
    return f"The knee was not found: at {last['rate']:.2f} requests/s, {broken} broke."


def write(profile: Profile, target: Target, scale: float, outcome: dict[str, Any]) -> tuple[Path, Path]:
    """The results as JSON and the report as one page; returns their paths."""
    started = datetime.now(UTC).isoformat(timespec="minutes")
    of = machine()
    plan = profile.model_dump(exclude_none=True)
    head = {"profile": plan, "scale": scale, "started": started, "target": target.named}
    RESULTS.mkdir(parents=True, exist_ok=True)
    REPORTS.mkdir(parents=True, exist_ok=True)
    result = RESULTS / f"{profile.name}-{of['cores']}core-cpu.json"
    result.write_text(json.dumps(head | {"machine": of} | outcome, indent=1, allow_nan=False) + "\n")
    limits = {flow: of.p95_s for flow, of in profile.gates.flows.items()}
    plots = run_plots(outcome["series"], limits)
    if "steps" in outcome:
        plots["knee"] = knee_plot(outcome["steps"])
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, autoescape=True)
    report = REPORTS / f"{profile.name}.html"
    report.write_text(
        templates.get_template("report.html.j2").render(
            head | outcome | {"machine": of, "profile": profile, "plots": plots}
        )
    )
    return result, report


def show(outcome: dict[str, Any]) -> None:
    table = Table("gate", "limit", "got", "")
    for gate in outcome["gates"]:
        mark = "held" if gate["held"] else "[red]BROKEN[/red]"
        table.add_row(gate["gate"], f"{gate['limit']:g}", "none" if gate["got"] is None else f"{gate['got']:.4g}", mark)
    console.print(table)


def main(
    profile: Annotated[str, typer.Argument(help=f"one of {', '.join(names())}")],
    target: Annotated[str, typer.Option(help="address of a running server; none: one of its own is started")] = "",
    scale: Annotated[float, typer.Option(min=0.01, help="factor of all rates, for machines of another size")] = 1.0,
    duration: Annotated[float | None, typer.Option(min=1, help="seconds, in place of the profile's")] = None,
) -> None:
    """Run a profile against a server and judge it by the profile's gates."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server it started is ended
    chosen = load_profile(profile)
    if duration is not None:
        chosen = chosen.model_copy(update={"duration_s": duration})
    if target:
        given = Target(address=target, keys=given_keys(chosen.tenants), named=target)
        outcome, reached = _against(chosen, given, scale)
    else:
        with own_server(chosen.tenants) as own:
            outcome, reached = _against(chosen, own, scale)
    show(outcome)
    for path in write(chosen, reached, scale, outcome):
        console.print(f"written: {path.relative_to(ROOT)}")
    if "knee" in outcome:
        console.print(outcome["knee"]["sentence"])
    broken = [gate["gate"] for gate in outcome["gates"] if not gate["held"]]
    if not outcome["passed"]:
        console.print(f"[red]failed:[/red] {', '.join(broken) or outcome['knee']['sentence']}")
        raise typer.Exit(1)


def _against(profile: Profile, target: Target, scale: float) -> tuple[dict[str, Any], Target]:
    console.print(f"warming up {target.address}")
    warm_up(profile, target)
    return (run_once if profile.ramp is None else run_ramp)(profile, target, scale), target


if __name__ == "__main__":
    typer.run(main)
