"""Dashboards are what the code says, and every expression is one that Prometheus parses."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from k8s.monitoring.__main__ import generated, stale
from k8s.monitoring.boards import BOARDS
from k8s.monitoring.charts import Board
from k8s.monitoring.promql import quantile, select
from k8s.monitoring.ray import RAY
from k8s.monitoring.scrape import UNREAD
from modiste.metrics import FLOW_SECONDS, METRICS, REQUESTS


def test_what_is_committed_is_what_would_be_written() -> None:
    assert stale() == []


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_is_whole(board: Board) -> None:
    made = json.loads(generated()[f"dashboards/{board.uid}.json"])
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels] == [chart.title for chart in board.charts()]
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    variables = {variable["name"] for variable in made["templating"]["list"]}
    assert variables == {"source", *(choice.label for choice in board.choices)}
    for panel in panels:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${source}"
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for choice in board.choices:
        assert f"${choice.label}" in json.dumps(panels), "a choice that changes nothing"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_grafana_has_a_place_for_everything_in_a_dashboard(board: Board) -> None:
    """Its own types read the file, and write the same."""
    register_default_plugins()
    made = json.loads(generated()[f"dashboards/{board.uid}.json"])
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(made))) == made


def test_prometheus_parses_every_expression(promtool: Path, tmp_path: Path) -> None:
    """As recording rules, since that is what promtool reads."""
    exprs = {line.expr for board in BOARDS for chart in board.charts() for line in chart.lines}
    rules = [{"record": f"parsed:{i}", "expr": concrete(expr)} for i, expr in enumerate(sorted(exprs))]
    written = tmp_path / "rules.yaml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "parsed", "rules": rules}]}))
    subprocess.run([promtool, "check", "rules", written], check=True, capture_output=True)


def concrete(expr: str) -> str:
    """As Grafana sends it, with everything chosen."""
    for variable in ("$flow", "$model", "$tenant"):
        expr = expr.replace(variable, ".*")
    return expr.replace("$__rate_interval", "1m")


def test_no_expression_names_what_is_in_no_table() -> None:
    parts = ("_bucket", "_count", "_sum")
    known = {f"{name}{part}" for name in (*METRICS, *RAY) for part in ("", *parts)}
    for name, text in generated().items():
        if name not in ("prometheus.yaml", "pod-monitor.yaml"):
            assert set(re.findall(r"\b(?:modiste|ray)_\w+", text)) <= known, name


def test_nothing_is_dropped_that_is_read() -> None:
    assert not [name for name in (*METRICS, *RAY) if re.fullmatch(UNREAD, name)]


def test_a_label_that_a_metric_has_not_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="expected labels of modiste_flow_seconds: flow, code"):
        select(FLOW_SECONDS, tenant="x")
    with pytest.raises(ValueError, match="model"):
        quantile(0.5, REQUESTS, "model")
    assert select(REQUESTS, status="!~5..", flow="a") == 'modiste_requests_total{status!~"5..", flow="a"}'
