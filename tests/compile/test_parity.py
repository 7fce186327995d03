"""The parity gate on real pictures: whatever an engine may be served in stays within its tolerance."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.engine import Engine, Tensors
from compile.parity import precision_error
from deployments import engine_specs, model_class, open_model
from deployments.roles import FaceSeed, ParsingInput, RestorationInput
from modiste.geometry import Box, crop
from modiste.image import Landmarks, decode

LOWERED = {name: spec for name, spec in engine_specs().items() if spec.precision != "float32"}


def portrait(samples: Path) -> Any:
    return decode((samples / "portraits" / "astronaut.jpg").read_bytes())


def head(samples: Path) -> Any:
    return crop(portrait(samples), Box(120, 20, 340, 300))[0]


def person_with_pose(samples: Path) -> ParsingInput:
    person = decode((samples / "persons" / "ana.jpg").read_bytes())
    return ParsingInput(image=person, keypoints=open_model("blazepose")([person])[0][0].keypoints)


NOWHERE = Landmarks(np.zeros((468, 3), np.float32))
"""For a model that does not ask."""

INPUTS: Mapping[str, Callable[[Path], Any]] = {
    "u2net": portrait,
    "bisenet_v2": head,
    "selfie_multiclass": person_with_pose,
    "mobile_stylegan": lambda samples: FaceSeed(seed=1, truncation=0.6),
    "real_esrgan": lambda samples: RestorationInput(image=head(samples)[64:128, 64:128], landmarks=NOWHERE, scale=4),
}


class Recording:
    """An engine that remembers what it was fed."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.spec, self.fed = engine, engine.spec, []

    def __call__(self, feeds: Tensors) -> Tensors:
        self.fed.append({name: tensor.copy() for name, tensor in feeds.items()})
        return self.engine(feeds)

    def close(self) -> None:
        self.engine.close()


@pytest.mark.weights
@pytest.mark.parametrize("name", LOWERED)
def test_a_lower_precision_stays_within_its_tolerance(name: str, samples: Path) -> None:
    model_id, _, engine = name.partition(".")
    opened = open_model(model_id)
    recording = Recording(opened.engines[engine or "main"])
    model_class(model_id)({**opened.engines, engine or "main": recording})([INPUTS[model_id](samples)])
    spec = LOWERED[name]
    error = max(precision_error(spec, feeds) for feeds in recording.fed)
    assert error <= spec.tolerance, f"{name}: {error:.4f}"
