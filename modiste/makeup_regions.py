"""The square that published make-up networks see of a portrait, and where their make-up may go."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.face_alignment import landmarks_of_mesh
from modiste.face_blend import Share, are, grown, loop, soft_edge, width_of
from modiste.face_mesh import LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_EYE
from modiste.geometry import Points
from modiste.image import LabelMap, Landmarks, RGBImage
from modiste.labels import FacePart as F

ABOVE, BELOW = 0.6 / 0.85, 0.2 / 0.85
"""What PSGAN (arXiv:1909.06956) shows above and below the face's box, in its heights."""
_LIPS = (F.UPPER_LIP, F.LOWER_LIP)
_SKIN = (F.SKIN, F.NOSE)
_AROUND_EYE = 0.12
"""How far eye shadow reaches, in widths of the face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Whole pixels of a picture, which may lie partly outside."""

    left: int
    top: int
    side: int

    def cut(self, image: RGBImage) -> RGBImage:
        """[side, side, 3]; edge pixels repeat outside"""
        return RGBImage(self._moved(image, cv2.BORDER_REPLICATE))

    def cut_labels(self, labels: LabelMap) -> LabelMap:
        """[side, side]; background outside"""
        return LabelMap(self._moved(labels, cv2.BORDER_CONSTANT))

    def _moved(self, picture: NDArray[np.uint8], border: int) -> NDArray[np.uint8]:
        matrix = np.array([[1.0, 0, -self.left], [0, 1, -self.top]])
        size = (self.side, self.side)
        return np.asarray(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_NEAREST, borderMode=border), np.uint8)

    def points(self, points: Points, side: int) -> Points:
        """The picture's points, in the square reduced to `side` pixels."""
        moved = (points[:, :2] - (self.left, self.top) + 0.5) * (side / self.side) - 0.5
        return np.asarray(moved, np.float32)

    def put_back(self, cut: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """[side, side, C] as the picture has it: [height, width, C], 0 outside"""
        matrix = np.array([[1.0, 0, self.left], [0, 1, self.top]])
        back = cv2.warpAffine(cut, matrix, (width, height), flags=cv2.INTER_NEAREST)
        return np.asarray(back, np.float32)


def portrait_square(mesh: Landmarks) -> Square:
    """Forehead, hair and chin as PSGAN's pictures show them; the box of 68 landmarks stands for a detector's."""
    points = landmarks_of_mesh(mesh)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    height = float(bottom - top)
    side = max(8, round(height * (1 + ABOVE + BELOW)))
    return Square(left=round(float(left + right) / 2 - side / 2), top=round(float(top) - ABOVE * height), side=side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Together at most 1 at any place; 0 on hair, eyes, teeth, glasses and whatever is in front."""

    lips: Share
    eyes: Share
    skin: Share

    def weighted(self, lips: float, eyes: float, skin: float) -> Share:
        return np.asarray(self.lips * lips + self.eyes * eyes + self.skin * skin, np.float32)


def regions(mesh: Landmarks, labels: LabelMap) -> Regions:
    """Lips by parsing near the mesh's; eyes: bare skin and brows around them; skin: the rest of the face's."""
    width, shape = width_of(mesh), labels.shape
    lips = are(labels, _LIPS) & grown(loop(mesh, LIPS_OUTER, shape), width * 0.03)
    bare = are(labels, _SKIN) & loop(mesh, OVAL, shape) & ~loop(mesh, LIPS_OUTER, shape)
    opened = loop(mesh, LEFT_EYE, shape) | loop(mesh, RIGHT_EYE, shape)
    near = grown(opened, width * _AROUND_EYE)
    eyes = cv2.GaussianBlur(near.astype(np.float32), (0, 0), max(0.6, width * 0.03))
    lids = (are(labels, (*_SKIN, F.LEFT_BROW, F.RIGHT_BROW)) & ~opened) * eyes
    return Regions(
        lips=soft_edge(lips, width * 0.01),
        eyes=np.asarray(lids * (1 - soft_edge(lips, 1)), np.float32),
        skin=np.asarray(soft_edge(bare, width * 0.04) * (1 - eyes), np.float32),
    )
