"""Sizes of ID photos, and copies of one laid out on photo paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from modiste.errors import InvalidOption
from modiste.image import RGBImage

MM_PER_INCH: Final = 25.4
Preset = Literal["35x45mm", "3x4cm", "us_2x2in", "custom"]
Paper = Literal["10x15cm", "13x18cm", "a4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFormat:
    """width, height: mm; head: chin to crown as a share of the height; above: crown to upper edge, likewise."""

    width: float
    height: float
    head: float
    above: float


PRESETS: Final[Mapping[str, PhotoFormat]] = {
    # ICAO 9303 and its European readings: head 32-36 mm of 45 mm.
    "35x45mm": PhotoFormat(width=35, height=45, head=0.72, above=0.08),
    "3x4cm": PhotoFormat(width=30, height=40, head=0.62, above=0.1),
    # US Department of State: head 1 to 1 3/8 in of 2 in, eyes 1 1/8 to 1 3/8 in from the lower edge.
    "us_2x2in": PhotoFormat(width=50.8, height=50.8, head=0.6, above=0.1),
}
PAPERS: Final[Mapping[str, tuple[float, float]]] = {"10x15cm": (100, 150), "13x18cm": (130, 180), "a4": (210, 297)}
"""mm, shorter side first."""

GAP_MM = 3.0
MARGIN_MM = 4.0
MARK_MM = 2.0
"""Space between copies, least blank border, and length of a cut mark (inside the gap and the border)."""
MARK_GREY = 128


def pixels(mm: float, dpi: int) -> int:
    return round(mm / MM_PER_INCH * dpi)


def photo_format(preset: Preset, width_mm: float | None, height_mm: float | None, head: float | None) -> PhotoFormat:
    """The preset, or a format of one's own, with the head's share where it is given.

    raises: InvalidOption where a custom size lacks a side, or a preset is given one
    """
    if preset == "custom":
        if width_mm is None or height_mm is None:
            raise InvalidOption("expected width_mm and height_mm with size custom, got none for one of them")
        found = PhotoFormat(width=width_mm, height=height_mm, head=0.62, above=0.1)
    else:
        if width_mm is not None or height_mm is not None:
            raise InvalidOption(f"expected width_mm and height_mm with size custom only, got them with {preset}")
        found = PRESETS[preset]
    if head is None:
        return found
    # The space above shrinks or grows with what the head leaves, in the preset's proportion.
    above = found.above * (1 - head) / (1 - found.head)
    return PhotoFormat(width=found.width, height=found.height, head=head, above=above)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetLayout:
    """Pixels. corners: upper left corner (x, y) of each copy, row by row."""

    width: int
    height: int
    corners: tuple[tuple[int, int], ...]


def layout(paper: Paper, dpi: int, width: int, height: int) -> SheetLayout:
    """As many copies as fit, on the paper upright or lying, whichever holds more.

    width, height: of one copy, pixels
    raises:        InvalidOption where not even one fits
    """
    gap, margin = pixels(GAP_MM, dpi), pixels(MARGIN_MM, dpi)
    short, long = (pixels(side, dpi) for side in PAPERS[paper])
    best: SheetLayout | None = None
    for paper_width, paper_height in ((short, long), (long, short)):
        columns = (paper_width - 2 * margin + gap) // (width + gap)
        rows = (paper_height - 2 * margin + gap) // (height + gap)
        if columns < 1 or rows < 1 or (best is not None and columns * rows <= len(best.corners)):
            continue
        left = (paper_width - columns * width - (columns - 1) * gap) // 2
        top = (paper_height - rows * height - (rows - 1) * gap) // 2
        corners = tuple(
            (left + column * (width + gap), top + row * (height + gap))
            for row in range(rows)
            for column in range(columns)
        )
        best = SheetLayout(width=paper_width, height=paper_height, corners=corners)
    if best is None:
        raise InvalidOption(f"expected a photo that fits on {paper}, got {width} x {height} pixels at {dpi} dpi")
    return best


def print_sheet(photo: RGBImage, plan: SheetLayout, dpi: int) -> RGBImage:
    """Copies on white with marks to cut along; no mark touches a copy."""
    height, width = photo.shape[:2]
    sheet = np.full((plan.height, plan.width, 3), 255, np.uint8)
    length, space = pixels(MARK_MM, dpi), max(1, pixels(0.4, dpi))
    grey = (MARK_GREY, MARK_GREY, MARK_GREY)
    for left, top in plan.corners:
        for x in (left, left + width - 1):
            cv2.line(sheet, (x, top - space - length), (x, top - space), grey, 1)
            cv2.line(sheet, (x, top + height - 1 + space), (x, top + height - 1 + space + length), grey, 1)
        for y in (top, top + height - 1):
            cv2.line(sheet, (left - space - length, y), (left - space, y), grey, 1)
            cv2.line(sheet, (left + width - 1 + space, y), (left + width - 1 + space + length, y), grey, 1)
    for left, top in plan.corners:
        sheet[top : top + height, left : left + width] = photo
    return RGBImage(sheet)
