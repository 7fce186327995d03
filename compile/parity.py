"""The parity gate: how far an engine in the lowest precision its spec allows is from the same engine in float32."""

import numpy as np

from compile.engine import Tensors
from compile.openvino import open_engine
from modiste.spec import EngineSpec


def relative_error(outputs: Tensors, reference: Tensors) -> float:
    """Largest over the outputs: mean absolute error in units of the reference's standard deviation.

    Outputs of a single value (scores) are taken relative to 1.
    """
    errors = []
    for name, expected in reference.items():
        spread = float(expected.std()) if expected.size > 1 else 1.0
        errors.append(float(np.abs(outputs[name] - expected).mean()) / max(spread, 1e-6))
    return max(errors)


def precision_error(spec: EngineSpec, feeds: Tensors) -> float:
    """The error of `spec.precision` on these inputs, on any CPU, with matrix units or without.

    feeds: what the model's pre-processing makes of real pictures; noise decides nothing
    """
    low, reference = open_engine(spec, precision=spec.precision), open_engine(spec, precision="float32")
    try:
        return relative_error(low(feeds), reference(feeds))
    finally:
        low.close()
        reference.close()
