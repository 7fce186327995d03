"""What a run's rows say: figures by flow and tenant, how they went over time, and whether the gates held."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtests.load.drive import percentile
from loadtests.load.plan import Row
from loadtests.load.profile import Gates

SHARES = (50, 95, 99)
BINS = 30
"""Of a run's time, in results and plots."""


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Seconds, rounded to milliseconds; counts."""
    return {
        "requests": len(rows),
        "good": sum(row.good for row in rows),
        "shed": sum(row.shed for row in rows),
        "failed": sum(failed(row) for row in rows),
        "retried": sum(row.retries for row in rows),
        "late_s": {f"p{share}": _s(percentile([row.late for row in rows], share)) for share in SHARES},
        "shed_p95_s": _s(percentile([row.done - row.sent for row in rows if row.shed], 95)),
        "shed_without_retry_after": sum(row.shed and row.retry_after is None for row in rows),
        "codes": dict(Counter(_named(row) for row in rows).most_common()),
        "flows": {name: _group(part) for name, part in _by(rows, "flow").items()},
        "tenants": {name: _group(part) for name, part in _by(rows, "tenant").items()},
    }


def failed(row: Row) -> bool:
    return not row.good and not row.shed


def _named(row: Row) -> str:
    return row.code or str(row.status)


def over_time(rows: Sequence[Row], duration_s: float) -> dict[str, Any]:
    """Bins by the moment that requests were due. in_flight: at the end of each bin."""
    width = max(1.0, duration_s / BINS)
    edges = np.arange(0.0, max([duration_s, *(row.at for row in rows)]) + width, width)
    places = np.digitize([row.at for row in rows], edges) - 1
    binned: list[list[Row]] = [[] for _ in edges[:-1]]
    for row, place in zip(rows, places, strict=True):
        binned[place].append(row)
    sent, done = (np.sort([getattr(row, name) for row in rows]) for name in ("sent", "done"))
    flows = sorted({row.flow for row in rows})
    codes = sorted({_named(row) for row in rows})
    return {
        "bin_s": round(width, 2),
        "arrivals": [len(part) for part in binned],
        "in_flight": [int(np.searchsorted(sent, t) - np.searchsorted(done, t)) for t in edges[1:]],
        "flows": {flow: _curve([[row for row in part if row.flow == flow] for part in binned]) for flow in flows},
        "codes": {code: [sum(_named(row) == code for row in part) for part in binned] for code in codes},
    }


def judged(found: dict[str, Any], gates: Gates) -> list[dict[str, Any]]:
    """Each gate with its limit, what was got, and whether it held. A gate without a sample holds."""
    count = max(1, found["requests"])
    checks = [
        ("failed", found["failed"] / count, gates.failed),
        ("shed", found["shed"] / count, gates.shed),
        ("late_p99_s", found["late_s"]["p99"], gates.late_p99_s),
        ("shed_p95_s", found["shed_p95_s"], gates.shed_p95_s),
        ("shed_without_retry_after", found["shed_without_retry_after"], 0),
    ]
    for flow, limits in gates.flows.items():
        of = found["flows"].get(flow, {})
        checks += [(f"{flow} {name}", of.get(name), limit) for name, limit in limits if limit is not None]
    return [
        {"gate": name, "limit": limit, "got": got, "held": got is None or got <= limit} for name, got, limit in checks
    ]


def _group(rows: Sequence[Row]) -> dict[str, Any]:
    seconds = [row.seconds for row in rows if row.good]
    jobs = [row.job_s for row in rows if row.job_s is not None]
    return {
        "requests": len(rows),
        "good": len(seconds),
        "shed": sum(row.shed for row in rows),
        "failed": sum(failed(row) for row in rows),
        **{f"p{share}_s": _s(percentile(seconds, share)) for share in SHARES},
        **({"jobs": len(jobs), "job_p95_s": _s(percentile(jobs, 95))} if jobs else {}),
    }


def _curve(binned: Sequence[Sequence[Row]]) -> dict[str, list[float | None]]:
    return {
        f"p{share}_s": [_s(percentile([row.seconds for row in part if row.good], share)) for part in binned]
        for share in SHARES
    }


def _by(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(getattr(row, name), []).append(row)
    return dict(sorted(found.items()))


def _s(seconds: float) -> float | None:
    return None if np.isnan(seconds) else round(seconds, 3)
