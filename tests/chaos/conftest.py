"""Figures on record, and which of these tests run when.

`make test` runs those on the small model. `make chaos` sets CHAOS_RESULTS to the folder for figures, and runs all.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.cases import SAMPLES

Record = Callable[..., None]
FAILED = pytest.StashKey[bool]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") and "CHAOS_RESULTS" not in os.environ:
        pytest.skip("`make chaos` runs this; it takes minutes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def catalogued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a catalogue, to start servers on copies of."""
    state = tmp_path_factory.mktemp("catalogued") / "state"
    command = [sys.executable, "-m", "api.catalogue", "import", str(SAMPLES / "catalogue" / "feed.csv")]
    subprocess.run(command, env=os.environ | {"MODISTE_STATE": str(state)}, check=True, capture_output=True)
    return state


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Generator[Record, None, None]:
    """Writes what a test measured, and whether what is required was met; where no folder is set, nothing."""
    measured: dict[str, dict[str, Any]] = {}

    def keep(name: str, **figures: Any) -> None:
        measured[name] = figures

    yield keep
    if folder := os.environ.get("CHAOS_RESULTS"):
        about = {
            "met": not request.node.stash.get(FAILED, True),
            "date": datetime.now(UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30),
        }
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, figures in measured.items():
            content = json.dumps({"name": name} | about | figures, indent=1)
            (Path(folder) / f"{name}.json").write_text(content + "\n")
