"""`python -m loadtests.load.page`: docs/load.md from the last results of load tests, peers and overhead."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from deployments.scaling import measured
from loadtests.load.profile import load_profile, names
from loadtests.peers.compare import STEP

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "loadtests" / "results" / "load"
NEVER = (
    "On a cluster of several machines, and on GPUs: there are none here.",
    "With the generator on a machine of its own: it shares the cores with the server, which costs both.",
)


def write_page() -> Path:
    written = ROOT / "docs" / "load.md"
    written.write_text(page())
    return written


def page() -> str:
    """As the results that are here make it."""
    runs = [json.loads(path.read_text()) for name in names() for path in _latest(f"{name}-*core-cpu.json")]
    for run in runs:
        run["planned_s"] = load_profile(run["profile"]["name"]).duration_s
        run["broken"] = [_broken(gate) for gate in run["gates"] if not gate["held"]]
    echo = _one("echo-*core-cpu.json")
    by_name = {run["profile"]["name"]: run for run in runs}
    missing = [f"`make load PROFILE={name}`: no results are here." for name in names() if name not in by_name]
    peers = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("peers-*core-cpu.json"))]
    for of in peers:
        of["goal"] = _goal(of["hosts"])
    content: dict[str, Any] = {
        "profiles": [_row(name, by_name.get(name)) for name in names()],
        "runs": runs,
        "peers": peers,
        "behind": any("not met" in of["goal"] for of in peers),
        "idle_cores": measured()["serving"]["idle_cores"],
        "tried": _one("configurations-*core-cpu.json"),
        "step_percent": round((STEP - 1) * 100),
        "echo": echo,
        "echo_ratio": _ratio(echo) if echo else "",
        "missing": [*missing, *NEVER],
    }
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    return templates.get_template("load.md.j2").render(content).rstrip() + "\n"


def _latest(pattern: str) -> list[Path]:
    return sorted(RESULTS.glob(pattern), key=lambda path: json.loads(path.read_text())["machine"]["date"])[-1:]


def _one(pattern: str) -> dict[str, Any] | None:
    found = _latest(pattern)
    return json.loads(found[0].read_text()) if found else None


def _row(name: str, run: dict[str, Any] | None) -> dict[str, Any]:
    of = load_profile(name)
    result = "not run" if run is None else run["knee"]["sentence"] if "knee" in run else _result(run)
    return {
        "name": name,
        "description": of.description,
        "rate": f"{sum(traffic.rate for traffic in of.traffic):.2f}" + (", growing" if of.ramp else ""),
        "duration": f"{of.duration_s:.0f}" + (" each" if of.ramp else ""),
        "result": result,
    }


def _result(run: dict[str, Any]) -> str:
    return "passed" if run["passed"] else "failed: " + ", ".join(run["broken"])


def _broken(gate: dict[str, Any]) -> str:
    return f"{gate['gate']} {gate['got']:.4g} over {gate['limit']:g}"


def _goal(hosts: dict[str, Any]) -> str:
    ours, others = hosts["modiste"], [of for name, of in hosts.items() if name != "modiste"]
    peak = ours["peak"] / max(of["peak"] for of in others)
    p95 = ours["saturated"]["p95_ms"] / min(of["saturated"]["p95_ms"] for of in others)
    verdict = "met" if peak >= 1 and p95 < 1 else "**not met**"
    return f"{verdict}. Our peak is {peak:.2f} times the best one's, our p95 {p95:.2f} times."


def _ratio(echo: dict[str, Any]) -> str:
    setups = echo["setups"]
    ours = {name: of["users_100"]["per_s"] for name, of in setups.items()}
    best = max(ours, key=lambda name: ours[name])
    default, published = ours["ray_default"], echo["published"]
    theirs = published["tuned"]["128"]["per_s"] / published["default"]["128"]["per_s"]
    return (
        f"Throughput with a hundred users: {best} has {ours[best] / default:.2f} times that of Ray's default here, "
        f"{ours['served'] / default:.2f} times as our server sets it; published: {theirs:.1f} times, with 16 cores for "
        "the server alone."
    )


if __name__ == "__main__":
    print(write_page())
