"""Plots of a run over time, as SVG to put into a page."""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

WIDTH, HEIGHT = 9.0, 2.6
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "svg.fonttype": "none", "svg.hashsalt": "modiste",
}  # fmt: skip
Curve = Sequence[float | None]


def run_plots(series: Mapping[str, Any], limits: Mapping[str, float | None]) -> dict[str, str]:
    """By title. limits: of each flow's p95, drawn where there is one"""
    t = [(i + 0.5) * series["bin_s"] for i in range(len(series["arrivals"]))]
    plots = {
        f"{flow}: seconds until answered": _lines(t, curves, limits.get(flow), "s", dots=True)
        for flow, curves in series["flows"].items()
    }
    per_s = [count / series["bin_s"] for count in series["arrivals"]]
    plots["Arrivals per second"] = _lines(t, {"due": per_s}, None, "1/s")
    plots["Requests in flight"] = _lines(t, {"in flight": series["in_flight"]}, None, "requests")
    plots["Answers by status or problem code"] = _stacked(t, series["codes"], series["bin_s"])
    return plots


def knee_plot(steps: Sequence[Mapping[str, Any]]) -> str:
    """p95 of each flow over the rate."""
    rates = [step["rate"] for step in steps]
    flows = sorted({flow for step in steps for flow in step["flows"]})
    curves = {flow: [step["flows"].get(flow, {}).get("p95_s") for step in steps] for flow in flows}
    return _lines(rates, curves, None, "p95, s", across="requests per second", dots=True)


def _lines(
    x: Sequence[float], curves: Mapping[str, Curve], limit: float | None, unit: str,
    *, across: str = "seconds", dots: bool = False,
) -> str:  # fmt: skip
    with plt.rc_context(rc=STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
        for name, values in list(curves.items())[::-1]:
            known = [(a, b) for a, b in zip(x, values, strict=True) if b is not None]
            label = name.removesuffix("_s")
            axes.plot([a for a, _ in known], [b for _, b in known], "o-" if dots else "-", ms=3, lw=1.2, label=label)
        if limit is not None:
            axes.axhline(limit, color="crimson", lw=1, ls="--", label="limit of p95")
        axes.set(xlabel=across, ylabel=unit, xlim=(0, None), ylim=(0, None))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        return _svg(figure)


def _stacked(x: Sequence[float], parts: Mapping[str, Sequence[int]], width: float) -> str:
    with plt.rc_context(rc=STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
        below, others = [0] * len(x), cycle(("tab:orange", "tab:red", "tab:purple", "tab:brown", "tab:gray"))
        for name, counts in sorted(parts.items()):
            colour = "seagreen" if name.startswith("2") else next(others)
            axes.bar(x, counts, width * 0.95, below, label=name, color=colour)
            below = [a + b for a, b in zip(below, counts, strict=True)]
        axes.set(xlabel="seconds", ylabel="answers", xlim=(0, None))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        return _svg(figure)


def _svg(figure: Any) -> str:
    """Only the element, without what names a time or a document type."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
