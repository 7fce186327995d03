"""Every person in a picture gets a virtual face of similar looks; nobody can be recognised any more."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from deployments.roles import FaceDetection, FaceSeed, FaceSwap, SwapInput, SwappedFace
from graphs.base import uses
from graphs.casting import STRANGER, Look, draw, load_cast, rank
from graphs.face_choice import LEAST_SHOWN, shown_share, skip_reason, unfit_reason
from graphs.face_exchange import (
    HEAD_MARGIN,
    AnonymizeOptions,
    FaceExchange,
    How,
    asked_faces,
    look_at,
    mosaic,
    wanted_tone,
    with_skin,
)
from graphs.face_finding import Closeup, Sight, find, recognise
from graphs.face_paste import lay_back
from graphs.face_token import encode
from graphs.skin import as_hex
from modiste.errors import NoFace
from modiste.geometry import Box
from modiste.image import Mask, RGBImage
from modiste.metrics import FACES, record

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
    reason:  why no swap was possible; None where it was
    token:   the virtual face, to use it again; None where there is none
    offered: tokens of the nine virtual faces that suit the person best, best first
    skin:    the person's skin tone, #rrggbb
    cosine:  likeness of the identity embeddings before and after; that of a picture with itself is 1
    """

    box: tuple[float, float, float, float]
    how: How
    reason: str | None
    token: str | None
    offered: tuple[str, ...]
    skin: str | None
    cosine: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymizeResult:
    """faces: from left to right"""

    image: RGBImage
    faces: tuple[AnonymizedFace, ...]


@dataclass(frozen=True, slots=True)
class _Person:
    """shown: which share of the face the new one takes"""

    head: Closeup
    look: Look
    seed: FaceSeed
    new: SwappedFace
    shown: float


class Anonymize(FaceExchange[AnonymizeRequest, AnonymizeResult]):
    request = AnonymizeRequest
    result = AnonymizeResult

    near = uses(FaceDetection)
    swap = uses(FaceSwap)

    async def __call__(self, request: AnonymizeRequest) -> AnonymizeResult:
        """raises: NoFace, UnknownFace"""
        options, image = request.options, request.image
        asked = asked_faces(options)
        sights = await find(image, self.near, self.detect, self.mesh)
        if not sights:
            raise NoFace("expected a picture with at least one face, got one in which none was found")
        reasons = [skip_reason(sight, True) for sight in sights]
        clear = [i for i, reason in enumerate(reasons) if reason is None]
        found = await recognise(
            image, [sights[i].face for i in clear], self.mesh, self.parse, self.identify,
            margin=HEAD_MARGIN, smallest=_SMALLEST_CROP, largest=_LARGEST_CROP,
        )  # fmt: skip
        heads, known = {}, []
        for i, (head, embedding) in zip(clear, found, strict=True):
            reasons[i] = unfit_reason(head)
            if reasons[i] is None:
                heads[i] = head
                known.append(look_at(head.view, embedding))
        seeds = _cast(known, asked, options.seed)
        swapped = await self._exchange(list(heads.values()), known, seeds, options.skin)
        people = {
            i: _Person(head, look, seed, new, shown_share(head, new))
            for (i, head), look, seed, new in zip(heads.items(), known, seeds, swapped, strict=True)
        }
        for i, person in people.items():
            if person.shown < LEAST_SHOWN:
                reasons[i] = f"covered: less than {LEAST_SHOWN:.0%} of the face can be replaced"
        people = {i: person for i, person in people.items() if reasons[i] is None}
        after, result = await asyncio.gather(
            self.identities([(person.new.image, person.head.view.landmarks) for person in people.values()]),
            asyncio.to_thread(_paint, image, sights, people, hide=options.unswappable == "mosaic"),
        )
        cosines = {
            i: float(person.look.embedding @ new) for (i, person), new in zip(people.items(), after, strict=True)
        }
        faces = tuple(
            _swapped(sight, people[i], cosines[i])
            if reason is None
            else _unswapped(sight, reason, "mosaic" if options.unswappable == "mosaic" else "kept")
            for i, (sight, reason) in enumerate(zip(sights, reasons, strict=True))
        )
        for face in faces:
            record(FACES, flow="anonymize", outcome=face.how)
        return AnonymizeResult(image=result, faces=faces)

    async def _exchange(
        self, heads: Sequence[Closeup], looks: Sequence[Look], seeds: Sequence[FaceSeed], skin: str
    ) -> list[SwappedFace]:
        """The crops with the virtual faces, and where they were changed."""
        faces = await asyncio.gather(
            *(self.virtual_face(seed, head.view.image.shape[0]) for seed, head in zip(seeds, heads, strict=True))
        )
        views, recoloured = [], []
        for head, look, face in zip(heads, looks, faces, strict=True):
            image, wanted = head.view.image, wanted_tone(skin, face)
            if wanted is not None:
                image = with_skin(image, head.view.labels, look.tone, wanted)
            views.append(replace(head.view, image=image))
            recoloured.append(np.where((image != head.view.image).any(axis=2), 255, 0).astype(np.uint8))
        swapped = await self.swap.many(
            [SwapInput(source=face.view, target=view) for face, view in zip(faces, views, strict=True)]
        )
        return [
            replace(new, mask=Mask(np.maximum(changed, new.mask)))
            for new, changed in zip(swapped, recoloured, strict=True)
        ]


def _paint(image: RGBImage, sights: Sequence[Sight], people: Mapping[int, _Person], *, hide: bool) -> RGBImage:
    """Every new face laid into the picture; a mosaic over the other faces where they are to be hidden."""
    for i, sight in enumerate(sights):
        if i in people:
            person = people[i]
            image = lay_back(image, person.new.image, person.new.mask, person.head.cutting.matrix)
        elif hide:
            image = mosaic(image, sight.face)
    return image


def _swapped(sight: Sight, person: _Person, cosine: float) -> AnonymizedFace:
    offered = rank(person.look, load_cast(), too_alike=STRANGER)
    return AnonymizedFace(
        box=_rounded(sight.face.box), how="swapped", reason=None,
        token=encode(person.seed), offered=tuple(encode(seed) for seed in offered),
        skin=as_hex(person.look.tone), cosine=round(cosine, 4),
    )  # fmt: skip


def _unswapped(sight: Sight, reason: str, how: How) -> AnonymizedFace:
    return AnonymizedFace(
        box=_rounded(sight.face.box), how=how, reason=reason, token=None, offered=(), skin=None, cosine=None
    )


def _cast(people: list[Look], asked: tuple[FaceSeed, ...], seed: int) -> list[FaceSeed]:
    """A virtual face for each person, from left to right: the one asked for, or one that suits."""
    chosen: list[FaceSeed] = []
    for person, looks in enumerate(people):
        if person < len(asked):
            chosen.append(asked[person])
        else:
            chosen.append(draw(rank(looks, load_cast(), too_alike=STRANGER), seed, person, set(chosen)))
    return chosen


def _rounded(box: Box) -> tuple[float, float, float, float]:
    return round(box.left, 1), round(box.top, 1), round(box.right, 1), round(box.bottom, 1)
