"""Rules as real Prometheus reads them; every alert fires when it should, keeps quiet when it should, is explained."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_cases import CASES, Case

from graphs import GRAPHS
from k8s.monitoring.__main__ import FOLDER
from k8s.monitoring.alerts import ALERTS
from k8s.monitoring.objectives import P95_SECONDS
from modiste.metrics import FLOW_SECONDS

RUNBOOK = Path(__file__).parents[2] / "docs" / "alerts.md"
NAMES = sorted({alert.name for alert in ALERTS})


def test_prometheus_takes_the_rules(promtool: Path) -> None:
    subprocess.run([promtool, "check", "rules", FOLDER / "rules.yaml"], check=True, capture_output=True)


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_fires_when_it_should_and_not_otherwise(name: str, promtool: Path, tmp_path: Path) -> None:
    case = CASES[name]
    tests = {
        "rule_files": [str(FOLDER / "rules.yaml")],
        "evaluation_interval": "30s",
        "tests": [_asked(name, case, fires=True), _asked(name, case, fires=False)],
    }
    written = tmp_path / "tests.yaml"
    written.write_text(yaml.safe_dump(tests))
    ran = subprocess.run([promtool, "test", "rules", written], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _asked(name: str, case: Case, *, fires: bool) -> dict[str, Any]:
    series = case.fires if fires else case.quiet
    return {
        "name": f"{name} {'fires' if fires else 'keeps quiet'}",
        "interval": "30s",
        "input_series": [{"series": of, "values": values} for of, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                "eval_time": case.at,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


def test_what_it_says_is_filled_in(promtool: Path, tmp_path: Path) -> None:
    """One alert whole: labels, value, runbook."""
    asked = _asked("JobsWait", CASES["JobsWait"], fires=True)
    del asked["promql_expr_test"]
    asked["alert_rule_test"] = [
        {
            "eval_time": "1h",
            "alertname": "JobsWait",
            "exp_alerts": [
                {
                    "exp_labels": {"severity": "ticket"},
                    "exp_annotations": {
                        "summary": "A job has waited 33m 20s for its turn",
                        "runbook": "docs/alerts.md#jobswait",
                    },
                }
            ],
        }
    ]
    written = tmp_path / "tests.yaml"
    written.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "rules.yaml")], "tests": [asked]}))
    ran = subprocess.run([promtool, "test", "rules", written], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_runbook_has_a_section_for_each_and_no_other() -> None:
    sections = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    found = {section.partition("\n")[0]: section for section in sections}
    assert set(found) == set(NAMES)
    for section in found.values():
        assert all(part in section for part in ("Means:", "Look at:", "Do:")), section[:60]


def test_every_flow_that_answers_at_once_has_an_objective_at_a_bound_of_its_histogram() -> None:
    assert set(P95_SECONDS) == set(GRAPHS) - {"anonymize_video"}
    assert set(P95_SECONDS.values()) <= set(FLOW_SECONDS.buckets)
