"""Virtual model: the faces in a photo replaced by a virtual face, and made up on request.

Every face is cut out upright and enlarged, understood there (mesh, parsing), swapped there, and laid back so that
no pixel outside the face changes. The new face is always a generated one, named by its token.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deployments.roles import (
    Face,
    FaceDetection,
    FaceGeneration,
    FaceLandmarks,
    FaceMesh,
    FaceParsing,
    FaceRestoration,
    FaceSeed,
    FaceSwap,
    FaceView,
    IdentityEmbedding,
    IdentityInput,
    LandmarksInput,
    MakeupInput,
    MakeupTransfer,
    SmallFaceDetection,
    SwapInput,
)
from graphs.base import Graph, uses
from graphs.face_choice import LEAST_SHOWN, require_one, shown_share, skip_reason, unfit_reason
from graphs.face_finding import SURE, Closeup, Sight, close_up, find, outline
from graphs.face_paste import lay_back
from graphs.face_restoring import restored
from graphs.face_token import decode
from modiste.errors import InvalidOption, NoFace
from modiste.geometry import Box
from modiste.image import RGBImage
from modiste.telemetry import step

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


class VirtualModel(Graph[VirtualModelRequest, VirtualModelResult]):
    request = VirtualModelRequest
    result = VirtualModelResult

    detect = uses(FaceDetection)
    detect_small = uses(SmallFaceDetection)
    landmarks = uses(FaceLandmarks)
    parse = uses(FaceParsing)
    embed = uses(IdentityEmbedding)
    generate = uses(FaceGeneration)
    swap = uses(FaceSwap)
    makeup = uses(MakeupTransfer)
    restore = uses(FaceRestoration)

    async def __call__(self, request: VirtualModelRequest) -> VirtualModelResult:
        options, photo = request.options, request.photo
        seed = decode(options.face)
        (sights, reasons, targets), source, reference = await asyncio.gather(
            self._targets(photo, options.faces), self._source(seed), self._reference(request.makeup)
        )
        swapped = await self.swap.many(
            [SwapInput(source=source, target=target.view, tone=options.tone) for target in targets.values()]
        )
        for index, shown in zip(list(targets), map(shown_share, targets.values(), swapped), strict=True):
            if shown < LEAST_SHOWN:
                reasons[index] = f"covered: expected at least {LEAST_SHOWN:.0%} of the face to be seen, got {shown:.0%}"
        require_one(reasons)
        swapped = [face for index, face in zip(targets, swapped, strict=True) if reasons[index] is None]
        targets = {index: target for index, target in targets.items() if reasons[index] is None}
        patches = [face.image for face in swapped]
        patches = await self._made_up(patches, list(targets.values()), reference, options)
        patches = await restored(patches, list(targets.values()), source, options.restore, self.restore)
        image = photo
        with step("paste"):
            for target, face, patch in zip(targets.values(), swapped, patches, strict=True):
                image = lay_back(image, patch, face.mask, target.cutting.matrix)
        cosines = await self._cosines(patches, list(targets.values()), source)
        found = dict(zip(targets, cosines, strict=True))
        return VirtualModelResult(
            image=image,
            faces=tuple(
                FaceReport(
                    index=index,
                    box=_rounded(sight.face.box),
                    cosine_to_source=found[index][0] if index in found else None,
                    cosine_to_original=found[index][1] if index in found else None,
                    skipped=reason,
                )
                for index, (sight, reason) in enumerate(zip(sights, reasons, strict=True))
            ),
            face=options.face,
            seed=seed.seed,
            truncation=seed.truncation,
        )

    async def _targets(
        self, photo: RGBImage, chosen: Literal["all"] | tuple[int, ...]
    ) -> tuple[list[Sight], list[str | None], dict[int, Closeup]]:
        """Everyone in the photo from left to right, why each is left alone, and those who are not."""
        sights = await find(photo, self.detect, self.detect_small, self.landmarks)
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
        closeups = dict(zip(kept, await self._close_up(photo, [sights[i].face for i in kept]), strict=True))
        for index, closeup in closeups.items():
            reasons[index] = unfit_reason(closeup)
        require_one(reasons)
        return sights, reasons, {index: closeup for index, closeup in closeups.items() if reasons[index] is None}

    async def _close_up(self, picture: RGBImage, faces: Sequence[Face]) -> list[Closeup]:
        return await close_up(
            picture, faces, self.landmarks, self.parse, margin=MARGIN, smallest=SMALLEST_CROP, largest=LARGEST_CROP
        )

    async def _source(self, seed: FaceSeed) -> FaceView:
        """The virtual face; it is generated in place, so it needs no detector."""
        image = await self.generate(seed)
        side = image.shape[0] / 1024
        # Where the FFHQ template puts face and eyes (Karras et al., CVPR 2019, arXiv:1812.04948).
        template = Face(
            box=Box(210 * side, 270 * side, 814 * side, 960 * side),
            score=1.0,
            eyes=np.array([[385, 480], [639, 480]], np.float32) * np.float32(side),
        )
        mesh, labels = await asyncio.gather(
            self.landmarks(LandmarksInput(image=image, face=template)), self.parse(image)
        )
        return FaceView(image=image, landmarks=mesh.points, labels=labels)

    async def _reference(self, makeup: RGBImage | None) -> FaceView | None:
        if makeup is None:
            return None
        sights = await find(makeup, self.detect, self.detect_small, self.landmarks)
        sure = [sight.face for sight in sights if sight.sureness >= SURE]
        if not sure:
            raise NoFace("expected a make-up reference with a face, got one in which none was found")
        largest = max(sure, key=lambda face: face.box.area)
        return (await self._close_up(makeup, [largest]))[0].view

    async def _made_up(
        self,
        patches: list[RGBImage],
        targets: Sequence[Closeup],
        reference: FaceView | None,
        options: VirtualModelOptions,
    ) -> list[RGBImage]:
        if reference is None:
            return patches
        meshes, labels = await asyncio.gather(
            self.landmarks.many(
                [
                    LandmarksInput(image=p, face=outline(t.view.landmarks, 1.0))
                    for p, t in zip(patches, targets, strict=True)
                ]
            ),
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

    async def _meshes(self, patches: Sequence[RGBImage], targets: Sequence[Closeup]) -> list[FaceMesh]:
        """Landmarks of the new faces, looked for where the old ones were."""
        places = [outline(target.view.landmarks, 1.0) for target in targets]
        return await self.landmarks.many(
            [LandmarksInput(image=patch, face=face) for patch, face in zip(patches, places, strict=True)]
        )

    async def _cosines(
        self, patches: Sequence[RGBImage], targets: Sequence[Closeup], source: FaceView
    ) -> list[tuple[float, float]]:
        """Of each new face: cosine to the virtual face, cosine to the face it replaced."""
        meshes = await self.landmarks.many(
            [
                LandmarksInput(image=p, face=outline(t.view.landmarks, 1.0))
                for p, t in zip(patches, targets, strict=True)
            ]
        )
        count = len(patches)
        embeddings = await self.embed.many(
            [
                IdentityInput(image=source.image, landmarks=source.landmarks),
                *(IdentityInput(image=t.view.image, landmarks=t.view.landmarks) for t in targets),
                *(IdentityInput(image=p, landmarks=m.points) for p, m in zip(patches, meshes, strict=True)),
            ]
        )
        own, before, after = embeddings[0], embeddings[1 : 1 + count], embeddings[1 + count :]
        return [
            (round(float(new @ own), 4), round(float(new @ old), 4)) for old, new in zip(before, after, strict=True)
        ]


def _rounded(box: Box) -> tuple[float, float, float, float]:
    return round(box.left, 1), round(box.top, 1), round(box.right, 1), round(box.bottom, 1)
