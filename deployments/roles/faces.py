"""Roles about faces."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NewType

import numpy as np
from numpy.typing import NDArray

from deployments.base import Model
from modiste.errors import InvalidOption
from modiste.geometry import Box, Points, bounding_box
from modiste.image import Embedding, LabelMap, Landmarks, Mask, RGBImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A detected face. eyes: [2, 2], the eye further left in the picture first. score: 0-1."""

    box: Box
    score: float
    eyes: Points


class FaceDetection(Model[RGBImage, tuple[Face, ...]]):
    """Near faces: each at least about a tenth of the picture. Highest score first; empty where there is none."""


class SmallFaceDetection(Model[RGBImage, tuple[Face, ...]]):
    """Faces of any size and number, down to about 12 px. Highest score first; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarksInput:
    """image: any crop that holds the whole face with some margin; face: in the crop's coordinates."""

    image: RGBImage
    face: Face


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceMesh:
    """points: [468, 3] in the picture's coordinates; score: 0-1, how sure that there is a face at all."""

    points: Landmarks
    score: float


class FaceLandmarks(Model[LandmarksInput, FaceMesh]):
    """Dense face mesh."""


def face_from_landmarks(points: Landmarks, score: float = 1.0) -> Face:
    """The face that a mesh lies on, e.g. to find it again in the next frame.

    points: [468, 3]; eyes are halfway between their corners
    """
    eyes = np.stack([points[[33, 133], :2].mean(axis=0), points[[362, 263], :2].mean(axis=0)])
    return Face(box=bounding_box(points).shifted(0.5, 0.5), score=score, eyes=eyes[np.argsort(eyes[:, 0])])


class FaceParsing(Model[RGBImage, LabelMap]):
    """Crop of a head with margin, any size -> label map of the same size (`modiste.labels.FacePart`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityInput:
    image: RGBImage
    landmarks: Landmarks


class IdentityEmbedding(Model[IdentityInput, Embedding]):
    """Who it is: pictures of one person have a high cosine.

    same_person: the cosine from which on two pictures are usually taken for one person
    """

    same_person: ClassVar[float]


FaceCode = NewType("FaceCode", bytes)
"""A place among the faces that one generator can make: its own coordinates, a signed byte each, as many as it has.

Mean face = all zero. The unit is 1/32 of the generator's own. MobileStyleGAN: 64 principal directions of w, each as
long as one deviation over its faces; StyleGAN2: the 512 plain axes of w. A code means nothing to another generator.
"""
CODE_UNIT = 32


def face_code(deviations: NDArray[np.float32]) -> FaceCode:
    """deviations: float [K], the generator's coordinates; what lies beyond +-127/32 is brought there"""
    return FaceCode(np.clip(np.rint(deviations * CODE_UNIT), -127, 127).astype(np.int8).tobytes())


def code_deviations(code: FaceCode, coordinates: int) -> NDArray[np.float32]:
    """float32 [1, coordinates]

    raises: InvalidOption where the code has another number of them
    """
    if len(code) != coordinates:
        raise InvalidOption(f"expected a face code of {coordinates} coordinates, got {len(code)}")
    return np.frombuffer(code, np.int8).astype(np.float32)[None] / np.float32(CODE_UNIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSeed:
    """A virtual face: w = centre + truncation * (w(seed) - mean face).

    seed:       0 to 2**32 - 1
    truncation: 0 (the centre itself) to 1 (full variety)
    centre:     what truncation pulls towards; None = the mean face
    """

    seed: int
    truncation: float
    centre: FaceCode | None = None


class FaceGeneration(Model[FaceSeed, RGBImage]):
    """A virtual face, 1024 x 1024, aligned to the FFHQ template; the same seed gives the same face.

    raises: InvalidOption for a centre with another number of coordinates than the generator has
    """


class LatentEncoding(Model[RGBImage, FaceCode]):
    """Which face of the edition's generator is most like a portrait's; never more alike than that generator can be.

    In: one face, square, any size, aligned to the FFHQ template (`modiste.face_alignment.crop_like_ffhq`).
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorationInput:
    """image: a crop that holds a face; landmarks: that face's; scale: output size over input size, 1, 2 or 4."""

    image: RGBImage
    landmarks: Landmarks
    scale: int


class FaceRestoration(Model[RestorationInput, RGBImage]):
    """Sharp detail at `scale` times the size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceView:
    """A face crop and what is known about it; landmarks and labels are in the crop's coordinates."""

    image: RGBImage
    landmarks: Landmarks
    labels: LabelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapInput:
    """source: whose identity (always virtual); target: whose pose, expression, light and surroundings.

    tone: 0 keeps the source's skin colour, 1 takes the target's
    quality: "full" for pictures; "fast" for the frames of a video, where a few milliseconds must do
    """

    source: FaceView
    target: FaceView
    tone: float = 1.0
    quality: Literal["full", "fast"] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwappedFace:
    """image: the target crop with the source's face; mask: where it was changed, soft at the seam."""

    image: RGBImage
    mask: Mask


class FaceSwap(Model[SwapInput, SwappedFace]):
    """Source identity in the target's pose and expression; hair, hands and glasses in front stay."""


class PartSwap(Model[SwapInput, SwappedFace]):
    """The same for the frames of a video, part by part; a frame must look like the ones before and after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeupInput:
    """Strengths are 0 (none) to 1 (as in the reference)."""

    face: FaceView
    reference: FaceView
    lips: float = 1.0
    eyes: float = 1.0
    skin: float = 0.5


class MakeupTransfer(Model[MakeupInput, RGBImage]):
    """The face crop wearing the reference's make-up."""
