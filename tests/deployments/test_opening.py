"""What opens a model decides whether it may be opened, whoever asks."""

from collections.abc import Generator

import pytest

from deployments import open_model
from modiste.errors import LicenceRefused
from modiste.settings import settings


@pytest.fixture
def commercial_only(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    monkeypatch.setenv("MODISTE_COMMERCIAL_ONLY", "1")
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_weights_that_are_not_free_are_refused_by_name(commercial_only: None) -> None:
    with pytest.raises(LicenceRefused, match="bisenet_v2"):
        open_model("bisenet_v2")


def test_models_without_weights_are_free(commercial_only: None) -> None:
    open_model("line_art").close()
