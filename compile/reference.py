"""ONNX Runtime in float32 on the CPU: what every engine is judged against, wherever it was built. Never serves."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from compile.backend import Source
from compile.engine import Case, Tensors, check_feeds
from compile.feeds import random_feeds
from modiste.spec import EngineSpec


class ReferenceEngine:
    """Engine over ONNX Runtime; keeps what it was asked and what it gave, as cases to judge engines by."""

    def __init__(self, spec: EngineSpec, source: Source) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = source.threads
        options.log_severity_level = 3
        self.spec = spec
        self.cases: list[Case] = []
        self._session = onnxruntime.InferenceSession(source.graph(), options, providers=["CPUExecutionProvider"])

    def __call__(self, feeds: Tensors) -> Tensors:
        expected = self._run(feeds)
        copies: dict[str, NDArray[np.generic]] = {name: tensor.copy() for name, tensor in feeds.items()}
        self.cases.append(Case(name=f"golden {len(self.cases) + 1}", feeds=copies, expected=expected))
        return expected

    def noise(self, batch: int = 1, seed: int = 0) -> Case:
        """Seeded numbers within each input's declared range."""
        feeds = random_feeds(self.spec, seed=seed, batch=batch)
        return Case(name="noise", feeds=feeds, expected=self._run(feeds))

    def _run(self, feeds: Tensors) -> Tensors:
        check_feeds(self.spec, feeds)
        names = [tensor.name for tensor in self.spec.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))

    def close(self) -> None:
        del self._session
