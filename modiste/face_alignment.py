"""Where published face networks want a face to lie: templates of five points, and FFHQ's crop by landmarks.

Five points are float [5, 2], (x, y) pixels: left eye, right eye, nose, left and right corner of the mouth, left and
right as in the picture. Sixty-eight landmarks are in the order of dlib and 300-W.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modiste.geometry import Matrix, Points, similarity
from modiste.image import Landmarks, RGBImage

Template = NDArray[np.float64]
"""float64 [5, 2]: where the five points belong in a crop."""

FACEXLIB_BORDER = (135, 133, 132)
"""RGB that facexlib's crops show beyond the picture; the others are black there."""

_MEAN_FACE = np.array(
    [
        [38.29459953, 51.69630051],
        [73.53179932, 51.50139999],
        [56.02519989, 71.73660278],
        [41.54930115, 92.3655014],
        [70.72990036, 92.20410156],
    ]
)
_OF_MESH = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)
_FACEXLIB_512 = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)


def arcface_template(side: int) -> Template:
    """For ArcFace and what is trained on its crops (Deng et al., arXiv:1801.07698).

    side: pixels, a multiple of 112, or of 128: those crops show 8/128 more at either side
    raises: ValueError for other sides
    """
    mean_face: Template = np.round(_MEAN_FACE, 4)
    if side % 112 == 0:
        return mean_face * (side / 112)
    if side % 128 == 0:
        return np.asarray((mean_face + np.array([8, 0])) * (side / 128))
    raise ValueError(f"expected a side that 112 or 128 divides, got {side}")


def gpen_template(side: int = 512) -> Template:
    """For GPEN (Yang et al., arXiv:2105.06070): a quarter of the ArcFace crop is added on every side."""
    return (_MEAN_FACE + 112 / 4) * (side / (112 * 1.5))


def facexlib_template(side: int = 512) -> Template:
    """Where FFHQ's crops have the five points, as facexlib and GFPGAN use it."""
    return _FACEXLIB_512 * (side / 512)


def robust_similarity(points: Points, template: Template) -> Matrix:
    """Rotation + scale + shift by least median of squares: one wrong point of the five does no harm.

    returns: float64 [2, 3], picture to crop
    raises:  ValueError where the points lie all in one place
    """
    matrix, _ = cv2.estimateAffinePartial2D(points.astype(np.float64), template, method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("expected five points that a similarity transform can take to the template")
    return np.asarray(matrix, np.float64)


def crop_by_template(
    image: RGBImage, points: Points, template: Template, side: int, *, border: tuple[int, int, int] = (0, 0, 0)
) -> tuple[RGBImage, Matrix]:
    """Cut out a face by its five points.

    image:   uint8 [H, W, 3] RGB
    returns: uint8 [side, side, 3] RGB, `border` beyond the picture, and the matrix, picture to crop
    """
    matrix = similarity(points, template.astype(np.float32))
    cut = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=border)
    return RGBImage(cut), matrix


def five_points(landmarks: Points) -> Points:
    """landmarks: float [68, 2] -> float32 [5, 2]."""
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    return np.array([*eyes, landmarks[30], landmarks[48], landmarks[54]], np.float32)


def landmarks_of_mesh(mesh: Landmarks) -> Points:
    """The points of the 468-point mesh nearest to the 68 landmarks; the jaw's are where the mesh ends.

    mesh:    [468, 3]
    returns: float32 [68, 2]. On FFHQ-aligned pictures `ffhq_quad` of them lies within 1% of the side (one deviation:
             0.3% of place, 2% of scale, 0.4 degrees)
    """
    return np.ascontiguousarray(mesh[list(_OF_MESH), :2], dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quad:
    """The square that FFHQ cuts out around a face.

    corners: float64 [4, 2] pixels: top left, bottom left, bottom right, top right of the upright face
    side:    pixels
    """

    corners: NDArray[np.float64]
    side: float

    def moved(self, scale: float, shift: tuple[float, float]) -> "Quad":
        return Quad(corners=self.corners * scale + shift, side=self.side * scale)


def ffhq_quad(landmarks: Points) -> Quad:
    """The square by eyes and mouth (Karras et al., arXiv:1812.04948).

    landmarks: float [68, 2]
    """
    points = landmarks.astype(np.float64)
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    eyes, mouth = (left + right) / 2, (points[48] + points[54]) / 2
    across, down = right - left, mouth - eyes
    x = across - down[::-1] * (-1, 1)
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*x)
    y = x[::-1] * (-1, 1)
    centre = eyes + 0.1 * down
    corners = np.array([centre - x - y, centre - x + y, centre + x + y, centre + x - y])
    return Quad(corners=corners, side=2 * float(np.hypot(*x)))


def crop_like_ffhq(
    image: RGBImage, landmarks: Points, side: int = 256, *, sampled: int | None = None
) -> tuple[RGBImage, Matrix]:
    """Cut out a face as the FFHQ pictures were; beyond the picture its mirror image fades into one colour.

    image:     uint8 [H, W, 3] RGB
    landmarks: float [68, 2] pixels
    side:      of the crop, pixels
    sampled:   side that is sampled first and then reduced: 4096 for FFHQ itself (with side 1024); None for `side`,
               as the encoders of latents do
    returns:   uint8 [side, side, 3] RGB, and the matrix, picture to crop
    """
    quad = ffhq_quad(landmarks)
    around, local = ffhq_surroundings(image, quad, side)
    size = (sampled or side,) * 2
    data: Any = (local.corners + 0.5).ravel()
    picture = Image.fromarray(around).transform(size, Image.Transform.QUAD, data, Image.Resampling.BILINEAR)
    if size[0] > side:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    target = np.array([[0, 0], [0, side], [side, side], [side, 0]], np.float32) - np.float32(0.5)
    return RGBImage(np.asarray(picture)), similarity(quad.corners.astype(np.float32), target)


def ffhq_surroundings(image: RGBImage, quad: Quad, side: int) -> tuple[RGBImage, Quad]:
    """Reduce, cut and extend a picture to what a crop of `side` pixels is sampled from; the square in its pixels."""
    shrink = int(quad.side / side * 0.5)
    if shrink > 1:
        height, width = (round(length / shrink) for length in image.shape[:2])
        image = RGBImage(np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)))
        quad = quad.moved(1 / shrink, (0, 0))

    border = max(round(quad.side * 0.1), 3)
    height, width = image.shape[:2]
    left, top, right, bottom = _bounds(quad)
    left, top = max(left - border, 0), max(top - border, 0)
    right, bottom = min(right + border, width), min(bottom + border, height)
    image, quad = RGBImage(image[top:bottom, left:right]), quad.moved(1, (-left, -top))

    height, width = image.shape[:2]
    left, top, right, bottom = _bounds(quad)
    pads = [max(pad, 0) for pad in (border - left, border - top, right - width + border, bottom - height + border)]
    if max(pads) <= border - 4:
        return RGBImage(np.ascontiguousarray(image)), quad
    pads = [max(pad, round(quad.side * 0.3)) for pad in pads]
    return _extended(image, pads, quad.side * 0.02), quad.moved(1, (pads[0], pads[1]))


def _bounds(quad: Quad) -> tuple[int, int, int, int]:
    low, high = np.floor(quad.corners.min(0)).astype(int), np.ceil(quad.corners.max(0)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _extended(image: RGBImage, pads: list[int], sigma: float) -> RGBImage:
    """Mirror a picture outwards, ever more blurred, then ever nearer to its median colour.

    pads: left, top, right, bottom, pixels, each at least 1; sigma: of the blur, pixels
    """
    left, top, right, bottom = pads
    wide = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REFLECT_101).astype(np.float32)
    height, width = wide.shape[:2]

    def outwards(length: int, before: int, after: int) -> NDArray[np.float32]:
        """1 at either end, 0 where the picture begins, negative inside."""
        place = np.arange(length, dtype=np.float32)
        ends: NDArray[np.float32] = np.maximum(1 - place / np.float32(before), 1 - place[::-1] / np.float32(after))
        return ends

    mask = np.maximum(outwards(width, left, right)[None, :], outwards(height, top, bottom)[:, None])[..., None]
    taps = 2 * int(4 * sigma + 0.5) + 1
    soft = cv2.GaussianBlur(wide, (taps, taps), sigma, borderType=cv2.BORDER_REFLECT)
    wide += (soft - wide) * np.clip(mask * 3 + 1, 0, 1)
    wide += (np.median(wide, axis=(0, 1)) - wide) * np.clip(mask, 0, 1)
    return RGBImage(np.clip(np.rint(wide), 0, 255).astype(np.uint8))
