"""The documents of each environment as they are rendered now, fresh for each test, which may break them."""

import copy
import warnings
from functools import cache
from typing import Any

import pytest

from deployments.environment import prepare

prepare()  # before Ray is imported, as `python -m k8s` does
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Ray's own schemas
    import ray.serve  # noqa: F401

from k8s.environments import ENVIRONMENTS  # noqa: E402
from k8s.invariants import Rendered  # noqa: E402
from k8s.render import manifests  # noqa: E402


@cache
def _documents(name: str) -> list[dict[str, Any]]:
    return manifests(ENVIRONMENTS[name]).documents


@pytest.fixture(params=ENVIRONMENTS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    """Each environment in turn."""
    return of(request.param)


@pytest.fixture
def production() -> Rendered:
    return of("production")


def of(name: str) -> Rendered:
    return Rendered(ENVIRONMENTS[name], copy.deepcopy(_documents(name)))
