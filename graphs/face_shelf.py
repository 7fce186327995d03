"""Virtual faces of the cast, kept on disk once they were made ready: the same few play in every picture and clip.

Everything here can be made again from the token; a file that is absent or damaged only costs the second it takes.
"""

import hashlib
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from deployments import model_class, model_for
from deployments.roles import FaceSeed, FaceView
from graphs.casting import TRUNCATION, load_cast
from graphs.face_token import encode
from modiste.image import LabelMap, Landmarks, RGBImage
from modiste.settings import settings
from weights.manifest import entry, files_digest

LARGEST = 512
"""Side, in pixels, up to which faces are kept: a megabyte each."""


def take(seed: FaceSeed, side: int) -> FaceView | None:
    """A face that was kept at this size; None where there is none."""
    path = _path(seed, side)
    if not path.exists():
        return None
    try:
        with np.load(path) as kept:
            image, points, labels = kept["image"], kept["landmarks"], kept["labels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
        return None
    return FaceView(image=RGBImage(image), landmarks=Landmarks(points), labels=LabelMap(labels))


def keep(seed: FaceSeed, side: int, view: FaceView) -> None:
    """Keep a face if it is one of the cast, and not too large."""
    if side > LARGEST or seed.truncation != TRUNCATION or seed.seed not in load_cast().seeds:
        return
    path = _path(seed, side)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.savez(file, image=view.image, landmarks=view.landmarks, labels=view.labels)
    Path(file.name).replace(path)


def _path(seed: FaceSeed, side: int) -> Path:
    return settings().cache / "faces" / f"{encode(seed)}-{side}-{_seen_by()}.npz"


@cache
def _seen_by() -> str:
    """Names the models that looked at the face; who generated it, its token says."""
    models = [model_for(role) for role in ("FaceLandmarks", "FaceParsing")]
    ids = sorted({engine.weights for model in models for engine in model_class(model).spec.engines.values()})
    names = "\n".join([*models, *(files_digest(entry(identifier)) for identifier in ids)])
    return hashlib.sha256(names.encode()).hexdigest()[:8]
