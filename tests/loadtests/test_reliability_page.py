"""docs/reliability.md says what is on record."""

from loadtests.reliability import PAGE, rendered


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == rendered(), "run `python -m loadtests.reliability`"
