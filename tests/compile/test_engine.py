import numpy as np
import pytest

from compile.engine import check_feeds
from modiste.spec import EngineSpec, TensorSpec

SPEC = EngineSpec(
    weights="face_mesh",
    inputs=(TensorSpec(name="x", shape=("N", 4, "W"), range="[0, 1]", meaning="anything"),),
    outputs=(TensorSpec(name="y", shape=("N", 1), range="any", meaning="anything"),),
)


def test_feeds_that_fit_give_their_batch() -> None:
    assert check_feeds(SPEC, {"x": np.zeros((3, 4, 9), np.float32)}) == 3


@pytest.mark.parametrize(
    ("feeds", "named"),
    [
        ({"z": np.zeros((1, 4, 9), np.float32)}, "expected inputs"),
        ({"x": np.zeros((1, 5, 9), np.float32)}, r"got float32 \(1, 5, 9\)"),
        ({"x": np.zeros((1, 4), np.float32)}, r"got float32 \(1, 4\)"),
        ({"x": np.zeros((1, 4, 9), np.float64)}, "got float64"),
    ],
)
def test_feeds_that_do_not_fit_are_named(feeds: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        check_feeds(SPEC, feeds)
