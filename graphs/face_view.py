"""A face with its surroundings, cut out of a picture at a size that suits the models."""

from dataclasses import dataclass

import cv2
import numpy as np

from deployments.roles import Face, FaceView
from modiste.geometry import Box, Matrix, invert, transform, warp
from modiste.image import LabelMap, Landmarks, RGBImage


@dataclass(frozen=True, slots=True)
class Cutting:
    """image: the crop; matrix: picture points to crop points (for `modiste.geometry.paste`)."""

    image: RGBImage
    matrix: Matrix

    def inward(self, points: Landmarks) -> Landmarks:
        """Picture coordinates -> crop coordinates."""
        return _moved(points, self.matrix)

    def face_inward(self, face: Face) -> Face:
        """A face of the picture in crop coordinates; a turned box keeps its size."""
        scale = float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))
        # Box coordinates are edges, point coordinates pixel centres.
        centre = np.array([face.box.centre], np.float32) - 0.5
        x, y = (float(v) for v in transform(centre, self.matrix)[0] + 0.5)
        w, h = face.box.width * scale / 2, face.box.height * scale / 2
        return Face(box=Box(x - w, y - h, x + w, y + h), score=face.score, eyes=transform(face.eyes, self.matrix))

    def outward(self, points: Landmarks) -> Landmarks:
        """Crop coordinates -> picture coordinates."""
        return _moved(points, invert(self.matrix))


def cut_out(
    image: RGBImage, face: Face, *, margin: float, smallest: int, largest: int, upright: bool = False
) -> Cutting:
    """A square around a face; beyond the picture its edge is repeated.

    margin:   side of the square over the longer side of the face's box
    smallest: small faces are enlarged to this many pixels, which landmarks and parsing need
    largest:  large ones are shrunk to this many
    upright:  turn the square with the head, until the eyes are level
    """
    (x, y), side = face.box.centre, max(4, round(max(face.box.width, face.box.height) * margin))
    pixels = int(np.clip(side, smallest, largest))
    scale = pixels / side
    if pixels == side:
        # Whole-pixel corners: nothing is resampled.
        x, y = round(x - side / 2) + side / 2, round(y - side / 2) + side / 2
    across = face.eyes[1].astype(np.float64) - face.eyes[0]
    turn = np.arctan2(across[1], across[0]) if upright else 0.0
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[cos, sin], [-sin, cos]])
    # Box coordinates are edges, point coordinates pixel centres.
    shift = (pixels - 1) / 2 - linear @ np.array([x - 0.5, y - 0.5])
    matrix = np.column_stack([linear, shift])
    return Cutting(warp(image, matrix, pixels, pixels), matrix)


def _moved(points: Landmarks, matrix: Matrix) -> Landmarks:
    scale = np.float32(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    return Landmarks(np.hstack([transform(points, matrix), points[:, 2:] * scale]))


def shrunk(view: FaceView, side: int) -> FaceView:
    """The same view with at most `side` pixels along a side."""
    height, width = view.image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return view
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scale = np.array([size[0] / width, size[1] / height, factor], np.float32)
    # Pixel centres lie at integers; depth has no half pixel.
    half = np.array([0.5, 0.5, 0], np.float32)
    return FaceView(
        image=RGBImage(cv2.resize(view.image, size, interpolation=cv2.INTER_AREA)),
        landmarks=Landmarks((view.landmarks + half) * scale - half),
        labels=LabelMap(cv2.resize(view.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)),
    )
