"""Pictures or JSON."""

import pytest

from api.accept import prefers_picture


@pytest.mark.parametrize(
    ("accept", "picture"),
    [
        ("*/*", True),
        ("image/*", True),
        ("image/png", True),
        ("application/json", False),
        ("application/json, */*;q=0.5", False),
        ("application/json, image/png", True),
        ("application/json;q=0.2, image/png;q=0.9", True),
        ("text/html", False),
        ("image/png;q=nonsense", False),
        ("image/avif,image/webp,*/*;q=0.8", True),
    ],
)
def test_preference(accept: str, picture: bool) -> None:
    assert prefers_picture(accept) is picture
