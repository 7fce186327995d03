"""ID photo: a portrait becomes a photo in a suit, in the size that an office asks for, and a sheet to print.

The head is found, set upright, measured from chin to crown and scaled to the format. Its hair and face are cut out
with a line below the chin, laid over a suit with the neck painted into the collar, before a plain background.
"""

import asyncio
from dataclasses import dataclass, field

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deployments.roles import (
    FaceDetection,
    FaceLandmarks,
    FaceParsing,
    FaceView,
    Matting,
    SmallFaceDetection,
    SuitComposition,
    SuitInput,
)
from graphs.base import Graph, uses
from graphs.face_finding import Closeup, cut_upright, find, fit
from graphs.id_format import Paper, Preset, layout, photo_format, pixels, print_sheet
from graphs.id_portrait import Head, check, check_yaw, choose, measure, place, roll_of, settle
from graphs.id_suits import Suit, SuitName, load_suit, suit_from
from modiste.errors import InvalidOption, UnsuitableSuit
from modiste.geometry import Matrix
from modiste.image import Mask, RGBAImage, RGBImage
from modiste.telemetry import step

VIEW_MARGIN, VIEW_LEAST, VIEW_MOST = 3.2, 640, 896
"""The head's surroundings in which it is parsed: over the face's box, and its side in pixels."""
WORK_LEAST, WORK_MOST = 900, 1800
"""Height of the canvas on which layers are composed, pixels."""
SUIT_SCALE = 1.04
COLLAR_BELOW, COLLAR_DEPTH = 0.55, 0.8
"""Eye distances from the chin down to a closed collar's front, about a sixth of a head, and from the corners of its
opening to the front; an open collar, which is deeper, hangs by its corners as a closed one does."""
MOST_SHEET_PIXELS = 48_000_000


class IdPhotoOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    suit: SuitName = Field(
        default="m_suit_navy", description="clothes: m_ cut for men, f_ for women; ignored where own_suit is given"
    )
    background: str = Field(default="#ffffff", pattern="^#[0-9a-fA-F]{6}$", description="colour as #rrggbb")
    size: Preset = Field(default="35x45mm", description="format of the photo; custom takes width_mm and height_mm")
    width_mm: float | None = Field(default=None, ge=15, le=120, description="width in mm, for size custom")
    height_mm: float | None = Field(default=None, ge=15, le=150, description="height in mm, for size custom")
    dpi: int = Field(default=300, ge=72, le=1200, description="pixels per inch of photo and sheet")
    head_ratio: float | None = Field(
        default=None,
        ge=0.4,
        le=0.85,
        description="chin to crown over the photo's height; the format's own where absent",
    )
    paper: Paper = Field(default="10x15cm", description="photo paper of the print sheet")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPhotoRequest:
    """portrait: one person facing the camera, crown inside; own_suit: clothes without a head on transparent ground,
    in the place of a named one."""

    portrait: RGBImage
    own_suit: RGBAImage | None = None
    options: IdPhotoOptions = field(default_factory=IdPhotoOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPhotoResult:
    """photo: in the exact size; sheet: copies of it on photo paper with marks to cut along.

    width_mm, height_mm, dpi: of the photo; head_mm: chin to crown; head_ratio: the same over the height
    copies: on the sheet; turned: degrees by which the head was set upright; yaw: degrees it looks aside
    """

    photo: RGBImage
    sheet: RGBImage
    width_mm: float
    height_mm: float
    dpi: int
    head_mm: float
    head_ratio: float
    copies: int
    turned: float
    yaw: float


class IdPhoto(Graph[IdPhotoRequest, IdPhotoResult]):
    """A suit ID photo and its print sheet from a portrait."""

    request = IdPhotoRequest
    result = IdPhotoResult
    detect = uses(FaceDetection)
    detect_small = uses(SmallFaceDetection)
    landmarks = uses(FaceLandmarks)
    parse = uses(FaceParsing)
    matte = uses(Matting)
    compose = uses(SuitComposition)

    async def __call__(self, request: IdPhotoRequest) -> IdPhotoResult:
        options, picture = request.options, request.portrait
        form = photo_format(options.size, options.width_mm, options.height_mm, options.head_ratio)
        width, height = pixels(form.width, options.dpi), pixels(form.height, options.dpi)
        plan = layout(options.paper, options.dpi, width, height)
        if plan.width * plan.height > MOST_SHEET_PIXELS:
            raise InvalidOption(
                f"expected a sheet of at most {MOST_SHEET_PIXELS} pixels, got {plan.width} x {plan.height}"
            )
        suit = load_suit(options.suit) if request.own_suit is None else suit_from(request.own_suit)

        sights = await find(picture, self.detect, self.detect_small, self.landmarks)
        sight = choose(sights)
        check(picture, sight)
        (cutting,) = cut_upright(picture, [sight.face], margin=VIEW_MARGIN, smallest=VIEW_LEAST, largest=VIEW_MOST)
        (mesh,) = await fit([sight.face], [cutting], self.landmarks)
        check_yaw(mesh.points)
        labels, matte = await asyncio.gather(self.parse(cutting.image), self.matte(cutting.image))
        labels = settle(labels, matte, mesh.points)
        closeup = Closeup(cutting=cutting, view=FaceView(image=cutting.image, landmarks=mesh.points, labels=labels))
        head = measure(closeup)

        work_height = int(np.clip(height, WORK_LEAST, WORK_MOST))
        work_width = max(1, round(work_height * width / height))
        with step("place"):
            to_canvas = head_matrix(head, form.head * work_height, form.above * work_height, work_width)
            placed = place(picture, closeup, to_canvas, work_height, work_width)
            dressed, opening = dress(suit, head, to_canvas, work_height, work_width)
        composed = await self.compose(
            SuitInput(
                portrait=placed.view,
                seen=placed.seen,
                suit=dressed,
                opening=opening,
                background=colour_of(options.background),
            )
        )
        with step("print"):
            shrinks = height <= work_height
            resized = cv2.resize(
                composed, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            )
            photo = RGBImage(np.asarray(resized, np.uint8))
            sheet = print_sheet(photo, plan, options.dpi)
        return IdPhotoResult(
            photo=photo,
            sheet=sheet,
            width_mm=form.width,
            height_mm=form.height,
            dpi=options.dpi,
            head_mm=round(form.head * form.height, 1),
            head_ratio=round(form.head, 3),
            copies=len(plan.corners),
            turned=round(-roll_of(sight), 1),
            yaw=round(head.yaw, 1),
        )


def colour_of(text: str) -> tuple[int, int, int]:
    """#rrggbb -> RGB."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def head_matrix(head: Head, tall: float, above: float, width: int) -> Matrix:
    """Close-up pixels to canvas pixels: crown `above` the upper edge's distance, head `tall`, in the middle.

    tall: chin to crown; above: crown to upper edge; width: of the canvas; all in canvas pixels
    """
    scale = tall / (head.chin - head.crown)
    return np.array([[scale, 0, (width - 1) / 2 - scale * head.middle], [0, scale, above - scale * head.crown]])


def dress(suit: Suit, head: Head, to_canvas: Matrix, height: int, width: int) -> tuple[RGBAImage, Mask]:
    """The suit under the head, in its size: warped picture and opening.

    raises: UnsuitableSuit where the suit ends above the photo's lower edge
    """
    scale_head = float(to_canvas[0, 0])
    neck, chin = scale_head * head.neck + to_canvas[0, 2], scale_head * head.chin + to_canvas[1, 2]
    own_apart = float(np.linalg.norm(suit.eyes[1] - suit.eyes[0]))
    apart = scale_head * float(np.linalg.norm(head.eyes[1] - head.eyes[0]))
    scale = SUIT_SCALE * apart / own_apart
    rows, columns = np.nonzero(suit.opening > 127)
    corners, middle = float(rows.min()), (float(columns.min()) + float(columns.max())) / 2
    front = min(float(rows.max()), corners + COLLAR_DEPTH * apart / scale)
    down = chin + COLLAR_BELOW * apart - scale * front
    matrix = np.array([[scale, 0, neck - scale * middle], [0, scale, down]])
    bottom = scale * float(np.flatnonzero((suit.picture[..., 3] > 127).any(axis=1))[-1]) + down
    if bottom < height - 2:
        raise UnsuitableSuit(
            f"expected a suit that reaches the photo's lower edge, got one that ends {height - bottom:.0f} of {height} "
            "pixels above it: send a longer suit or ask for a larger head"
        )
    cloth = suit.picture[..., 3:].astype(np.float32) / 255
    layered = np.concatenate([suit.picture[..., :3] * cloth, suit.picture[..., 3:].astype(np.float32)], axis=2)
    if scale < 0.6:
        small = cv2.resize(layered, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        layered = cv2.warpAffine(small, np.array([[1, 0, matrix[0, 2]], [0, 1, down]]), (width, height))
    else:
        layered = cv2.warpAffine(layered, matrix, (width, height), flags=cv2.INTER_LINEAR)
    share = np.maximum(layered[..., 3:] / 255, 1e-3)
    colour = np.where(layered[..., 3:] > 0, layered[..., :3] / share, 0)
    dressed = np.clip(np.rint(np.concatenate([colour, layered[..., 3:]], axis=2)), 0, 255).astype(np.uint8)
    opening = cv2.warpAffine(suit.opening, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return RGBAImage(dressed), Mask(np.where(opening > 127, 255, 0).astype(np.uint8))
