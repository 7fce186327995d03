"""Seeded numbers in place of real inputs: they decide speed and rounding, never whether pictures are good enough."""

import re

import numpy as np

from modiste.spec import EngineSpec, TensorSpec

FREE_SIZE = 128
"""What free sizes are set to whose usual value the spec does not say, pixels."""


def free_size(spec: EngineSpec, size: str, batch: int = 1) -> int:
    return batch if size == "N" else spec.sizes.get(size, FREE_SIZE)


def random_feeds(spec: EngineSpec, seed: int = 0, batch: int = 1) -> dict[str, np.ndarray]:
    """Uniform noise within each input's declared range, e.g. "[0, 1]"; standard normal where it has no bounds, and
    zeros and ones where whole numbers have none."""
    generator = np.random.default_rng(seed)

    def one(tensor: TensorSpec) -> np.ndarray:
        shape = [free_size(spec, s, batch) if isinstance(s, str) else s for s in tensor.shape]
        bounds = re.search(r"\[(-?[\d.]+), (-?[\d.]+)\]", tensor.range)
        low, high = (float(bounds[1]), float(bounds[2])) if bounds else (0.0, 1.0)
        if tensor.dtype != "float32":
            return generator.integers(int(low), int(high) + 1, shape).astype(tensor.dtype)
        drawn = generator.uniform(low, high, shape) if bounds else generator.standard_normal(shape)
        return drawn.astype(np.float32)

    return {tensor.name: one(tensor) for tensor in spec.inputs}
