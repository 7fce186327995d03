"""`python -m k8s.monitoring`: writes what is generated; `--check` says what is stale instead."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
import yaml

from k8s.monitoring.alerts import groups
from k8s.monitoring.boards import BOARDS
from k8s.monitoring.charts import rendered
from k8s.monitoring.scrape import JOB, RULES, pod_monitor, prometheus

FOLDER = Path(__file__).parent
LABELS = {"app.kubernetes.io/part-of": JOB}


def generated() -> dict[str, str]:
    """Every file by its path under this folder."""
    boards = {f"dashboards/{board.uid}.json": rendered(board) for board in BOARDS}
    rule_object = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": JOB, "labels": LABELS},
        "spec": {"groups": groups()},
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["pod-monitor.yaml", "rules-object.yaml"],
        "generatorOptions": {"disableNameSuffixHash": True, "labels": {"grafana_dashboard": "1", **LABELS}},
        "configMapGenerator": [{"name": "modiste-dashboards", "files": sorted(boards)}],
    }
    return {
        **boards,
        "prometheus.yaml": _yaml(prometheus()),
        RULES: _yaml({"groups": groups()}),
        "pod-monitor.yaml": _yaml(pod_monitor()),
        "rules-object.yaml": _yaml(rule_object),
        "kustomization.yaml": _yaml(kustomization),
    }


def stale() -> list[str]:
    """Files that are not what would be written."""
    there = {str(path.relative_to(FOLDER)) for kind in ("*.yaml", "*/*.json") for path in FOLDER.glob(kind)}
    wanted = generated()
    changed = {name for name, text in wanted.items() if name in there and (FOLDER / name).read_text() != text}
    return sorted(changed | (there ^ wanted.keys()))


def _yaml(content: Mapping[str, Any]) -> str:
    head = "# Written by `python -m k8s.monitoring`.\n"
    text: str = yaml.safe_dump(content, sort_keys=False, width=1000, allow_unicode=True)
    return head + text


def main(check: bool = typer.Option(False, help="exit 1 and name the files that are stale")) -> None:
    """Dashboards, rules and what is scraped, from the tables."""
    if check:
        if found := stale():
            sys.exit(f"stale: {', '.join(found)}; run `python -m k8s.monitoring`")
        return
    for name, text in generated().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    typer.run(main)
