"""Virtual faces to choose from: drawn by chance, or those that suit the person in a photo."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deployments.roles import (
    FaceDetection,
    FaceGeneration,
    FaceLandmarks,
    FaceParsing,
    FaceSeed,
    IdentityEmbedding,
    SmallFaceDetection,
)
from graphs.base import Graph, uses
from graphs.casting import TRUNCATION, Look, load_cast, rank
from graphs.face_exchange import HEAD_MARGIN, look_at
from graphs.face_finding import SURE, find, recognise
from graphs.face_token import decode, encode
from modiste.errors import NoFace
from modiste.image import RGBImage

_CROP = 448
"""Side of the crop in which the photo's person is looked at, pixels."""
_CHOICE = 3
"""How many suitable faces there are for each one that is offered; the seed picks among them."""


class VirtualFacesOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(default=9, ge=1, le=16, description="how many faces (count)")
    truncation: float = Field(
        default=TRUNCATION,
        ge=0,
        le=1,
        description="variety: 0 = always the mean face, 1 = everything the generator can do, flaws included (ratio)",
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="the same seed offers the same faces (number)")


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualFacesRequest:
    """photo: with a person whom the faces shall suit in skin tone, turn and build; the largest face counts."""

    photo: RGBImage | None = None
    options: VirtualFacesOptions = field(default_factory=VirtualFacesOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualFacesResult:
    """faces: 1024 x 1024 pixels each; with a photo, the most suitable first.
    tokens: by which each can be made again, here or in another flow, in the same order."""

    faces: tuple[RGBImage, ...]
    tokens: tuple[str, ...]


class VirtualFaces(Graph[VirtualFacesRequest, VirtualFacesResult]):
    request = VirtualFacesRequest
    result = VirtualFacesResult

    near = uses(FaceDetection)
    detect = uses(SmallFaceDetection)
    mesh = uses(FaceLandmarks)
    parse = uses(FaceParsing)
    identify = uses(IdentityEmbedding)
    generate = uses(FaceGeneration)

    async def __call__(self, request: VirtualFacesRequest) -> VirtualFacesResult:
        """raises: NoFace where a photo is given that shows none"""
        options = request.options
        if request.photo is None:
            seeds = drawn(options.seed, options.n)
        else:
            seeds = suited(await self._look(request.photo), options.seed, options.n)
        tokens = tuple(encode(FaceSeed(seed=seed, truncation=options.truncation)) for seed in seeds)
        # From the token, not from the option: what is shown is what the token brings back.
        faces = await asyncio.gather(*(self.generate(decode(token)) for token in tokens))
        return VirtualFacesResult(faces=tuple(faces), tokens=tokens)

    async def _look(self, photo: RGBImage) -> Look:
        found = await find(photo, self.near, self.detect, self.mesh)
        sights = [sight.face for sight in found if sight.sureness >= SURE]
        if not sights:
            raise NoFace("expected a photo with a face that looks at the camera, got one in which none was found")
        largest = max(sights, key=lambda face: face.box.area)
        ((head, embedding),) = await recognise(
            photo, [largest], self.mesh, self.parse, self.identify, margin=HEAD_MARGIN, smallest=_CROP, largest=_CROP
        )
        return look_at(head.view, embedding)


def drawn(seed: int, n: int) -> list[int]:
    """The seeds of n faces; more of them begin with the same ones."""
    return [int(s) for s in np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint64)]


def suited(person: Look, seed: int, n: int) -> list[int]:
    """The seeds of n faces among the most suitable of the cast, the most suitable first."""
    ranked = rank(person, load_cast(), n * _CHOICE)
    chosen = np.random.default_rng(seed).choice(len(ranked), min(n, len(ranked)), replace=False)
    return [ranked[i].seed for i in sorted(chosen)]
