"""What every model is: pre-processing, engines, post-processing. No Ray."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from compile.engine import Engine, Tensors
from modiste.errors import ModisteError
from modiste.spec import ModelSpec

In = TypeVar("In")
Out = TypeVar("Out")
Given = TypeVar("Given")
Made = TypeVar("Made")

SIZES = 8
"""Of batches, at most: GPU engines keep a CUDA graph for as many shapes, and to record another takes long."""


class Model(ABC, Generic[In, Out]):
    """A role's work, done on a batch.

    Models with one engine give `preprocess` and `postprocess`. Models without engines give `postprocess` alone.
    Models that loop over several engines override `infer` or `outcomes`. Calls do not overlap.

    main: the engine that `infer` runs; "" where it runs none, so that inputs gain nothing from each other's company
    """

    spec: ClassVar[ModelSpec]
    main: ClassVar[str] = "main"

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.engines = engines

    @classmethod
    def max_batch(cls) -> int:
        """How many inputs of equal shapes `infer` takes at once."""
        return cls.spec.engines[cls.main].max_batch if cls.main in cls.spec.engines else 1

    def preprocess(self, x: In) -> Tensors:
        """One input as engine tensors, each with a batch axis of 1."""
        return {}

    def infer(self, feeds: Tensors) -> Tensors:
        """Run the main engine."""
        return self.engines[self.main](feeds) if self.main in self.engines else {}

    @abstractmethod
    def postprocess(self, outputs: Tensors, x: In) -> Out:
        """Engine outputs of one input (batch axis of 1) as the role's result."""

    def __call__(self, batch: Sequence[In]) -> list[Out]:
        """One result per input, in order; equal to calling with each input alone.

        raises: ModisteError, the first input's that is refused
        """
        results: list[Out] = []
        for outcome in self.outcomes(batch):
            if isinstance(outcome, ModisteError):
                raise outcome
            results.append(outcome)
        return results

    def outcomes(self, batch: Sequence[In]) -> Sequence[Out | ModisteError]:
        """One result or refusal per input, in order; one that is refused leaves the others alone."""
        fed = [attempt(self.preprocess, x) for x in batch]
        inferred = iter(self._inferred([feeds for feeds in fed if not isinstance(feeds, ModisteError)]))
        return [
            feeds if isinstance(feeds, ModisteError) else attempt(lambda x: self.postprocess(next(inferred), x), x)
            for feeds, x in zip(fed, batch, strict=True)
        ]

    def _inferred(self, fed: Sequence[Tensors]) -> list[Tensors]:
        """Outputs of each; those of equal shapes go together, in the batches that engines are made for. Sizes are
        never made equal by padding."""
        outputs: list[Tensors] = [{}] * len(fed)
        alike: dict[tuple[tuple[str, tuple[int, ...]], ...], list[int]] = {}
        for i, feeds in enumerate(fed):
            alike.setdefault(tuple((name, tensor.shape) for name, tensor in sorted(feeds.items())), []).append(i)
        for shapes, members in alike.items():
            start = 0
            while start < len(members):
                part = members[start:][: batch_of(len(members) - start, self.max_batch() if shapes else 1)]
                start += len(part)
                if len(part) == 1:
                    outputs[part[0]] = self.infer(fed[part[0]])
                    continue
                together = self.infer({name: np.concatenate([fed[i][name] for i in part]) for name, _ in shapes})
                for row, i in enumerate(part):
                    outputs[i] = {name: out[row : row + 1] for name, out in together.items()}
        return outputs

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()


def attempt(step: Callable[[Given], Made], x: Given) -> Made | ModisteError:
    """What the step makes of the input, or its refusal."""
    try:
        return step(x)
    except ModisteError as refusal:
        return refusal


def batch_of(waiting: int, most: int) -> int:
    """How many to infer next: all that wait where they may go at once, unless there would be too many sizes; then the
    largest power of two."""
    if waiting >= most:
        return most
    return waiting if most <= SIZES else 1 << (waiting.bit_length() - 1)


def array_bytes(x: Any) -> int:
    """Of all arrays in inputs of a model."""
    if isinstance(x, np.ndarray):
        return x.nbytes
    if is_dataclass(x):
        return sum(array_bytes(getattr(x, of.name)) for of in fields(x))
    return sum(map(array_bytes, x)) if isinstance(x, list | tuple) else 0
