"""Prometheus and its promtool, as `make tools` gets them."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / ".tools" / "prometheus" / "usr" / "bin"


def _tool(name: str) -> Path:
    if not (TOOLS / name).exists():
        pytest.skip("Prometheus is not here: run `make tools` on a Debian machine")
    return TOOLS / name


@pytest.fixture(scope="session")
def promtool() -> Path:
    return _tool("promtool")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    return _tool("prometheus")
