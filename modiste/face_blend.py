"""Laying a new face over the one in a picture: what may be replaced, whose skin colour it has, a soft seam.

For faces that a network made in an aligned square. Hair, hats, hands, the frames of glasses and whatever else the
parsing does not call face stay, pixel for pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.face_mesh import LEFT_EYE, OVAL, RIGHT_EYE
from modiste.geometry import Box, Matrix, bounding_box, invert, warp
from modiste.image import LabelMap, Landmarks, Mask, RGBImage
from modiste.labels import FacePart as F

FACE = (F.SKIN, F.LEFT_BROW, F.RIGHT_BROW, F.LEFT_EYE, F.RIGHT_EYE, F.NOSE, F.MOUTH, F.UPPER_LIP, F.LOWER_LIP)
SKIN = (F.SKIN, F.NOSE)
SEAM = 0.06
"""Width of the seam, in widths of the face."""
RIM = 3
"""Pixels around the mesh that are looked at, so that its outline is an edge."""
_LENS = 0.04
"""How far around an eye a lens is replaced, in widths of the face."""
_DARK = 0.5
"""Brightness against the skin's, up to which what is seen in an eye's place is a sunglass."""
_CONTRAST = (0.5, 2.0)
"""Limits of what the spread of the skin's colours is multiplied by."""
_GREY = 3.0
"""Mean difference between channels, 0-255, under which a picture is taken for black and white."""
_FEWEST = 50
"""Pixels of skin under which nothing is said about its colour."""

Area = NDArray[np.bool_]
Share = NDArray[np.float32]
"""float32 [H, W], 0-1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkinColour:
    """CIE Lab, float32 [3] each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def towards(self, other: "SkinColour", share: float) -> "SkinColour":
        return SkinColour(
            mean=self.mean + np.float32(share) * (other.mean - self.mean),
            deviation=self.deviation + np.float32(share) * (other.deviation - self.deviation),
        )


def loop(points: Landmarks, indices: tuple[int, ...], shape: tuple[int, ...]) -> Area:
    """What a loop of mesh points encloses. shape: height, width"""
    drawn = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(drawn, [np.rint(points[list(indices), :2] * 16).astype(np.int32)], 255, shift=4)
    return np.asarray(drawn > 0, np.bool_)


def are(labels: LabelMap, parts: tuple[F, ...]) -> Area:
    return np.isin(labels, [int(part) for part in parts])


def width_of(points: Landmarks) -> float:
    """Of the face, pixels; of a turned one what it would be from the front, about."""
    return float(np.ptp(points[list(OVAL), :2], axis=0).max())


def grown(area: Area, radius: float) -> Area:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(radius)) + 1,) * 2)
    return np.asarray(cv2.dilate(area.astype(np.uint8), kernel) > 0, np.bool_)


def soft_edge(area: Area, width: float) -> Share:
    """0 outside, 1 from `width` pixels inside on, smooth between; the picture's rim is no edge."""
    framed = cv2.copyMakeBorder(area.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    t = np.clip(cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1] / max(width, 1.0), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def replaceable(image: RGBImage, landmarks: Landmarks, labels: LabelMap) -> Area:
    """Where the mesh and the parsing see the face itself, and eyes behind clear lenses."""
    face = are(labels, FACE)
    glasses = are(labels, (F.GLASSES,))
    if glasses.any():
        brightness = image.mean(axis=2)
        lit = float(np.median(brightness[are(labels, SKIN)])) if are(labels, SKIN).any() else np.inf
        for eye in (LEFT_EYE, RIGHT_EYE):
            lens = grown(loop(landmarks, eye, labels.shape), _LENS * width_of(landmarks)) & glasses
            if lens.any() and np.percentile(brightness[lens], 75) > _DARK * lit:
                face |= lens
    return face & loop(landmarks, OVAL, labels.shape)


def skin_colour(image: RGBImage, landmarks: Landmarks, labels: LabelMap) -> SkinColour | None:
    """Of the face's bare skin; None where next to none is seen."""
    return _colour_of(_lab(image), are(labels, SKIN) & loop(landmarks, OVAL, labels.shape))


def lay_in(
    image: RGBImage,
    landmarks: Landmarks,
    labels: LabelMap,
    face: RGBImage,
    matrix: Matrix,
    *,
    skin: SkinColour | None,
    tone: float,
) -> tuple[RGBImage, Mask]:
    """Put a new face in the place of the picture's own.

    image, labels: [H, W, 3], [H, W]; landmarks: in their coordinates
    face:    [S, S, 3], aligned by `matrix` (picture to square)
    skin:    colour of the new identity's own skin; None: the face keeps what it was made with
    tone:    0: `skin`, 1: the colour of the picture's skin
    returns: the picture, and where it was changed; where the mask is 0 it equals `image` exactly
    """
    part = bounding_box(landmarks)
    part = Box(part.left - RIM, part.top - RIM, part.right + RIM, part.bottom + RIM).clipped(*labels.shape)
    rows, columns = slice(int(part.top), int(part.bottom)), slice(int(part.left), int(part.right))
    corner = np.array([part.left, part.top, 0], np.float32)
    result, mask = image.copy(), np.zeros(labels.shape, np.uint8)
    if rows.start < rows.stop and columns.start < columns.stop:
        moved = matrix.copy()
        moved[:, 2] += matrix[:, :2] @ corner[:2]
        near = RGBImage(np.ascontiguousarray(image[rows, columns]))
        new, alpha = _near(
            near,
            Landmarks(landmarks - corner),
            LabelMap(np.ascontiguousarray(labels[rows, columns])),
            face,
            moved,
            skin,
            tone,
        )
        mixed = near + (new.astype(np.float32) - near) * alpha[..., None]
        result[rows, columns] = np.rint(np.clip(mixed, 0, 255))
        mask[rows, columns] = np.rint(alpha * 255)
    return RGBImage(result), Mask(mask)


def _near(
    image: RGBImage,
    landmarks: Landmarks,
    labels: LabelMap,
    face: RGBImage,
    matrix: Matrix,
    skin: SkinColour | None,
    tone: float,
) -> tuple[RGBImage, Share]:
    """The new face where the picture has it, and how much of it shows."""
    (height, width), back = labels.shape, invert(matrix)
    # Beyond the square there is nothing to show.
    reached = cv2.warpAffine(np.ones(face.shape[:2], np.float32), back, (width, height)) > 0.999
    area = replaceable(image, landmarks, labels) & reached
    seam = SEAM * width_of(landmarks)
    new = warp(face, back, width, height)
    if np.ptp(image, axis=2).mean() < _GREY:
        new = RGBImage(np.repeat(cv2.cvtColor(new, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2))
    elif skin is not None:
        bare = are(labels, SKIN) & area
        own, now = _colour_of(_lab(image), bare), _colour_of(_lab(new), bare)
        if own is not None and now is not None:
            new = _recoloured(new, soft_edge(bare, seam / 2), now, skin.towards(own, tone))
    return new, soft_edge(area, seam)


def _recoloured(face: RGBImage, where: Share, now: SkinColour, wanted: SkinColour) -> RGBImage:
    lab = _lab(face)
    contrast = np.clip(wanted.deviation / np.maximum(now.deviation, 1e-3), *_CONTRAST)
    changed = (lab - now.mean) * contrast + wanted.mean
    mixed = lab + (changed - lab) * where[..., None]
    back = np.clip(cv2.cvtColor(np.asarray(mixed, np.float32), cv2.COLOR_Lab2RGB), 0, 1)
    return RGBImage(np.rint(back * 255).astype(np.uint8))


def _colour_of(lab: NDArray[np.float32], where: Area) -> SkinColour | None:
    found = lab[where]
    if len(found) < _FEWEST:
        return None
    return SkinColour(mean=found.mean(axis=0), deviation=found.std(axis=0))


def _lab(image: RGBImage) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)
