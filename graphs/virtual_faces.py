"""Virtual faces to choose from: drawn by chance, those that suit the person in a photo, or new ones near that person.

Nobody real is ever given back: what is offered near a person are faces that the identity network takes for other
people. Those that it would take for that person are left out, and further ones drawn in their place.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deployments import model_class, model_for
from deployments.roles import (
    FaceCode,
    FaceDetection,
    FaceGeneration,
    FaceLandmarks,
    FaceParsing,
    FaceSeed,
    IdentityEmbedding,
    IdentityInput,
    LandmarksInput,
    LatentEncoding,
    SmallFaceDetection,
    face_from_landmarks,
)
from graphs.base import Graph, uses
from graphs.casting import TRUNCATION, Look, load_cast, rank
from graphs.face_exchange import FFHQ_FACE, HEAD_MARGIN, look_at
from graphs.face_finding import SURE, find, recognise
from graphs.face_token import LEAST_AROUND, decode, encode
from graphs.face_view import cut_out
from modiste.errors import InvalidOption, NoFace, TooAlike
from modiste.face_alignment import crop_like_ffhq, landmarks_of_mesh
from modiste.image import Embedding, Landmarks, RGBImage

_CROP = 448
"""Side of the crop in which the photo's person is looked at, pixels."""
_CHOICE = 3
"""How many suitable faces there are for each one that is offered; the seed picks among them."""
NEAR_TRUNCATION = 0.35
_TRIES = 3
"""How many faces near a person are made for each one that is offered, at most."""
_ENCODED = 256
"""Side of the aligned picture that is encoded, pixels."""


class VirtualFacesOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(default=9, ge=1, le=16, description="how many faces (count)")
    truncation: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="variety: 0 = always the mean face, 1 = everything the generator can do, flaws included (ratio); "
        f"absent: {TRUNCATION}; near: at least {LEAST_AROUND}, absent: {NEAR_TRUNCATION}",
    )
    like: Literal["suited", "near"] = Field(
        default="suited",
        description="with a photo: faces of a known cast that suit its person in tone, turn and build (suited), or new "
        "ones around the face that is most like that person, none of whom could be taken for them (near)",
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="the same seed offers the same faces (number)")


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualFacesRequest:
    """photo: with a person whom the faces shall suit or be near to; the largest face counts."""

    photo: RGBImage | None = None
    options: VirtualFacesOptions = field(default_factory=VirtualFacesOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualFacesResult:
    """faces: 1024 x 1024 pixels each; with a photo the most suitable first, near its person in the order of their draw.
    tokens: by which each can be made again, here or in another flow, in the same order.
    cosines: how alike the identity network finds each face and the photo's person, -1 to 1, in the same order; none
    without a photo. Near a person all are under `limit`.
    limit: the cosine from which on that network takes two pictures for one person."""

    faces: tuple[RGBImage, ...]
    tokens: tuple[str, ...]
    cosines: tuple[float, ...]
    limit: float


@dataclass(frozen=True, slots=True)
class Person:
    """Who is in the photo. aligned: as FFHQ's crops are; identity: see `VirtualFaces.identity`"""

    look: Look
    aligned: RGBImage
    identity: Embedding


@dataclass(frozen=True, slots=True)
class Offer:
    """cosine: None where there is nobody to compare with."""

    token: str
    face: RGBImage
    cosine: float | None


class VirtualFaces(Graph[VirtualFacesRequest, VirtualFacesResult]):
    request = VirtualFacesRequest
    result = VirtualFacesResult

    near = uses(FaceDetection)
    detect = uses(SmallFaceDetection)
    mesh = uses(FaceLandmarks)
    parse = uses(FaceParsing)
    identify = uses(IdentityEmbedding)
    invert = uses(LatentEncoding)
    generate = uses(FaceGeneration)

    async def __call__(self, request: VirtualFacesRequest) -> VirtualFacesResult:
        """raises: NoFace where a photo is given that shows none; TooAlike where too few faces near its person are not
        taken for that person; InvalidOption for faces near nobody"""
        options, photo = request.options, request.photo
        if options.like == "near" and strength(options) < LEAST_AROUND:
            raise InvalidOption(f"expected a truncation of at least {LEAST_AROUND} for near, got {strength(options)}")
        limit = same_person()
        if photo is None:
            if options.like == "near":
                raise InvalidOption("expected a photo whose person the faces shall be near to, got none")
            offers = await self.offers(drawn(options.seed, options.n), strength(options), None, None)
        else:
            person = await self.person(photo)
            if options.like == "near":
                offers = await self._near(person, options, limit)
            else:
                seeds = suited(person.look, options.seed, options.n)
                offers = await self.offers(seeds, strength(options), None, person)
        return VirtualFacesResult(
            faces=tuple(offer.face for offer in offers),
            tokens=tuple(offer.token for offer in offers),
            cosines=tuple(round(offer.cosine, 4) for offer in offers if offer.cosine is not None),
            limit=limit,
        )

    async def _near(self, person: Person, options: VirtualFacesOptions, limit: float) -> list[Offer]:
        """n faces around the person; who comes out too alike makes place for the next of the draw."""
        centre = await self.invert(person.aligned)
        seeds = drawn(options.seed, options.n * _TRIES)
        offers: list[Offer] = []
        made = 0
        while len(offers) < options.n and made < len(seeds):
            missing = options.n - len(offers)
            tried = await self.offers(seeds[made : made + missing], strength(options), centre, person)
            offers += [offer for offer in tried if offer.cosine is not None and offer.cosine < limit]
            made += missing
        if len(offers) < options.n:
            raise TooAlike(
                f"expected {options.n} faces near the photo's person that nobody would take for them, got "
                f"{len(offers)} out of {made}; a larger truncation than {strength(options)} gives others"
            )
        return offers

    async def offers(
        self, seeds: Sequence[int], truncation: float, centre: FaceCode | None, person: Person | None
    ) -> list[Offer]:
        """Faces of these seeds around a centre, each beside the person where there is one."""
        tokens = [encode(FaceSeed(seed=seed, truncation=truncation, centre=centre)) for seed in seeds]
        return list(await asyncio.gather(*(self._offer(token, person) for token in tokens)))

    async def _offer(self, token: str, person: Person | None) -> Offer:
        # From the token, not from the option: what is shown is what the token brings back.
        face = await self.generate(decode(token))
        if person is None:
            return Offer(token, face, None)
        return Offer(token, face, float(await self.virtual_identity(face) @ person.identity))

    async def identity(self, image: RGBImage, points: Landmarks) -> Embedding:
        """Who a face belongs to, looked at the same way in photos and generated pictures."""
        crop = cut_out(image, face_from_landmarks(points), margin=1.8, smallest=64, largest=256)
        return await self.identify(IdentityInput(image=crop.image, landmarks=crop.inward(points)))

    async def virtual_identity(self, face: RGBImage) -> Embedding:
        """The same of a generated face, which lies where all of them do."""
        fitted = await self.mesh(LandmarksInput(image=face, face=FFHQ_FACE))
        return await self.identity(face, fitted.points)

    async def person(self, photo: RGBImage) -> Person:
        """The largest face of a photo. raises: NoFace"""
        found = await find(photo, self.near, self.detect, self.mesh)
        sights = [sight.face for sight in found if sight.sureness >= SURE]
        if not sights:
            raise NoFace("expected a photo with a face that looks at the camera, got one in which none was found")
        largest = max(sights, key=lambda face: face.box.area)
        ((head, embedding),) = await recognise(
            photo, [largest], self.mesh, self.parse, self.identify, margin=HEAD_MARGIN, smallest=_CROP, largest=_CROP
        )
        points = head.cutting.outward(head.view.landmarks)
        aligned, _ = crop_like_ffhq(photo, landmarks_of_mesh(points), _ENCODED)
        return Person(look_at(head.view, embedding), aligned, await self.identity(photo, points))


def strength(options: VirtualFacesOptions) -> float:
    """The truncation that was asked for, or what is usual."""
    if options.truncation is not None:
        return options.truncation
    return NEAR_TRUNCATION if options.like == "near" else TRUNCATION


def same_person() -> float:
    """The cosine from which on the identity network in use takes two pictures for one person."""
    model = model_class(model_for("IdentityEmbedding"))
    assert issubclass(model, IdentityEmbedding)
    return model.same_person


def drawn(seed: int, n: int) -> list[int]:
    """The seeds of n faces; more of them begin with the same ones."""
    return [int(s) for s in np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint64)]


def suited(person: Look, seed: int, n: int) -> list[int]:
    """The seeds of n faces among the most suitable of the cast, the most suitable first.

    They were there before the person came: one who is alike is so by chance, and no less virtual.
    """
    ranked = rank(person, load_cast(), n * _CHOICE)
    chosen = np.random.default_rng(seed).choice(len(ranked), min(n, len(ranked)), replace=False)
    return [ranked[i].seed for i in sorted(chosen)]
