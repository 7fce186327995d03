"""Is this portrait fit for an ID photo, and where does its head go? Refusals say what to change."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from deployments.roles import FaceView
from graphs.face_finding import Closeup, Sight
from modiste.errors import NoFace, SeveralFaces, UnsuitablePortrait
from modiste.geometry import Matrix, invert, transform
from modiste.image import LabelMap, Landmarks, Mask, RGBImage
from modiste.labels import FacePart

SURE = 0.5
RIVAL = 0.45
"""A second face this large, by area, leaves open whose photo it is."""
LEAST_EYES = 30.0
"""Eye distance, pixels."""
MOST_YAW, MOST_ROLL = 32.0, 25.0
"""Degrees; roll is corrected up to here, yaw cannot be."""
FOREHEAD, CHIN = 10, 152
_EYES = ((33, 133), (362, 263))
_TEMPLES = (234, 454)
_HINGES = (58, 288)
"""Of the jaw: the neck stands midway between them, however the face is turned."""


def choose(sights: list[Sight]) -> Sight:
    """The one face of a portrait.

    raises: NoFace, SeveralFaces
    """
    faces = sorted((s for s in sights if s.sureness > SURE), key=lambda s: -s.face.box.area)
    if not faces:
        raise NoFace("expected a portrait with one face, got a picture without any")
    if len(faces) > 1 and faces[1].face.box.area > RIVAL * faces[0].face.box.area:
        raise SeveralFaces(
            f"expected one person, got {len(faces)} faces of similar size: crop the picture to one of them"
        )
    return faces[0]


def eyes_of(landmarks: Landmarks) -> np.ndarray:
    """[2, 3] centres of the eyes, the one further left in the picture first."""
    return np.stack([landmarks[list(corners)].mean(axis=0) for corners in _EYES])


def yaw_of(landmarks: Landmarks) -> float:
    """Degrees by which the head is turned to a side, 0-90."""
    across = landmarks[_TEMPLES[1]] - landmarks[_TEMPLES[0]]
    return float(np.degrees(np.arctan2(abs(across[2]), abs(across[0]))))


def roll_of(sight: Sight) -> float:
    """Degrees by which the eyes' line is tilted, positive clockwise in the picture."""
    across = sight.face.eyes[1] - sight.face.eyes[0]
    return float(np.degrees(np.arctan2(across[1], across[0])))


def check(picture: RGBImage, sight: Sight) -> None:
    """raises: UnsuitablePortrait"""
    apart = float(np.linalg.norm(sight.face.eyes[1] - sight.face.eyes[0]))
    if apart < LEAST_EYES:
        raise UnsuitablePortrait(
            f"expected eyes at least {LEAST_EYES:.0f} pixels apart, got {apart:.0f}: send a larger picture"
        )
    if abs(roll_of(sight)) > MOST_ROLL:
        raise UnsuitablePortrait(
            f"expected a head upright within {MOST_ROLL:.0f} degrees, got {abs(roll_of(sight)):.0f}"
        )
    box, (height, width) = sight.face.box, picture.shape[:2]
    if box.left < 0 or box.top < 0 or box.right > width or box.bottom > height:
        raise UnsuitablePortrait("expected the whole face inside the picture, got one that its edge cuts off")


def check_yaw(landmarks: Landmarks) -> None:
    """raises: UnsuitablePortrait"""
    yaw = yaw_of(landmarks)
    if yaw > MOST_YAW:
        raise UnsuitablePortrait(
            f"expected a face turned by at most {MOST_YAW:.0f} degrees, got {yaw:.0f}: look at the camera"
        )


def settle(labels: LabelMap, matte: Mask, landmarks: Landmarks) -> LabelMap:
    """Parsing, matte and anatomy agree: no head where the matte sees nobody, no holes in what it sees above the chin,
    and none in the skull.

    labels: `FacePart` [H, W]; matte: [H, W]
    """
    chin = float(landmarks[CHIN, 1])
    settled = labels.copy()
    aside = (FacePart.BACKGROUND, FacePart.NECK, FacePart.NECKLACE, FacePart.CLOTH)
    settled[~np.isin(labels, aside) & (matte < 64)] = FacePart.BACKGROUND
    above = np.arange(len(labels))[:, None] < chin
    missing = (settled == FacePart.BACKGROUND) & above
    settled[missing & (matte > 200)] = FacePart.HAIR
    # Highlights in smooth hair look like background to both; a gap that hair encloses is believed sooner.
    filled = ndimage.binary_fill_holes(~np.isin(settled, aside))
    settled[missing & filled & (matte > 90)] = FacePart.HAIR
    settled[(settled == FacePart.BACKGROUND) & _skull(landmarks, *labels.shape)] = FacePart.HAIR
    return LabelMap(settled)


def _skull(landmarks: Landmarks, height: int, width: int) -> np.ndarray:
    """[H, W]: what must be head because bone is there; the upper half of an ellipse, rather too small."""
    eyes, forehead = eyes_of(landmarks)[:, :2].mean(axis=0), landmarks[FOREHEAD, :2]
    temples = landmarks[list(_TEMPLES), 0]
    across = 0.46 * float(np.ptp(temples))
    tall = float(eyes[1] - forehead[1]) + 0.08 * float(landmarks[CHIN, 1] - forehead[1])
    x = (np.arange(width) - temples.mean()) / across
    y = (np.arange(height) - eyes[1]) / tall
    return np.asarray((x[None] ** 2 + y[:, None] ** 2 < 1) & (y[:, None] < 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """In the close-up's pixels. crown, chin: rows; middle: column of the head; neck: column of the neck."""

    crown: float
    chin: float
    middle: float
    neck: float
    eyes: np.ndarray
    apart: float
    yaw: float


def measure(closeup: Closeup) -> Head:
    """Where the head begins and ends.

    The crown is the top of skull and hair over the face, but no further above the hairline than a skull goes: a tall
    hairdo rises above the crown, as issuers want it.
    raises: UnsuitablePortrait where the crown lies outside the picture
    """
    landmarks, labels = closeup.view.landmarks, closeup.view.labels
    eyes = eyes_of(landmarks)
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    chin, forehead = float(landmarks[CHIN, 1]), float(landmarks[FOREHEAD, 1])
    face = chin - forehead
    middle = float((landmarks[:, 0].min() + landmarks[:, 0].max()) / 2)
    band = slice(max(0, int(middle - 0.3 * apart)), int(middle + 0.3 * apart) + 1)
    head = np.isin(labels[:, band], (FacePart.SKIN, FacePart.HAIR, FacePart.HAT)).mean(axis=1) > 0.5
    rows = np.flatnonzero(head[: int(landmarks[FOREHEAD, 1]) + 1])
    top = float(rows[0]) if len(rows) else forehead
    crown = float(np.clip(top, forehead - 0.5 * face, forehead - 0.1 * face))
    above = transform(np.array([[middle, min(top, crown) - 0.02 * face]], np.float32), invert(closeup.cutting.matrix))[
        0
    ]
    if above[1] < 0:
        raise UnsuitablePortrait(
            "expected some space above the head, got a picture whose upper edge cuts the crown off"
        )
    return Head(
        crown=crown,
        chin=chin,
        middle=middle,
        neck=float(landmarks[list(_HINGES), 0].mean()),
        eyes=eyes,
        apart=apart,
        yaw=yaw_of(landmarks),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The portrait on the photo's canvas; seen: 255 where it has pixels at all."""

    view: FaceView
    seen: Mask


def place(picture: RGBImage, closeup: Closeup, to_canvas: Matrix, height: int, width: int) -> Placed:
    """Resample the picture once, straight to the canvas.

    to_canvas: close-up pixels to canvas pixels
    """
    direct = _after(to_canvas, closeup.cutting.matrix)
    size = (width, height)
    scale = float(np.sqrt(abs(np.linalg.det(direct[:, :2]))))
    source, matrix = picture, direct
    if scale < 0.5:
        source = RGBImage(
            np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        )
        fx, fy = source.shape[1] / picture.shape[1], source.shape[0] / picture.shape[0]
        matrix = direct @ np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5], [0, 0, 1]])
    image = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    whole = np.full(source.shape[:2], 255, np.uint8)
    seen = cv2.erode(cv2.warpAffine(whole, matrix, size, flags=cv2.INTER_NEAREST), np.ones((3, 3), np.uint8))
    labels = cv2.warpAffine(closeup.view.labels, to_canvas, size, flags=cv2.INTER_NEAREST)
    points = closeup.view.landmarks
    factor = np.float32(np.sqrt(abs(np.linalg.det(to_canvas[:, :2]))))
    view = FaceView(
        image=RGBImage(np.asarray(image, np.uint8)),
        landmarks=Landmarks(np.hstack([transform(points, to_canvas), points[:, 2:] * factor])),
        labels=LabelMap(np.asarray(labels, np.uint8)),
    )
    return Placed(view=view, seen=Mask(np.asarray(seen, np.uint8)))


def _after(second: Matrix, first: Matrix) -> Matrix:
    return np.asarray(second @ np.vstack([first, [0, 0, 1]]), np.float64)
