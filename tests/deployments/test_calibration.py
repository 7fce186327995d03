"""What int8 is fitted to is not what it is judged by."""

from typing import Any

import numpy as np
import pytest

from compile.build import INT8_TARGETS
from deployments.calibration import CALIBRATION, calibration_inputs
from deployments.engines import open_engine_of
from deployments.golden import golden_inputs
from modiste.errors import InvalidOption


def picture(asked: Any) -> np.ndarray:
    return asked if isinstance(asked, np.ndarray) else asked.image


@pytest.mark.parametrize("role", CALIBRATION)
def test_no_picture_is_a_golden_one(role: str) -> None:
    golden = [picture(asked) for asked in golden_inputs(role)]
    fitted = [picture(asked) for asked in calibration_inputs(role)]
    assert len(fitted) >= 3
    for one in fitted:
        assert one.dtype == np.uint8
        assert min(one.shape[:2]) > 32
        assert not any(one.shape == other.shape and (one == other).all() for other in golden)


def test_other_roles_are_told() -> None:
    with pytest.raises(InvalidOption, match="FaceGeneration"):
        calibration_inputs("FaceGeneration")


def test_int8_is_for_targets_that_have_it() -> None:
    assert "cuda" not in INT8_TARGETS
    with pytest.raises(InvalidOption, match="openvino, tensorrt"):
        open_engine_of("face_mesh", "main", target="cuda", precision="int8")
