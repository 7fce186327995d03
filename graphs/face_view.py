"""A face with its surroundings, cut out of a picture at a size that suits the models."""

from dataclasses import dataclass

import numpy as np

from deployments.roles import Face
from modiste.geometry import Matrix, invert, transform, warp
from modiste.image import Landmarks, RGBImage


@dataclass(frozen=True, slots=True)
class Cutting:
    """image: the crop; matrix: picture points to crop points (for `modiste.geometry.paste`)."""

    image: RGBImage
    matrix: Matrix

    def inward(self, points: Landmarks) -> Landmarks:
        """Picture coordinates -> crop coordinates."""
        return _moved(points, self.matrix)

    def outward(self, points: Landmarks) -> Landmarks:
        """Crop coordinates -> picture coordinates."""
        return _moved(points, invert(self.matrix))


def cut_out(image: RGBImage, face: Face, *, margin: float, smallest: int, largest: int) -> Cutting:
    """A square around a face; beyond the picture its edge is repeated.

    margin:   side of the square over the longer side of the face's box
    smallest: small faces are enlarged to this many pixels, which landmarks and parsing need
    largest:  large ones are shrunk to this many
    """
    (x, y), side = face.box.centre, max(face.box.width, face.box.height, 4.0) * margin
    pixels = int(np.clip(round(side), smallest, largest))
    scale = pixels / side
    # Box coordinates are edges, point coordinates pixel centres.
    corner = np.array([x - side / 2, y - side / 2])
    shift = -corner * scale + 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return Cutting(warp(image, matrix, pixels, pixels), matrix)


def _moved(points: Landmarks, matrix: Matrix) -> Landmarks:
    scale = np.float32(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    return Landmarks(np.hstack([transform(points, matrix), points[:, 2:] * scale]))
