"""The parity gate: how far an engine may be from the float32 reference, by what its outputs are.

An engine that leaves any limit on any case is refused: it is neither stored nor opened.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compile.engine import Case, Engine
from modiste.spec import EngineSpec, Kind, TensorSpec

Array = NDArray[np.float32]


class EngineRefused(RuntimeError):
    """An engine's outputs are too far from the reference's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One output on one case; `error` is 0 for equal outputs and in the metric's unit."""

    case: str
    output: str
    metric: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.error <= self.limit  # and not where it is no number


def relative_error(output: Array, expected: Array) -> float:
    """Mean absolute error in units of the expected values' standard deviation; relative to 1 where each picture has a
    single value, since of those a batch may hold equal ones."""
    spread = float(expected.std()) if expected[0].size > 1 else 1.0
    return float(np.abs(output - expected).mean()) / max(spread, 1e-6)


def noise_of_picture(output: Array, expected: Array) -> float:
    """Root mean square error over the expected picture's range: 10^(-PSNR / 20)."""
    extent = float(np.ptp(expected))
    return float(np.sqrt(np.square(output - expected).mean())) / max(extent, 1e-6)


LEAST_LABELLED = 1e-3
"""Share of the pixels from which on a label counts."""


def label_error(output: Array, expected: Array) -> float:
    """1 - mean intersection over union of the labels with the largest logit, those left out that cover next to nothing:
    a handful of pixels at a seam would decide. Classes lie on axis 1, or on the last where axis 1 has more places."""
    axis = 1 if expected.shape[1] <= expected.shape[-1] else -1
    got, wanted = output.argmax(axis), expected.argmax(axis)
    labels, counts = np.unique(wanted, return_counts=True)
    unions = {
        label: np.count_nonzero((got == label) | (wanted == label))
        for label in labels[counts >= LEAST_LABELLED * wanted.size]
    }
    shares = [np.count_nonzero((got == label) & (wanted == label)) / union for label, union in unions.items()]
    return 1.0 - float(np.mean(shares))


def embedding_error(output: Array, expected: Array) -> float:
    """1 - the least cosine, vectors along the last axis."""
    lengths = np.linalg.norm(output, axis=-1) * np.linalg.norm(expected, axis=-1)
    cosine = (output * expected).sum(-1) / np.maximum(lengths, 1e-12)
    return 1.0 - float(cosine.min())


def point_error(output: Array, expected: Array) -> float:
    """Largest distance of any coordinate, in the output's own unit."""
    return float(np.abs(output - expected).max())


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    error: Callable[[Array, Array], float]
    limit: float | None
    """None: the spec's tolerance."""


METRICS: Mapping[Kind, Metric] = {
    "values": Metric("mean error / std", relative_error, None),
    "picture": Metric("RMSE / range", noise_of_picture, 0.01),  # 40 dB
    "labels": Metric("1 - mIoU", label_error, 0.02),
    "embedding": Metric("1 - cosine", embedding_error, 0.002),
    "points": Metric("largest, px", point_error, 1.0),
}


NOISE = Metric("mean error / std", relative_error, 0.1)
"""Of any output on noise, counted as values: nothing is seen there and rounding goes further than on pictures; what is
computed wrongly is off by one deviation."""


def checks(spec: EngineSpec, engine: Engine, cases: Sequence[Case]) -> tuple[Check, ...]:
    """Every output on every case."""
    found = []
    for case in cases:
        outputs = engine(case.feeds)
        for tensor in spec.outputs:
            metric = NOISE if case.name == "noise" else METRICS[tensor.kind]
            _require_alike(tensor, outputs[tensor.name], case.expected[tensor.name])
            found.append(
                Check(
                    case=case.name,
                    output=tensor.name,
                    metric=metric.name,
                    error=metric.error(outputs[tensor.name], case.expected[tensor.name]),
                    limit=spec.tolerance if metric.limit is None else metric.limit,
                )
            )
    return tuple(found)


def require(found: Sequence[Check], name: str) -> None:
    """raises: EngineRefused that lists what failed"""
    failed = [check for check in found if not check.passed]
    if failed or not found:
        told = "; ".join(f"{c.output} on {c.case}: {c.metric} {c.error:.3g}, at most {c.limit:g}" for c in failed)
        raise EngineRefused(f"{name}: {told or 'expected cases to judge it by, got none'}")


def _require_alike(tensor: TensorSpec, output: Array, expected: Array) -> None:
    if output.shape != expected.shape or output.dtype != expected.dtype:
        raise EngineRefused(
            f"{tensor.name}: expected {expected.dtype} {expected.shape}, got {output.dtype} {output.shape}"
        )
