"""What every model is: pre-processing, engines, post-processing. No Ray."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

import numpy as np

from compile.engine import Engine, Tensors
from modiste.spec import ModelSpec

In = TypeVar("In")
Out = TypeVar("Out")


class Model(ABC, Generic[In, Out]):
    """A role's work, done on a batch.

    Models with one engine give `preprocess` and `postprocess`. Models without engines give `postprocess` alone.
    Models that loop over several engines override `infer` or `__call__`. Calls do not overlap.
    """

    spec: ClassVar[ModelSpec]

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.engines = engines

    def preprocess(self, x: In) -> Tensors:
        """One input as engine tensors, each with a batch axis of 1."""
        return {}

    def infer(self, feeds: Tensors) -> Tensors:
        """Run the "main" engine."""
        return self.engines["main"](feeds) if self.engines else {}

    @abstractmethod
    def postprocess(self, outputs: Tensors, x: In) -> Out:
        """Engine outputs of one input (batch axis of 1) as the role's result."""

    def __call__(self, batch: Sequence[In]) -> list[Out]:
        """One result per input, in order; equal to calling with each input alone."""
        feeds = [self.preprocess(x) for x in batch]
        same_shapes = len({tuple((name, fed.shape) for name, fed in sorted(f.items())) for f in feeds}) == 1
        if len(feeds) > 1 and same_shapes and feeds[0]:
            together = self.infer({name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]})
            singles = [{name: out[i : i + 1] for name, out in together.items()} for i in range(len(batch))]
        else:
            singles = [dict(self.infer(f)) for f in feeds]
        return [self.postprocess(outputs, x) for outputs, x in zip(singles, batch, strict=True)]

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()
