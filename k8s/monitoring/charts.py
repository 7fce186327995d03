"""What dashboards are made of, and how Grafana is told: its own typed builders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef, VariableRefresh

from k8s.monitoring.promql import select
from modiste.metrics import Metric

Shown = Literal["s", "reqps", "percentunit", "percent", "short", "bytes", "decmbytes", "ops"]
"""Units as Grafana names them."""

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
ACROSS, HIGH = 24, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """lines over time; number: only the last value is shown; stacked: the lines add up; wide: of 24 columns"""

    title: str
    told: str
    unit: Shown
    lines: Sequence[Line]
    number: bool = False
    stacked: bool = False
    wide: int = 8
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a dashboard can be narrowed to: the values of a metric's label, all of them at first."""

    label: str
    metric: Metric
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard. rows: title -> charts"""

    uid: str
    title: str
    told: str
    rows: Mapping[str, Sequence[Chart]]
    choices: Sequence[Choice] = ()

    def charts(self) -> list[Chart]:
        return [chart for charts in self.rows.values() for chart in charts]


def rendered(board: Board) -> str:
    """The dashboard as Grafana imports it."""
    built = (
        grafana.Dashboard(board.title)
        .uid(board.uid)
        .description(board.told)
        .tags(["modiste"])
        .time("now-1h", "now")
        .refresh("30s")
        .readonly()
        .link(grafana.DashboardLink("Modiste").type(DashboardLinkType.DASHBOARDS).tags(["modiste"]).keep_time(True))
        .with_variable(grafana.DatasourceVariable("source").label("Source").type("prometheus"))
    )
    for choice in board.choices:
        built = built.with_variable(
            grafana.QueryVariable(choice.label)
            .label(choice.label.capitalize())
            .datasource(SOURCE)
            .query(f"label_values({select(choice.metric, choice.suffix)}, {choice.label})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    for title, charts in board.rows.items():
        built = built.with_row(grafana.Row(title))
        for chart in charts:
            built = built.with_panel(_number(chart) if chart.number else _over_time(chart))
    made: Any = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
    for number, panel in enumerate(made["panels"], start=1):
        panel["id"] = number
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def _over_time(chart: Chart) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(chart.title)
        .description(chart.told)
        .datasource(SOURCE)
        .unit(chart.unit)
        .min(0)
        .span(chart.wide)
        .height(HIGH)
        .fill_opacity(60 if chart.stacked else 8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if chart.stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if chart.most is not None:
        panel = panel.max(chart.most)
    for query in _queries(chart):
        panel = panel.with_target(query)
    return panel


def _number(chart: Chart) -> stat.Panel:
    panel = (
        stat.Panel()
        .title(chart.title)
        .description(chart.told)
        .datasource(SOURCE)
        .unit(chart.unit)
        .span(chart.wide)
        .height(HIGH // 2)
    )
    for query in _queries(chart):
        panel = panel.with_target(query)
    return panel


def _queries(chart: Chart) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().datasource(SOURCE).expr(line.expr).legend_format(line.legend).ref_id(chr(ord("A") + i))
        for i, line in enumerate(chart.lines)
    ]
