"""PromQL from metrics of the tables: a name in no table, or a label that a metric has not, cannot be written."""

from modiste.metrics import Metric

WINDOW = "$__rate_interval"
"""What Grafana puts in; alerts name their own."""


def select(metric: Metric, suffix: str = "", /, **where: str) -> str:
    """A selector. where: label="value", or label="~expression"; "!" before either says not.

    raises: ValueError for a label that the metric has not
    """
    _require(metric, tuple(where))
    return f"{metric.name}{suffix}" + ("{" + ", ".join(map(_matcher, where.items())) + "}" if where else "")


def _matcher(of: tuple[str, str]) -> str:
    label, value = of
    sign = "!" if value.startswith("!") else ""
    value = value.removeprefix("!")
    if value.startswith("~"):
        return f'{label}{sign or "="}~"{value[1:]}"'
    return f'{label}{sign}="{value}"'


def total(metric: Metric, *by: str, window: str = WINDOW, **where: str) -> str:
    """Events a second of a counter, or observations a second of a histogram, summed by labels."""
    _require(metric, by)
    suffix = "_count" if metric.kind == "histogram" else ""
    return _sum(by, f"rate({select(metric, suffix, **where)}[{window}])")


def quantile(q: float, metric: Metric, *by: str, window: str = WINDOW, **where: str) -> str:
    """Of a histogram; by labels."""
    _require(metric, by)
    inside = _sum((*by, "le"), f"rate({select(metric, '_bucket', **where)}[{window}])")
    return f"histogram_quantile({q:g}, {inside})"


def mean(metric: Metric, *by: str, window: str = WINDOW, **where: str) -> str:
    """Of a histogram; as coarse as its buckets."""
    spent = _sum(by, f"rate({select(metric, '_sum', **where)}[{window}])")
    return f"{spent} / {total(metric, *by, window=window, **where)}"


def now(metric: Metric, *by: str, how: str = "sum", **where: str) -> str:
    """A gauge, over all processes that have it."""
    _require(metric, by)
    return f"{how} by ({', '.join(by)}) ({select(metric, **where)})" if by else f"{how}({select(metric, **where)})"


def share(part: str, whole: str) -> str:
    """0 where the part has no series; absent where the whole has none."""
    return f"({part} or 0 * {whole}) / {whole}"


def appeared(metric: Metric, *by: str, window: str, **where: str) -> str:
    """How much a counter grew, where it may have begun within the window: its first value counts."""
    _require(metric, by)
    series = select(metric, **where)
    return _sum(by, f"({series} unless {series} offset {window}) or increase({series}[{window}])")


def _sum(by: tuple[str, ...], inside: str) -> str:
    return f"sum by ({', '.join(by)}) ({inside})" if by else f"sum({inside})"


def _require(metric: Metric, labels: tuple[str, ...]) -> None:
    if unknown := set(labels) - set(metric.labels):
        raise ValueError(f"expected labels of {metric.name}: {', '.join(metric.labels)}; got {sorted(unknown)}")
