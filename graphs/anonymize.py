"""Every person in a picture gets a virtual face of similar looks; nobody can be recognised any more."""

import asyncio
from dataclasses import dataclass, field

import numpy as np

from deployments.roles import FaceDetection, FaceSeed, FaceView, SwapInput
from graphs.base import uses
from graphs.casting import STRANGER, Look, draw, load_cast, rank
from graphs.face_choice import LEAST_SHOWN, shown_share, skip_reason, unfit_reason
from graphs.face_exchange import (
    HEAD_MARGIN,
    AnonymizeOptions,
    FaceExchange,
    How,
    asked_faces,
    mosaic,
    wanted_tone,
    with_skin,
)
from graphs.face_finding import Closeup, close_up, find
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


class Anonymize(FaceExchange[AnonymizeRequest, AnonymizeResult]):
    request = AnonymizeRequest
    result = AnonymizeResult

    near = uses(FaceDetection)

    async def __call__(self, request: AnonymizeRequest) -> AnonymizeResult:
        """raises: NoFace, UnknownFace"""
        options, image = request.options, request.image
        asked = asked_faces(options)
        sights = await find(image, self.near, self.detect, self.mesh)
        if not sights:
            raise NoFace("expected a picture with at least one face, got one in which none was found")
        reasons = [skip_reason(sight, True) for sight in sights]
        clear = [i for i, reason in enumerate(reasons) if reason is None]
        closeups = await close_up(
            image, [sights[i].face for i in clear], self.mesh, self.parse,
            margin=HEAD_MARGIN, smallest=_SMALLEST_CROP, largest=_LARGEST_CROP,
        )  # fmt: skip
        heads = {}
        for i, head in zip(clear, closeups, strict=True):
            reasons[i] = unfit_reason(head)
            if reasons[i] is None:
                heads[i] = head
        known = [await self.looks(h.cutting, h.view.landmarks, h.view.labels) for h in heads.values()]
        seeds = _cast(known, asked, options.seed)
        swapped = await asyncio.gather(
            *(self._exchange(*person, options.skin) for person in zip(heads.values(), known, seeds, strict=True))
        )
        news = [(new, head.view.landmarks) for head, (new, _, _) in zip(heads.values(), swapped, strict=True)]
        after = await self.identities(news)

        done = dict(zip(heads, zip(known, seeds, swapped, after, strict=True), strict=True))
        faces: list[AnonymizedFace] = []
        for i, sight in enumerate(sights):
            box = _rounded(sight.face.box)
            if i in done and done[i][2][2] >= LEAST_SHOWN:
                looks, seed, (new, mask, _), embedding = done[i]
                image = lay_back(image, new, mask, heads[i].cutting.matrix)
                faces.append(
                    AnonymizedFace(
                        box=box,
                        how="swapped",
                        reason=None,
                        token=encode(seed),
                        offered=tuple(encode(offer) for offer in rank(looks, load_cast(), too_alike=STRANGER)),
                        skin=as_hex(looks.tone),
                        cosine=round(float(looks.embedding @ embedding), 4),
                    )
                )
                continue
            hidden = options.unswappable == "mosaic"
            image = mosaic(image, sight.face) if hidden else image
            how: How = "mosaic" if hidden else "kept"
            reason = reasons[i] or f"covered: less than {LEAST_SHOWN:.0%} of the face can be replaced"
            faces.append(
                AnonymizedFace(box=box, how=how, reason=reason, token=None, offered=(), skin=None, cosine=None)
            )
        return AnonymizeResult(image=image, faces=tuple(faces))

    async def _exchange(self, head: Closeup, looks: Look, seed: FaceSeed, skin: str) -> tuple[RGBImage, Mask, float]:
        """The crop with the virtual face, where it was changed, and what share of the face the new one takes."""
        face = await self.virtual_face(seed, head.view.image.shape[0])
        target, changed = head.view.image, np.zeros(head.view.labels.shape, np.uint8)
        wanted = wanted_tone(skin, face)
        if wanted is not None:
            target = with_skin(target, head.view.labels, looks.tone, wanted)
            changed = np.where((target != head.view.image).any(axis=2), 255, 0).astype(np.uint8)
        view = FaceView(image=target, landmarks=head.view.landmarks, labels=head.view.labels)
        swapped = await self.swap(SwapInput(source=face.view, target=view))
        return swapped.image, Mask(np.maximum(changed, swapped.mask)), shown_share(head, swapped)


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
