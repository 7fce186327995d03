"""Shared by all suites: markers that skip with a reason, the samples, and the development data where it exists."""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("MODISTE_SHARED", ROOT.parent / "shared"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        pytest.skip("the development data is not beside this checkout")
    if item.get_closest_marker("torch") and find_spec("torch") is None:
        pytest.skip("torch is not installed here; the torch environment runs this")
    if item.get_closest_marker("gpu") and (why := no_gpu()):
        pytest.skip(why)


@cache
def no_gpu() -> str | None:
    """Why no GPU can be used here."""
    from compile.device import current_device

    try:
        current_device()
    except (ImportError, RuntimeError) as error:
        return f"no GPU answers: {error}"
    return None


@pytest.fixture(scope="session")
def samples() -> Path:
    return ROOT / "samples"


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED
