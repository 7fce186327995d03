"""What of an ID photo is painted, what lies over it, and the square that the networks see.

The line between both is the outline of face and hair, wherever hair falls: long hair lies over the suit.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deployments.roles import FaceView, SuitInput
from modiste.errors import UnsuitablePortrait, UnsuitableSuit
from modiste.image import Mask, RGBImage
from modiste.labels import FacePart

HEAD_PARTS: Final = tuple(
    part for part in FacePart if part not in (FacePart.BACKGROUND, FacePart.NECK, FacePart.NECKLACE, FacePart.CLOTH)
)
UNDER_CHIN: Final = (150, 149, 176, 148, 152, 377, 400, 378, 379)
"""Mesh points along the jaw between which a neck begins."""
CHIN: Final = 152
EYES: Final = ((33, 133), (362, 263))
"""Mesh points: the lowest of the jaw; corners of each eye."""
THIN: Final = 0.15
"""Width of points of skin below the jaw over the distance of the eyes."""
EDGE: Final = 1.0
"""Deviation of the blur along outlines, pixels."""
AROUND: Final = 1.25
"""Side of the square over the longer side of what is painted."""
BEYOND: Final = 9
"""Pixels of the networks' picture, across, of the disc by which more is painted than is taken."""

Share = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """painted: [H, W] 0-1, suit, its opening and the neck, from back to front before the head

    head: bool [H, W], face and hair; over: [H, W] 0-1, the same with a soft rim outside
    """

    painted: Share
    head: NDArray[np.bool_]
    over: Share


def layers(x: SuitInput) -> Layers:
    """raises: UnsuitableSuit where the suit is transparent everywhere"""
    if not x.suit[..., 3].any():
        raise UnsuitableSuit("expected a suit in the photo, got one that is transparent everywhere")
    head = head_of(x.portrait, x.seen)
    neck = np.zeros(head.shape, np.uint8)
    rows, columns = np.nonzero(x.opening > 127)
    below = np.concatenate([x.portrait.landmarks[list(UNDER_CHIN), :2], np.stack([columns, rows], axis=1)])
    cv2.fillConvexPoly(neck, cv2.convexHull(np.rint(below).astype(np.int32)), 255)
    cloth = np.maximum(x.suit[..., 3], _soft(np.maximum(neck, x.opening)))
    painted = np.where(head, 0, cloth.astype(np.float32) / 255).astype(np.float32)
    over = np.minimum(2 * cv2.GaussianBlur(head.astype(np.float32), (0, 0), EDGE), 1)
    return Layers(painted=painted, head=head, over=np.where(head, 1, over).astype(np.float32))


def head_of(portrait: FaceView, seen: Mask) -> NDArray[np.bool_]:
    """Face and hair that hang together with the face; parsers find hair in dark clothes, too.

    Without thin points of skin below the jaw, which are throat, and without gaps that the head encloses.
    """
    labels, points = portrait.labels, portrait.landmarks[:, :2]
    jaw, chin = (max(0, round(float(at))) for at in (points[list(UNDER_CHIN), 1].min(), points[CHIN, 1]))
    found = np.isin(labels, HEAD_PARTS) & (seen > 0)
    skin = found & (labels == FacePart.SKIN)
    apart = float(np.linalg.norm(points[list(EYES[1])].mean(axis=0) - points[list(EYES[0])].mean(axis=0)))
    width = max(1, round(THIN * apart))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    thick = cv2.morphologyEx(skin.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    found[jaw:] &= ~skin[jaw:] | thick[jaw:]
    _, patches = cv2.connectedComponents(found.astype(np.uint8))
    ids, counts = np.unique(patches[found & skin], return_counts=True)
    if ids.size:
        found = patches == ids[counts.argmax()]
    found[:chin] |= ndimage.binary_fill_holes(found[:chin]) & (seen[:chin] > 0)
    return found


@dataclass(frozen=True, slots=True)
class Square:
    """Whole pixels of the photo, perhaps beyond its edges."""

    left: int
    top: int
    side: int

    def cut(self, planes: NDArray[np.uint8], outside: int | tuple[int, int, int], size: int) -> NDArray[np.uint8]:
        """The square of a picture [H, W] or [H, W, C], brought to `size`; outside: beyond its edges."""
        place, part = self._overlap(*planes.shape[:2])
        whole = np.empty((self.side, self.side, *planes.shape[2:]), np.uint8)
        whole[:] = outside
        whole[part] = planes[place]
        method = cv2.INTER_AREA if self.side > size else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(whole, (size, size), interpolation=method), np.uint8)

    def back(self, picture: RGBImage, canvas: RGBImage) -> RGBImage:
        """A copy of the canvas with a picture of the square in its place."""
        place, part = self._overlap(*canvas.shape[:2])
        method = cv2.INTER_AREA if self.side < picture.shape[0] else cv2.INTER_CUBIC
        laid = canvas.copy()
        laid[place] = cv2.resize(picture, (self.side, self.side), interpolation=method)[part]
        return RGBImage(laid)

    def _overlap(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the square lies in a picture, and which part of the square that is."""
        rows, columns = (
            slice(max(at, 0), min(at + self.side, limit)) for at, limit in ((self.top, height), (self.left, width))
        )
        return (rows, columns), (
            slice(rows.start - self.top, rows.stop - self.top),
            slice(columns.start - self.left, columns.stop - self.left),
        )


def square_around(painted: Share) -> Square:
    """What is painted with some of the head above it; it ends where the photo does, as suits do.

    raises: UnsuitablePortrait where head and hair leave nothing to paint
    """
    rows, columns = np.nonzero(painted)
    if rows.size == 0:
        raise UnsuitablePortrait("expected a portrait with a neck below the chin, got head and hair everywhere there")
    tall, wide = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    side = round(AROUND * max(tall, wide))
    middle = (int(columns.min()) + int(columns.max()) + 1) // 2
    return Square(middle - side // 2, int(rows.max()) + 1 - side, side)


def to_paint(found: Layers, square: Square, size: int) -> Mask:
    """What the networks paint: 255, somewhat more than is taken but nothing of the head."""
    taken = square.cut(np.where(found.painted > 0, 255, 0).astype(np.uint8), 0, size) > 0
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (BEYOND, BEYOND))
    more = cv2.dilate(taken.astype(np.uint8), disc) > 0
    head = square.cut(found.head.astype(np.uint8) * 255, 0, size) > 127
    return Mask(np.where(more & ~head, 255, 0).astype(np.uint8))


def example_of(x: SuitInput) -> RGBImage:
    """The suit alone on the background's colour, square."""
    rows, columns = np.nonzero(x.suit[..., 3] > 0)
    cut = x.suit[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float32)
    side = max(cut.shape[:2])
    example = np.empty((side, side, 3), np.float32)
    example[:] = x.background
    top, left = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    place = example[top : top + cut.shape[0], left : left + cut.shape[1]]
    place += (cut[..., :3] - place) * (cut[..., 3:] / 255)
    return RGBImage(np.rint(example).astype(np.uint8))


def under_head(photo: Share, x: SuitInput, found: Layers) -> RGBImage:
    """The head over a photo [H, W, 3]; its own pixels are the portrait's."""
    mixed = photo + (x.portrait.image - photo) * found.over[..., None]
    return RGBImage(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _soft(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), EDGE), np.uint8)
