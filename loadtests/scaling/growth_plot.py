"""A measured growth (loadtests/scaling/growth.py) as a picture: replicas, requests in flight, p95, over time."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

from deployments import model_for
from graphs import graph_class

STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "svg.fonttype": "none", "svg.hashsalt": "modiste",
}  # fmt: skip


def draw(found: Mapping[str, Any], path: Path) -> None:
    """As SVG or PNG, by the path's suffix."""
    with plt.rc_context(rc=STYLE):
        figure, (top, middle, low) = plt.subplots(
            3, 1, figsize=(9, 7.5), sharex=True, gridspec_kw={"height_ratios": [1.5, 1, 1]}
        )
        _replicas(top, found)
        at = [(i + 0.5) * found["bin_s"] for i in range(len(found["arrivals"]))]
        middle.plot(at, found["arrivals"], color="black", lw=1.2, label="arrivals per second")
        middle.plot(at, found["answers"], color="seagreen", lw=1.2, label="good answers per second")
        middle.plot(at, found["refused"], color="crimson", lw=1.2, ls="--", label="refused per second (503)")
        middle.set(ylabel="1/s", ylim=(0, None))
        waiting = low.twinx()
        low.plot(at, found["in_flight"], color="tab:purple", lw=1.2, label="requests in flight")
        known = [(a, b) for a, b in zip(at, found["p95_s"], strict=True) if b is not None]
        waiting.plot([a for a, _ in known], [b for _, b in known], "o-", ms=3, lw=1, color="tab:orange", label="p95, s")
        waiting.spines["right"].set_visible(True)
        waiting.grid(visible=False)
        waiting.set(ylabel="p95, s", ylim=(0, None))
        low.set(xlabel="seconds", ylabel="in flight", ylim=(0, None), xlim=(0, found["seconds"][-1]))
        for axes in (top, middle, low):
            for start in list(accumulate(seconds for seconds, _ in found["steps"]))[:-1]:
                axes.axvline(start, color="grey", lw=0.8, ls=":")
        for axes in (top, middle):
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
        lines = [*low.get_lines()[:1], *waiting.get_lines()]
        low.legend(
            lines, [str(line.get_label()) for line in lines], loc="upper left", bbox_to_anchor=(1.08, 1), frameon=False
        )
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
        plt.close(figure)


def _replicas(axes: Any, found: Mapping[str, Any]) -> None:
    """A line for each deployment of the flow and each that changed; the others together."""
    flow, counts = found["flow"], found["replicas"]
    own = {flow, *(model_for(role) for role in graph_class(flow).roles())}
    shown = [name for name in counts if name in own or min(counts[name]) != max(counts[name])]
    for i, name in enumerate(shown):
        lift = 0.04 * (i - len(shown) / 2)  # lines of the same height do not hide each other
        axes.step(found["seconds"], [n + lift for n in counts[name]], where="post", lw=1.8, label=name)
    others = [counts[name] for name in counts if name not in shown]
    each: Sequence[float] = [max(of) for of in zip(*others, strict=True)]
    axes.step(
        found["seconds"], each, where="post", color="lightgrey", lw=4, zorder=0, label=f"{len(others)} others, most"
    )
    axes.set(ylabel="replicas", ylim=(-0.2, None), title=f"Load on {flow} alone")
    axes.yaxis.get_major_locator().set_params(integer=True)
