"""Virtual model: the faces in a photo replaced by a virtual face, and made up on request.

Every face is cut out upright and enlarged, understood there (mesh, parsing), swapped there, and laid back so that
no pixel outside the face changes. The new face is always a generated one, named by its token.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.roles import (
    Face,
    FaceDetection,
    FaceRestoration,
    FaceSwap,
    FaceView,
    LandmarksInput,
    MakeupInput,
    MakeupTransfer,
    SwapInput,
)
from graphs.base import uses
from graphs.face_choice import LEAST_SHOWN, require_one, shown_share, skip_reason, unfit_reason
from graphs.face_exchange import FaceExchange
from graphs.face_finding import SURE, Closeup, Sight, find, outline, recognise
from graphs.face_paste import lay_back
from graphs.face_restoring import restored
from graphs.face_token import decode
from graphs.face_view import shrunk
from modiste.errors import InvalidOption, NoFace
from modiste.geometry import Box
from modiste.image import Embedding, Mask, RGBImage

MARGIN, SMALLEST_CROP, LARGEST_CROP = 1.55, 448, 1024


class VirtualModelOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    face: str = Field(description="token of the virtual face, as virtual_faces returns it")
    faces: Literal["all"] | tuple[int, ...] = Field(
        default="all", description='which faces of the photo: "all", or numbers from 0, counted from left to right'
    )
    tone: float = Field(
        default=1.0, ge=0, le=1, description="skin colour, 0 = the virtual face's own, 1 = the photo's (ratio)"
    )
    restore: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="super-resolution of the new face: where the photo is finer than the virtual face, always, never",
    )
    lips: float = Field(default=1.0, ge=0, le=1, description="strength of the reference's lip make-up (ratio)")
    eyes: float = Field(default=1.0, ge=0, le=1, description="strength of the reference's eye shadow (ratio)")
    skin: float = Field(default=0.5, ge=0, le=1, description="strength of the reference's foundation (ratio)")


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualModelRequest:
    """photo: with at least one face; makeup: a portrait whose make-up the new faces wear."""

    photo: RGBImage
    makeup: RGBImage | None = None
    options: VirtualModelOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceReport:
    """index: from left to right; box: left, top, right, bottom in pixels of the photo; cosines: of the new face's
    identity embedding, None where the face was not replaced; skipped: why it was not, None where it was."""

    index: int
    box: tuple[float, float, float, float]
    cosine_to_source: float | None
    cosine_to_original: float | None
    skipped: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualModelResult:
    """image: the photo with its new faces, equal to it everywhere else; face, seed, truncation: who was put in."""

    image: RGBImage
    faces: tuple[FaceReport, ...]
    face: str
    seed: int
    truncation: float


class VirtualModel(FaceExchange[VirtualModelRequest, VirtualModelResult]):
    request = VirtualModelRequest
    result = VirtualModelResult

    near = uses(FaceDetection)
    swap = uses(FaceSwap)
    makeup = uses(MakeupTransfer)
    restore = uses(FaceRestoration)

    async def __call__(self, request: VirtualModelRequest) -> VirtualModelResult:
        """raises: UnknownFace, NoFace, InvalidOption"""
        options, photo = request.options, request.photo
        seed = decode(options.face)
        (sights, reasons, targets), source, reference = await asyncio.gather(
            self._targets(photo, options.faces), self.virtual_face(seed), self._reference(request.makeup)
        )
        heads = [head for head, _ in targets.values()]
        side = max(max(head.view.image.shape[:2]) for head in heads)
        worn = shrunk(source.view, side)
        swapped = dict(
            zip(
                targets,
                await self.swap.many([SwapInput(source=worn, target=head.view, tone=options.tone) for head in heads]),
                strict=True,
            )
        )
        for index, (head, _) in targets.items():
            shown = shown_share(head, swapped[index])
            if shown < LEAST_SHOWN:
                reasons[index] = f"covered: expected at least {LEAST_SHOWN:.0%} of the face to be seen, got {shown:.0%}"
        require_one(reasons)
        targets = {index: target for index, target in targets.items() if reasons[index] is None}
        heads = [head for head, _ in targets.values()]
        patches = [swapped[index].image for index in targets]
        patches = await self._made_up(patches, heads, reference, options)
        patches = await restored(patches, heads, source.view, options.restore, self.restore)
        masks = [swapped[index].mask for index in targets]
        after, image = await asyncio.gather(
            self.identities([(patch, head.view.landmarks) for patch, head in zip(patches, heads, strict=True)]),
            asyncio.to_thread(_paint, photo, heads, patches, masks),
        )
        cosines = {
            index: (float(new @ source.look.embedding), float(new @ before))
            for (index, (_, before)), new in zip(targets.items(), after, strict=True)
        }
        return VirtualModelResult(
            image=image,
            faces=tuple(
                _report(index, sight, reason, cosines.get(index))
                for index, (sight, reason) in enumerate(zip(sights, reasons, strict=True))
            ),
            face=options.face,
            seed=seed.seed,
            truncation=seed.truncation,
        )

    async def _targets(
        self, photo: RGBImage, chosen: Literal["all"] | tuple[int, ...]
    ) -> tuple[list[Sight], list[str | None], dict[int, tuple[Closeup, Embedding]]]:
        """Everyone in the photo from left to right, why each is left alone, and those who are not."""
        sights = await find(photo, self.near, self.detect, self.mesh)
        if not sights:
            raise NoFace("expected a photo with at least one face, got one in which none was found")
        wanted = set(range(len(sights))) if chosen == "all" else set(chosen)
        beyond = sorted(wanted - set(range(len(sights))))
        if beyond or not wanted:
            raise InvalidOption(
                f"expected face numbers from 0 to {len(sights) - 1}, as counted from left to right, got {chosen}"
            )
        reasons = [skip_reason(sight, index in wanted) for index, sight in enumerate(sights)]
        kept = [index for index, reason in enumerate(reasons) if reason is None]
        require_one(reasons)
        targets = dict(zip(kept, await self._recognise(photo, [sights[i].face for i in kept]), strict=True))
        for index, (closeup, _) in targets.items():
            reasons[index] = unfit_reason(closeup)
        require_one(reasons)
        return sights, reasons, {index: target for index, target in targets.items() if reasons[index] is None}

    async def _recognise(self, picture: RGBImage, faces: Sequence[Face]) -> list[tuple[Closeup, Embedding]]:
        return await recognise(
            picture, faces, self.mesh, self.parse, self.identify,
            margin=MARGIN, smallest=SMALLEST_CROP, largest=LARGEST_CROP,
        )  # fmt: skip

    async def _reference(self, makeup: RGBImage | None) -> FaceView | None:
        if makeup is None:
            return None
        sights = await find(makeup, self.near, self.detect, self.mesh)
        sure = [sight.face for sight in sights if sight.sureness >= SURE]
        if not sure:
            raise NoFace("expected a make-up reference with a face, got one in which none was found")
        largest = max(sure, key=lambda face: face.box.area)
        ((closeup, _),) = await self._recognise(makeup, [largest])
        return closeup.view

    async def _made_up(
        self,
        patches: list[RGBImage],
        targets: Sequence[Closeup],
        reference: FaceView | None,
        options: VirtualModelOptions,
    ) -> list[RGBImage]:
        if reference is None:
            return patches
        places = [outline(target.view.landmarks, 1.0) for target in targets]
        meshes, labels = await asyncio.gather(
            self.mesh.many([LandmarksInput(image=p, face=f) for p, f in zip(patches, places, strict=True)]),
            self.parse.many(patches),
        )
        views = [
            FaceView(image=patch, landmarks=mesh.points, labels=parts)
            for patch, mesh, parts in zip(patches, meshes, labels, strict=True)
        ]
        return await self.makeup.many(
            [
                MakeupInput(face=view, reference=reference, lips=options.lips, eyes=options.eyes, skin=options.skin)
                for view in views
            ]
        )


def _paint(photo: RGBImage, heads: Sequence[Closeup], patches: Sequence[RGBImage], masks: Sequence[Mask]) -> RGBImage:
    """Every new face laid into the photo."""
    for head, patch, mask in zip(heads, patches, masks, strict=True):
        photo = lay_back(photo, patch, mask, head.cutting.matrix)
    return photo


def _report(index: int, sight: Sight, reason: str | None, cosines: tuple[float, float] | None) -> FaceReport:
    to_source, to_original = (None, None) if cosines is None else (round(c, 4) for c in cosines)
    return FaceReport(
        index=index,
        box=_rounded(sight.face.box),
        cosine_to_source=to_source,
        cosine_to_original=to_original,
        skipped=reason,
    )


def _rounded(box: Box) -> tuple[float, float, float, float]:
    return round(box.left, 1), round(box.top, 1), round(box.right, 1), round(box.bottom, 1)
