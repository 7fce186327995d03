"""Virtual faces, kept on disk once they were made and looked at: the same few play in every picture and clip.

Everything here can be made again from the token; a file that is absent or damaged only costs the second it takes.
"""

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from deployments import model_class, model_for
from deployments.roles import FaceSeed, FaceView
from graphs.casting import Look
from graphs.face_token import encode
from modiste.image import Embedding, LabelMap, Landmarks, RGBImage
from modiste.metrics import CACHE, record
from modiste.settings import settings
from weights.manifest import entry, files_digest

MOST = 64
"""Faces that are kept, those used last; four megabytes each."""


@dataclass(frozen=True, slots=True)
class VirtualFace:
    """A virtual face ready to be put on: who it is, its picture, and its looks."""

    seed: FaceSeed
    view: FaceView
    look: Look


def take(seed: FaceSeed) -> VirtualFace | None:
    """A face that was kept; None where it was not."""
    path = _path(seed)
    try:
        with path.open("rb") as file, np.load(file) as kept:
            image, points, labels = kept["image"], kept["landmarks"], kept["labels"]
            look = Look(tone=kept["tone"], yaw=float(kept["yaw"]), embedding=Embedding(kept["embedding"]))
        path.touch()
    except FileNotFoundError:
        record(CACHE, cache="faces", result="miss")
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        record(CACHE, cache="faces", result="refused")
        path.unlink(missing_ok=True)
        return None
    record(CACHE, cache="faces", result="hit")
    return VirtualFace(
        seed, FaceView(image=RGBImage(image), landmarks=Landmarks(points), labels=LabelMap(labels)), look
    )


def keep(face: VirtualFace) -> None:
    """Keep a face, and let go those that were not used for longest."""
    path, view, look = _path(face.seed), face.view, face.look
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.savez(
            file, image=view.image, landmarks=view.landmarks, labels=view.labels,
            tone=look.tone, yaw=look.yaw, embedding=look.embedding,
        )  # fmt: skip
    Path(file.name).replace(path)
    for old in sorted(path.parent.glob("*.npz"), key=_last_used, reverse=True)[MOST:]:
        old.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # let go by another process
        return 0.0


def _path(seed: FaceSeed) -> Path:
    token = encode(seed)
    # A token with a centre can be longer than a file's name may be.
    name = token if seed.centre is None else hashlib.sha256(token.encode()).hexdigest()[:32]
    return settings().cache / "faces" / f"{name}-{_seen_by()}.npz"


@cache
def _seen_by() -> str:
    """Names the models that looked at the face; who generated it, its token says."""
    models = [model_for(role) for role in ("FaceLandmarks", "FaceParsing", "IdentityEmbedding")]
    ids = sorted({engine.weights for model in models for engine in model_class(model).spec.engines.values()})
    names = "\n".join([*models, *(files_digest(entry(identifier)) for identifier in ids)])
    return hashlib.sha256(names.encode()).hexdigest()[:8]
