"""Which virtual face plays whom: a small cast whose looks are known beforehand, ranked for each person.

Generating a face takes about a second, so nobody is generated just to be compared. The cast is a table of seeds
with the skin tone, head turn and identity embedding of the face that each gives. It belongs to one generator and one
identity network: that of the default edition lies beside this file; for others `python -m graphs.cast_table` makes one
and writes it into the cache folder.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments import model_class, model_for
from deployments.roles import FaceSeed
from graphs.face_token import generator
from graphs.skin import Tone
from modiste.errors import CastUnavailable
from modiste.image import Embedding, Landmarks
from modiste.settings import settings
from weights.manifest import entry, files_digest

TRUNCATION = 0.6
OFFERED = 9
_SHIPPED = Path(__file__).with_name("cast.npz")
_SHIPPED_KEY = "d3f2f3eb6c59a7c1"
"""Of the default edition's generator and identity network."""
_TONE_WEIGHTS = np.array([1 / 25, 1.5, 3.0])
"""What a difference in hue (degrees), saturation and value counts."""
_BUILD_WEIGHT = 12.0
"""What a difference in cosine counts; from here on apparent age comes out alike."""
_OTHER_SEX = 3.0
"""What it counts that a face looks like the other sex: more than any tone or turn, so it comes last."""
_CHILDREN = (9, 11, 16, 21, 23, 33, 53, 75, 80, 82, 89, 95, 99, 104, 109, 113, 124, 135, 138, 143)
_GLASSES = (17, 20, 28, 42, 59, 61, 73, 90, 102, 112, 122, 123, 129, 131, 148)
"""Seeds of the shipped table that play nobody, as looked at one by one: a swap would paint glasses onto the skin."""
_WOMEN = (
    3, 5, 12, 22, 25, 26, 27, 34, 36, 38, 41, 43, 44, 46, 47, 48, 49, 50, 54, 55, 62, 64, 66, 68, 69, 72, 77, 78, 79,
    82, 86, 87, 93, 94, 96, 97, 98, 101, 105, 107, 110, 114, 115, 116, 117, 120, 121, 126, 128, 132, 134, 137, 144,
    145, 146, 147, 151, 153, 157, 159,
)  # fmt: skip
_MEN = (
    0, 4, 8, 10, 18, 19, 24, 29, 30, 37, 39, 40, 45, 52, 60, 63, 67, 74, 76, 84, 85, 88, 91, 103, 106, 108, 111, 118,
    119, 127, 133, 139, 142, 149, 152, 154, 156, 158,
)  # fmt: skip
"""Seeds of the shipped table whose faces clearly look like a woman or a man, as looked at one by one; the others may
play either."""
_RIDGE, _BETWEEN = 0.03, 0.45
"""Strength of the regression from embedding to look (-1 man, 1 woman), and where the two part: between the 60 official
portraits and 60 store photos on which it was tried, whose people all fell on the right side."""
_TOO_ALIKE = 0.94
"""Cosine of embeddings from which on a virtual face might be taken for the person it replaces."""
STRANGER = 0.89
"""Cosine of embeddings up to which the identity network surely takes two faces for two people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a face is compared by. tone: as `graphs.skin` measures it; yaw: degrees, see `yaw`."""

    tone: Tone
    yaw: float
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class Cast:
    """seeds: uint32 [N]; tones: float32 [N, 3]; yaws: float32 [N], degrees; embeddings: float32 [N, D], length 1;
    sexes: float32 [N], -1 looks like a man, 1 like a woman, 0 may play either (in a table that nobody looked through,
    all)."""

    seeds: NDArray[np.uint32]
    tones: NDArray[np.float32]
    yaws: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    sexes: NDArray[np.float32]

    def sex_of(self, embedding: Embedding) -> float:
        """-1 or 1: which a face rather looks like; 0 where the table does not say what any looks like.

        Only to choose a face that suits; it is kept and told nowhere.
        """
        clear = self.sexes != 0
        if not clear.any():
            return 0.0
        known, looks = self.embeddings[clear], self.sexes[clear]
        mean = known.mean(axis=0)
        centred = known - mean
        ridge = centred.T @ centred + _RIDGE * np.eye(centred.shape[1])
        slope = np.linalg.solve(ridge, centred.T @ (looks - looks.mean()))
        return 1.0 if float((embedding - mean) @ slope + looks.mean()) > _BETWEEN else -1.0


def load_cast() -> Cast:
    """The cast of the generator and the identity network in use.

    raises: CastUnavailable where nobody made its table
    """
    return _load(table_file())


def table_file() -> Path:
    """Where the table for the models in use is kept, whether it exists or not."""
    key = _key()
    return _SHIPPED if key == _SHIPPED_KEY else settings().cache / "casts" / f"{key}.npz"


def _key() -> str:
    model = model_for("IdentityEmbedding")
    ids = sorted({engine.weights for engine in model_class(model).spec.engines.values()})
    names = "\n".join([generator().hex(), model, *(files_digest(entry(identifier)) for identifier in ids)])
    return hashlib.sha256(names.encode()).hexdigest()[:16]


@cache
def _load(file: Path) -> Cast:
    if not file.exists():
        raise CastUnavailable(
            f"expected a table of virtual faces for {model_for('FaceGeneration')} and {model_for('IdentityEmbedding')} "
            f"at {file}, got none: run `python -m graphs.cast_table` once under the same settings"
        )
    with np.load(file) as table:
        seeds = table["seeds"]
        known = file == _SHIPPED
        plays = ~np.isin(seeds, _CHILDREN + _GLASSES) if known else np.ones(len(seeds), bool)
        sexes = np.isin(seeds, _WOMEN).astype(np.float32) - np.isin(seeds, _MEN) if known else np.zeros(len(seeds))
        return Cast(
            seeds[plays],
            table["tones"][plays].astype(np.float32),
            table["yaws"][plays].astype(np.float32),
            table["embeddings"][plays].astype(np.float32),
            sexes[plays].astype(np.float32),
        )


def yaw(points: Landmarks) -> float:
    """How far a head is turned, in degrees; 0 looks into the camera, positive to the picture's right.

    points: [468, 3]; taken from the depth of the two sides of the face
    """
    across = points[454] - points[234]
    return float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))


def rank(look: Look, cast: Cast, count: int = OFFERED, *, too_alike: float = _TOO_ALIKE) -> list[FaceSeed]:
    """Those that suit best: skin tone, head turn and apparent sex as the person's, a build alike but not the same.

    too_alike: cosine from which on a face comes last; lower where people must not be recognised
    """
    difference = cast.tones - look.tone
    difference[:, 0] = (difference[:, 0] + 180) % 360 - 180
    alike = cast.embeddings @ look.embedding
    cost = (
        np.abs(difference * _TONE_WEIGHTS).sum(axis=1)
        + np.abs(cast.yaws - look.yaw) / 40
        + _BUILD_WEIGHT * (1 - alike)
        + _OTHER_SEX * (cast.sexes * cast.sex_of(look.embedding) < 0)
        + 100 * (alike > too_alike)
    )
    best = np.argsort(cost, kind="stable")[:count]
    return [FaceSeed(seed=int(cast.seeds[i]), truncation=TRUNCATION) for i in best]


def draw(offered: list[FaceSeed], seed: int, person: int, taken: set[FaceSeed]) -> FaceSeed:
    """One of the best three offers by chance; nobody plays two people while others are free."""
    free = [face for face in offered if face not in taken] or offered
    return free[int(np.random.default_rng((seed, person)).integers(min(3, len(free))))]
