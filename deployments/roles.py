"""The roles that graphs ask for: what goes in, what comes out. Several models can play one role.

Coordinates are those of the picture that was given. Left and right of keypoints and body parts are the person's own.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NewType

import numpy as np
from numpy.typing import NDArray

from deployments.base import Model
from modiste.errors import InvalidOption
from modiste.geometry import Box, Matrix, Points, bounding_box
from modiste.image import Embedding, Keypoints, LabelMap, Landmarks, Mask, RGBAImage, RGBImage
from modiste.labels import SketchCategory

Category = Literal["upper", "lower", "dress"]
"""Where on the body a garment goes."""


# --- faces ---------------------------------------------------------------------------------------------------------


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


# --- bodies and garments -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """keypoints: BODY_25, score 0 where a joint is outside the picture or not seen; score: of the whole person."""

    keypoints: Keypoints
    box: Box
    score: float


class PoseEstimation(Model[RGBImage, tuple[Pose, ...]]):
    """People's joints, the most prominent person first; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsingInput:
    image: RGBImage
    keypoints: Keypoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsing:
    """labels: `modiste.labels.BodyPart`; clothes: `modiste.labels.Clothes`, where the model tells them apart."""

    labels: LabelMap
    clothes: LabelMap | None = None


class HumanParsing(Model[ParsingInput, Parsing]):
    """Which part of the body or which garment each pixel shows; maps of the picture's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodySurface:
    """parts: [H, W] uint8, 0 = background, 1-24 = part of the body's surface as DensePose numbers them

    uv: [H, W, 2] uint8, place on that part's chart, 0-255 for 0-1; 0 on background
    """

    parts: LabelMap
    uv: NDArray[np.uint8]


class DensePose(Model[RGBImage, BodySurface]):
    """The surface of the most prominent person's body; background everywhere where there is none.

    Editions whose garment models do without it have no model for this role.
    """


class Matting(Model[RGBImage, Mask]):
    """The foreground object's soft outline, same size."""


class GarmentMask(Model[RGBImage, Mask]):
    """The soft outline of the garments in a photo of garments, same size."""


Tuck = Literal["auto", "in", "out"]
"""How an upper and a lower garment meet: as in the photo, upper inside, or upper hanging over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dressed:
    """A person and what is known about them, all in one picture's coordinates; person: matte.

    clothes, surface: None where the edition has no model that tells
    """

    labels: LabelMap
    keypoints: Keypoints
    person: Mask
    clothes: LabelMap | None = None
    surface: BodySurface | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpInput:
    """garment: cut out, straight alpha; category: None decides by look and outline.

    look:   `FashionEmbedding` of the garment on white, the same picture as `garment`; None for one cut from its wearer
    wearer: who wears the garment in its own picture, in that picture's coordinates; None for a garment laid flat
    """

    garment: RGBAImage
    category: Category | None
    look: Embedding | None
    tuck: Tuck
    wearer: Dressed | None
    person: Dressed


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpedGarment:
    """layer: the garment in the person's picture, straight alpha.

    How the garment was bent is known to the models that did it, which say more than this: see the classes below.
    """

    layer: RGBAImage
    category: Category


@dataclass(frozen=True, slots=True, kw_only=True)
class PiecedGarment(WarpedGarment):
    """Bent piece by piece along the limbs.

    pieces:       which piece lies where: 0 none, 1 torso or skirt, 2 and 3 sleeve or trouser half at the viewer's left
                  and right
    bare:         which part of the undressed body each pixel shows (`modiste.labels.BodyPart`): neck, arms, legs,
                  OTHER for the trunk; BACKGROUND outside
    relief:       float32 [H, W, 2], x and y of the bare limbs' surface normals; 0 where there is no limb
    covered:      the part of the arms that the garment hides
    unit:         width of the shoulders, pixels
    sleeve_reach: how far each sleeve goes along its arm (left, right), 0 = shoulder, 1 = elbow, 2 = wrist
    """

    pieces: LabelMap
    bare: LabelMap
    relief: NDArray[np.float32]
    covered: Mask
    unit: float
    sleeve_reach: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionedGarment(WarpedGarment):
    """Bent by a predicted flow, with the predicted label map that the picture is generated by.

    frame:  the person's picture -> the part of it that both networks see
    fitted: the garment there, where nothing lies in front of it; `layer` is the same in the person's picture
    parse:  [H, W] there, in the classes of the image generator
    """

    frame: Matrix
    fitted: RGBAImage
    parse: LabelMap


class GarmentWarp(Model[WarpInput, WarpedGarment]):
    """Bend a garment onto a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisInput:
    """background: None keeps the photo's, otherwise its new RGB colour."""

    image: RGBImage
    person: Dressed
    warped: WarpedGarment
    tuck: Tuck
    background: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """agnostic: the person on grey without the garment that is replaced, arms and hair kept."""

    image: RGBImage
    agnostic: RGBImage


class GarmentSynthesis(Model[SynthesisInput, Synthesis]):
    """The person wearing the warped garment, old garment gone, hair, arms and hands in front.

    raises: ValueError for a garment warped by a model that it does not belong with
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitInput:
    """Everything in place, in the photo's coordinates and size [H, W].

    portrait: head upright where it belongs; seen: 255 where the portrait has pixels at all
    suit:     straight alpha; opening: 255 where skin must fill the neck
    quality:  "full" for pictures; "draft" only shows that everything fits, where a model works in many steps
    """

    portrait: FaceView
    seen: Mask
    suit: RGBAImage
    opening: Mask
    background: tuple[int, int, int]
    quality: Literal["full", "draft"] = "full"


class SuitComposition(Model[SuitInput, RGBImage]):
    """Head and hair of the portrait on a suit, neck blended, long hair over the suit."""


# --- sketches and catalogues ---------------------------------------------------------------------------------------


class EdgeDetection(Model[RGBImage, Mask]):
    """Outlines: 255 on a line, 0 elsewhere, same size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """image: dark lines on white, coloured strokes or dots as hints; category: None = what the outline looks like."""

    image: RGBImage
    category: SketchCategory | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchedGarment:
    """image: on white; category: as asked for, or as found; coloured: the sketch had colour hints."""

    image: RGBImage
    category: SketchCategory
    coloured: bool


class SketchToGarment(Model[Sketch, SketchedGarment]):
    """A garment on white that follows the sketch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """coloured: False where the picture's colours mean nothing and shall not count."""

    image: RGBImage
    coloured: bool = True


class FashionEmbedding(Model[Article, Embedding]):
    """What an article looks like; similar articles have a high cosine."""
