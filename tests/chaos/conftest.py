"""Figures on record, and which of these tests run when.

`make test` runs those on the small model. `make chaos` sets CHAOS_RESULTS to the folder for figures, and runs all.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

Record = Callable[..., None]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") and "CHAOS_RESULTS" not in os.environ:
        pytest.skip("`make chaos` runs this; it takes minutes")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Writes what a test measured; where no folder is set, nothing."""

    def write(name: str, **measured: Any) -> None:
        if folder := os.environ.get("CHAOS_RESULTS"):
            about = {
                "name": name,
                "date": datetime.now(UTC).date().isoformat(),
                "cores": os.cpu_count(),
                "memory_gb": round(psutil.virtual_memory().total / 2**30),
            }
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.json").write_text(json.dumps(about | measured, indent=1) + "\n")

    return write
