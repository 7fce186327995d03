"""Try-on: a photo of a person and a photo of a garment give the person wearing the garment.

The person is looked at in a crop at working resolution: pose, matte, parts. The garment is cut out, from its own
wearer where the photo shows one. It is bent onto the body piece by piece and composed between what lies behind it
(skin, lower garment, backdrop) and in front (hair, face, arms and hands). What cannot be done well is refused.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from deployments.roles import (
    Article,
    BodySurface,
    Category,
    DensePose,
    Dressed,
    FashionEmbedding,
    GarmentMask,
    GarmentSynthesis,
    GarmentWarp,
    HumanParsing,
    Matting,
    ParsingInput,
    Pose,
    PoseEstimation,
    SynthesisInput,
    Tuck,
    WarpInput,
)
from graphs.base import Graph, may_use, uses
from modiste.errors import NoGarment, NoPerson, PersonTooSmall
from modiste.geometry import Box, crop
from modiste.image import Embedding, LabelMap, Mask, RGBAImage, RGBImage
from modiste.labels import BodyPart
from modiste.telemetry import step

WORK_SIDE = 1024
"""Longer side of the crop in which the person is dressed, pixels."""
MARGIN = 1.25
"""Crop over the person's box."""
LEAST_PERSON = 120
"""Height of the person's box, pixels."""
UNLIKE = 22.0
"""Lab distance from the backdrop's median from which a pixel is not the backdrop."""
GREY = 128


class TryOnOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    category: Literal["auto", "upper", "lower", "dress"] = Field(
        default="auto", description="where the garment goes; auto decides by its look and outline"
    )
    tuck: Tuck = Field(
        default="auto",
        description="where an upper and a lower garment meet: auto = as in the photo, in = the upper inside the "
        "lower, out = the upper hangs over the lower",
    )
    background: str = Field(
        default="keep", pattern="^(keep|#[0-9a-fA-F]{6})$", description='"keep", or the new colour as #rrggbb'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOnRequest:
    """person: one person seen from the front, hips or more in the picture; garment: flat, on a hanger or worn."""

    person: RGBImage
    garment: RGBImage
    options: TryOnOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOnResult:
    """image: the person's photo with the garment on, same size.

    agnostic: the person on grey without the garment that is replaced; cutout: the garment alone on grey;
    warped: the garment bent onto the body, on grey; category: where the garment went
    """

    image: RGBImage
    agnostic: RGBImage
    cutout: RGBImage
    warped: RGBImage
    category: Category


class TryOn(Graph[TryOnRequest, TryOnResult]):
    request = TryOnRequest
    result = TryOnResult

    pose = uses(PoseEstimation)
    parse = uses(HumanParsing)
    surface = may_use(DensePose)
    matte = uses(Matting)
    mask = uses(GarmentMask)
    look = uses(FashionEmbedding)
    warp = uses(GarmentWarp)
    compose = uses(GarmentSynthesis)

    async def __call__(self, request: TryOnRequest) -> TryOnResult:
        options = request.options
        garment_photo = shrunk(request.garment)
        people, wearers = await self.pose.many([request.person, garment_photo])
        if not people:
            raise NoPerson("expected a photo of a person, got none that can be recognised")
        view, region = person_view(request.person, people[0])
        category: Category | None = None if options.category == "auto" else options.category
        person, (garment, look, wearer) = await asyncio.gather(
            self._person(view, people[0], region), self._garment(garment_photo, wearers, category)
        )
        warped = await self.warp(
            WarpInput(garment=garment, category=category, look=look, tuck=options.tuck, wearer=wearer, person=person)
        )
        background = None if options.background == "keep" else colour_of(options.background)
        dressed = await self.compose(
            SynthesisInput(image=view, person=person, warped=warped, tuck=options.tuck, background=background)
        )
        with step("paste"):
            image = paste_changes(request.person, view, dressed.image, region, background)
        return TryOnResult(
            image=image,
            agnostic=dressed.agnostic,
            cutout=on_plain(garment, GREY),
            warped=on_plain(warped.layer, GREY),
            category=warped.category,
        )

    async def _person(self, view: RGBImage, pose: Pose, region: Box) -> Dressed:
        """What is known of the person in the crop."""
        keypoints = pose.keypoints.copy()
        factor = view.shape[0] / region.height
        keypoints[:, :2] = (keypoints[:, :2] - (region.left, region.top) + 0.5) * factor - 0.5
        parsing, matte, surface = await asyncio.gather(
            self.parse(ParsingInput(image=view, keypoints=keypoints)), self.matte(view), self._surface(view)
        )
        labels = with_matte(parsing.labels, matte, view)
        return Dressed(labels=labels, keypoints=keypoints, person=matte, clothes=parsing.clothes, surface=surface)

    async def _surface(self, view: RGBImage) -> BodySurface | None:
        return None if self.surface is None else await self.surface(view)

    async def _garment(
        self, photo: RGBImage, wearers: tuple[Pose, ...], category: Category | None
    ) -> tuple[RGBAImage, Embedding | None, Dressed | None]:
        """The garment's own pixels, what they look like, and who wears it if anyone does."""
        if wearers:
            whole = Box(0, 0, photo.shape[1], photo.shape[0])
            worn = await self._person(photo, wearers[0], whole)
            if is_worn(worn.labels):
                return cut_worn(photo, worn, category), None, worn
        garment = RGBAImage(np.dstack([photo, await self.mask(photo)]))
        return garment, await self.look(Article(image=on_plain(garment, 255))), None


def shrunk(photo: RGBImage) -> RGBImage:
    """At most WORK_SIDE pixels on the longer side."""
    factor = WORK_SIDE / max(photo.shape[0], photo.shape[1])
    if factor >= 1:
        return photo
    return RGBImage(cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))


def person_view(photo: RGBImage, pose: Pose) -> tuple[RGBImage, Box]:
    """The crop around a person, at most WORK_SIDE pixels, and the whole-pixel part of the photo it shows."""
    if pose.box.height < LEAST_PERSON:
        raise PersonTooSmall(f"expected a person at least {LEAST_PERSON} pixels high, got {pose.box.height:.0f}")
    box = pose.box.scaled(MARGIN)
    side = 0.2 * pose.box.height
    wide = Box(min(box.left, pose.box.left - side), box.top, max(box.right, pose.box.right + side), box.bottom)
    view, region = crop(photo, wide)
    return shrunk(view), region


def with_matte(labels: LabelMap, matte: Mask, view: RGBImage) -> LabelMap:
    """Solid foreground that the parser took for background (dark cloth, mostly) gets the nearest garment's label.

    What has the backdrop's colour stays background: mattes close the gap between arm and body.
    """
    joined = labels.copy()
    missed = (labels == BodyPart.BACKGROUND) & (matte > 200)
    clear = (labels == BodyPart.BACKGROUND) & (matte < 20)
    if clear.any():
        lab = cv2.cvtColor(view, cv2.COLOR_RGB2LAB).astype(np.float32)
        missed &= np.linalg.norm(lab - np.median(lab[clear], axis=0), axis=2) > UNLIKE
    garments = np.isin(labels, (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT))
    if not missed.any() or not garments.any():
        return LabelMap(joined)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(missed.astype(np.uint8))
    small = stats[:, cv2.CC_STAT_AREA] < 30
    small[0] = True
    wanted = ~small[pieces]
    _, nearest = cv2.distanceTransformWithLabels(
        (~garments).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(int(nearest.max()) + 1, np.uint8)
    values[nearest[garments]] = labels[garments]
    joined[wanted] = values[nearest[wanted]]
    return LabelMap(joined)


def is_worn(labels: LabelMap) -> bool:
    """Whether a garment's photo shows a person: a face, and not a tiny one beside much cloth."""
    face = int(np.count_nonzero(labels == BodyPart.FACE))
    cloth = int(np.count_nonzero(np.isin(labels, (BodyPart.UPPER_GARMENT, BodyPart.LOWER_GARMENT))))
    return face > 0.03 * max(1, cloth)


def cut_worn(photo: RGBImage, worn: Dressed, category: Category | None) -> RGBAImage:
    """The garment's pixels of a person who wears it; without a category, the one that fills more of the photo."""
    upper = worn.labels == BodyPart.UPPER_GARMENT
    lower = worn.labels == BodyPart.LOWER_GARMENT
    chosen = {"upper": upper, "lower": lower, "dress": upper | lower}.get(
        category or ("upper" if upper.sum() >= lower.sum() else "lower")
    )
    assert chosen is not None
    if np.count_nonzero(chosen) < 0.02 * chosen.size:
        raise NoGarment("expected a photo in which the garment is large and in view, got too little of it")
    chosen = chosen & ~_shining_through(photo, chosen, worn)
    soft = cv2.GaussianBlur(chosen.astype(np.float32), (0, 0), 1.0)
    alpha = np.clip(soft * 2 - 0.7, 0, 1) * 255
    return RGBAImage(np.dstack([photo, np.rint(alpha).astype(np.uint8)]))


def _shining_through(photo: RGBImage, cloth: NDArray[np.bool_], worn: Dressed) -> NDArray[np.bool_]:
    """Backdrop taken for cloth between arm and body: its colour, at the edge of unlike cloth."""
    clear = (worn.labels == BodyPart.BACKGROUND) & (worn.person < 20)
    if not clear.any():
        return np.zeros_like(cloth)
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB).astype(np.float32)
    distance = np.linalg.norm(lab - np.median(lab[clear], axis=0), axis=2)
    if float(np.median(distance[cloth])) < 2 * UNLIKE:
        return np.zeros_like(cloth)
    _, pieces = cv2.connectedComponents((cloth & (distance < 0.6 * UNLIKE)).astype(np.uint8))
    edge = cloth & (cv2.erode(cloth.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0)
    found = np.isin(pieces, np.setdiff1d(np.unique(pieces[edge]), 0))
    return np.asarray(cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def colour_of(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def on_plain(layer: RGBAImage, grey: int) -> RGBImage:
    alpha = layer[..., 3:].astype(np.float32) / 255
    return RGBImage(np.rint(grey + (layer[..., :3].astype(np.float32) - grey) * alpha).astype(np.uint8))


def paste_changes(
    photo: RGBImage, view: RGBImage, dressed: RGBImage, region: Box, background: tuple[int, int, int] | None
) -> RGBImage:
    """Lay the dressed crop back; pixels that did not change keep the photo's own detail."""
    rows = slice(int(region.top), int(region.bottom))
    columns = slice(int(region.left), int(region.right))
    result = photo.copy()
    if background is not None:
        result[:] = background
    size = (columns.stop - columns.start, rows.stop - rows.start)
    if view.shape[:2] == (size[1], size[0]):
        result[rows, columns] = dressed
        return RGBImage(result)
    enlarged = cv2.resize(dressed, size, interpolation=cv2.INTER_CUBIC)
    if background is not None:
        result[rows, columns] = enlarged
        return RGBImage(result)
    changed = (dressed != view).any(axis=2).astype(np.float32)
    share = cv2.GaussianBlur(cv2.dilate(changed, np.ones((3, 3), np.uint8)), (0, 0), 0.8)
    share = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)[..., None]
    mixed = result[rows, columns] * (1 - share) + enlarged * share
    result[rows, columns] = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    return RGBImage(result)
