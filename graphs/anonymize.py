"""Every person in a picture gets a virtual face of similar looks; nobody can be recognised any more."""

import asyncio
from dataclasses import dataclass, field

import numpy as np

from deployments.roles import FaceDetection, FaceSeed, FaceView, SwapInput
from graphs.base import uses
from graphs.casting import Look, draw, load_cast, rank
from graphs.face_exchange import (
    HEAD_MARGIN,
    SMALLEST_FACE,
    AnonymizeOptions,
    FaceExchange,
    How,
    asked_faces,
    mosaic,
    wanted_tone,
    with_skin,
)
from graphs.face_finding import SURE, Closeup, Sight, close_up, find, look
from graphs.face_paste import lay_back
from graphs.face_token import encode
from graphs.skin import as_hex
from modiste.errors import NoFace
from modiste.geometry import Box
from modiste.image import Mask, RGBImage

_SMALLEST_CROP, _LARGEST_CROP = 448, 1024
"""Side of a head's crop, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymizeRequest:
    """image: with one person or more"""

    image: RGBImage
    options: AnonymizeOptions = field(default_factory=AnonymizeOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymizedFace:
    """What became of one face.

    box:     left, top, right, bottom in the picture, pixels
    how:     swapped; mosaic where no swap was possible; kept where the options say so
    token:   the virtual face, to use it again; None where there is none
    offered: tokens of the nine virtual faces that suit the person best, best first
    skin:    the person's skin tone, #rrggbb
    cosine:  likeness of the identity embeddings before and after; that of a picture with itself is 1
    """

    box: tuple[float, float, float, float]
    how: How
    token: str | None
    offered: tuple[str, ...]
    skin: str | None
    cosine: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymizeResult:
    """faces: from left to right"""

    image: RGBImage
    faces: tuple[AnonymizedFace, ...]


class Anonymize(FaceExchange[AnonymizeRequest, AnonymizeResult]):
    request = AnonymizeRequest
    result = AnonymizeResult

    near = uses(FaceDetection)

    async def __call__(self, request: AnonymizeRequest) -> AnonymizeResult:
        """raises: NoFace, UnknownFace"""
        options, image = request.options, request.image
        asked = asked_faces(options)
        found = await find(image, self.near, self.detect)
        if not found:
            raise NoFace("expected a picture with at least one face, got one in which none was found")
        sights = await look(image, found, self.mesh)
        clear = [i for i, sight in enumerate(sights) if sight.sureness >= SURE and _size(sight) >= SMALLEST_FACE]
        heads = await close_up(
            image, [sights[i].face for i in clear], self.mesh, self.parse,
            margin=HEAD_MARGIN, smallest=_SMALLEST_CROP, largest=_LARGEST_CROP,
        )  # fmt: skip
        known = [await self.looks(head.cutting, head.view.landmarks, head.view.labels) for head in heads]
        seeds = _cast(known, asked, options.seed)
        swapped = await asyncio.gather(
            *(self._exchange(*person, options.skin) for person in zip(heads, known, seeds, strict=True))
        )
        after = await self.identities(
            [(new, head.view.landmarks) for head, (new, _) in zip(heads, swapped, strict=True)]
        )

        faces: list[AnonymizedFace] = []
        for index, face in enumerate(found):
            if index in clear:
                i = clear.index(index)
                image = lay_back(image, *swapped[i], heads[i].cutting.matrix)
                faces.append(
                    AnonymizedFace(
                        box=_rounded(sights[index].face.box),
                        how="swapped",
                        token=encode(seeds[i]),
                        offered=tuple(encode(offer) for offer in rank(known[i], load_cast())),
                        skin=as_hex(known[i].tone),
                        cosine=round(float(known[i].embedding @ after[i]), 4),
                    )
                )
            else:
                hidden = options.unswappable == "mosaic"
                image = mosaic(image, face) if hidden else image
                how: How = "mosaic" if hidden else "kept"
                box = _rounded(face.box)
                faces.append(AnonymizedFace(box=box, how=how, token=None, offered=(), skin=None, cosine=None))
        return AnonymizeResult(image=image, faces=tuple(faces))

    async def _exchange(self, head: Closeup, looks: Look, seed: FaceSeed, skin: str) -> tuple[RGBImage, Mask]:
        """The crop with the virtual face, and where it was changed."""
        face = await self.virtual_face(seed, head.view.image.shape[0])
        target, changed = head.view.image, np.zeros(head.view.labels.shape, np.uint8)
        wanted = wanted_tone(skin, face)
        if wanted is not None:
            target = with_skin(target, head.view.labels, looks.tone, wanted)
            changed = np.where((target != head.view.image).any(axis=2), 255, 0).astype(np.uint8)
        view = FaceView(image=target, landmarks=head.view.landmarks, labels=head.view.labels)
        swapped = await self.swap(SwapInput(source=face.view, target=view))
        return swapped.image, Mask(np.maximum(changed, swapped.mask))


def _cast(people: list[Look], asked: tuple[FaceSeed, ...], seed: int) -> list[FaceSeed]:
    """A virtual face for each person, from left to right: the one asked for, or one that suits."""
    chosen: list[FaceSeed] = []
    for person, looks in enumerate(people):
        if person < len(asked):
            chosen.append(asked[person])
        else:
            chosen.append(draw(rank(looks, load_cast()), seed, person, set(chosen)))
    return chosen


def _size(sight: Sight) -> float:
    return max(sight.face.box.width, sight.face.box.height)


def _rounded(box: Box) -> tuple[float, float, float, float]:
    return round(box.left, 1), round(box.top, 1), round(box.right, 1), round(box.bottom, 1)
