"""The project's samples as models are asked about them: faces cut out, people with their parts, garments, suits.

What is in the people's pictures is known, as they were rendered. Where faces and joints lie was found by the default
edition's models, once (`find_places`, kept in golden.npz), so that no model's golden inputs depend on another's.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.roles import (
    BodySurface,
    ConditionedGarment,
    Dressed,
    FaceView,
    LandmarksInput,
    SuitInput,
    face_from_landmarks,
)
from modiste.geometry import Box, Matrix, bounding_box, crop, similarity, transform, warp
from modiste.image import Keypoints, LabelMap, Landmarks, Mask, RGBAImage, RGBImage, decode, decode_rgba
from modiste.labels import Clothes, body_parts
from modiste.settings import settings

PICTURES: Mapping[str, str] = {
    "astronaut": "portraits/astronaut.jpg",
    "ana": "persons/ana.jpg",
    "ken": "persons/ken.jpg",
    "mei": "persons/mei.jpg",
    "nia": "persons/nia.jpg",
    "sam": "persons/sam.jpg",
}
"""One photograph; people of light and of dark skin who were rendered, seen from the front down to the hips."""
STANDING = ("ana", "ken", "nia")
"""Those whose joints are known."""
PLACES = Path(__file__).with_name("golden.npz")
VIEW_SIDE, VIEW_MARGIN = 448, 2.2
"""Of a face's surroundings: pixels, and sides of the face's box."""

CLOTHES_OF = np.array(
    [
        Clothes.BACKGROUND,
        Clothes.HAIR,
        Clothes.FACE,
        Clothes.TORSO_SKIN,
        Clothes.LEFT_ARM,
        Clothes.RIGHT_ARM,
        Clothes.UPPER_CLOTHES,
        Clothes.PANTS,
        Clothes.LEFT_SHOE,
    ],
    np.uint8,
)
"""What each label of samples/persons/legend.json is among garments and body parts."""
PAINTED_OF = np.array([0, 3, 1, 0, 4, 5, 2, 1, 1], np.uint8)
"""And among the classes of HR-VITON's image generator: 1 is kept, 2 the upper garment, 3 hair, 4 and 5 arms."""
UPPER = 6
SURFACE_OF = np.array([0, 23, 2, 4, 3, 21, 22, 17, 18, 5, 6, 14, 13, 10, 9], np.uint8)
"""What each part of the rendered bodies is in DensePose's numbers; of the head, the right half."""
LEFT_OF_HEAD = 24


@cache
def places() -> Mapping[str, NDArray[Any]]:
    """ "NAME_landmarks", "NAME_labels" of the face's view, "NAME_keypoints"."""
    with np.load(PLACES) as stored:
        return dict(stored)


def sample(name: str) -> RGBImage:
    return decode(_file(name))


def photo(who: str) -> RGBImage:
    return sample(PICTURES[who])


def landmarks(who: str) -> Landmarks:
    """In the photo."""
    return Landmarks(places()[f"{who}_landmarks"])


def keypoints(who: str) -> Keypoints:
    return Keypoints(places()[f"{who}_keypoints"])


def bust(who: str) -> RGBImage:
    """The upper half of a person's photo, in which the face is large enough for those who look for near ones."""
    whole = photo(who)
    return crop(whole, Box(0, 0, whole.shape[1], whole.shape[0] / 2))[0]


def face_matrix(points: Landmarks) -> Matrix:
    """Photo to the square view around a face."""
    box = bounding_box(points)
    scale, (x, y) = VIEW_SIDE / (VIEW_MARGIN * max(box.width, box.height)), box.centre
    middle = (VIEW_SIDE - 1) / 2
    return np.array([[scale, 0, middle - scale * x], [0, scale, middle - scale * y]])


def head(who: str) -> RGBImage:
    """The square view around a face, uint8 [448, 448, 3]."""
    return warp(photo(who), face_matrix(landmarks(who)), VIEW_SIDE, VIEW_SIDE)


def view(who: str) -> FaceView:
    points, matrix = landmarks(who), face_matrix(landmarks(who))
    return FaceView(image=head(who), landmarks=_moved(points, matrix), labels=LabelMap(places()[f"{who}_labels"]))


def face(who: str) -> LandmarksInput:
    return LandmarksInput(image=photo(who), face=face_from_landmarks(landmarks(who)))


def dressed(who: str) -> Dressed:
    """All that is known of a rendered person. Places on the surface are those of the body that was rendered, whose
    charts are not DensePose's."""
    labels = _labels(who)
    parts, *uv = cv2.split(sample(f"persons/{who}.iuv.png"))
    surface = SURFACE_OF[parts]
    middle = int(keypoints(who)[0, 0])
    surface[:, middle:][parts[:, middle:] == 1] = LEFT_OF_HEAD
    clothes = LabelMap(CLOTHES_OF[labels])
    return Dressed(
        labels=body_parts(clothes),
        keypoints=keypoints(who),
        person=Mask(np.where(labels > 0, 255, 0).astype(np.uint8)),
        clothes=clothes,
        surface=BodySurface(parts=LabelMap(surface), uv=np.dstack(uv)),
    )


def worn(who: str) -> ConditionedGarment:
    """The garment that a person wears, as if it had just been bent to where it is."""
    labels = _labels(who)
    own = RGBAImage(np.dstack([photo(who), np.where(labels == UPPER, 255, 0).astype(np.uint8)]))
    return ConditionedGarment(
        layer=own, category="upper", frame=np.eye(2, 3), fitted=own, parse=LabelMap(PAINTED_OF[labels])
    )


def garment(name: str) -> RGBAImage:
    """Cut out by its mask."""
    cut = decode_rgba(_file(f"garments/{name}.mask.png"))[..., 0]
    return RGBAImage(np.dstack([sample(f"garments/{name}.jpg"), cut]))


def in_suit(who: str, suit: str) -> SuitInput:
    """The head brought to where a suit's belongs, in the suit's own picture."""
    facts = json.loads(_file(f"suits/{suit}.json"))
    picture, inner = (decode_rgba(_file(f"suits/{facts[key]}")) for key in ("image", "inner_mask"))
    wanted = np.array([facts["template_r_eye"], facts["template_l_eye"]], np.float32)
    own, seen = view(who), photo(who)
    matrix = similarity(face_from_landmarks(own.landmarks).eyes, wanted)
    whole = matrix @ np.vstack([face_matrix(landmarks(who)), (0, 0, 1)])
    height, width = picture.shape[:2]
    return SuitInput(
        portrait=FaceView(
            image=warp(seen, whole, width, height),
            landmarks=_moved(own.landmarks, matrix),
            labels=LabelMap(_placed(own.labels, matrix, width, height)),
        ),
        seen=Mask(_placed(np.full(seen.shape[:2], 255, np.uint8), whole, width, height)),
        suit=picture,
        opening=Mask(np.where(inner[..., 0] > 127, 255, 0).astype(np.uint8)),
        background=(255, 255, 255),
        quality="draft",
    )


def find_places() -> dict[str, NDArray[Any]]:
    """What golden.npz holds, by the default edition's models in float32, whose engines nothing has judged."""
    from compile.openvino import compiled
    from compile.source import graph_file
    from deployments import EDITIONS, model_class

    def opened(role: str) -> Any:
        of = model_class(EDITIONS["default"][role])
        return of({name: compiled(spec, graph_file(spec), "float32", 1) for name, spec in of.spec.engines.items()})

    detect, mesh, parse, pose = map(opened, ("SmallFaceDetection", "FaceLandmarks", "FaceParsing", "PoseEstimation"))
    found: dict[str, NDArray[Any]] = {}
    for who in PICTURES:
        image = photo(who)
        (near,) = detect([image])[0][:1]
        (first,) = mesh([LandmarksInput(image=image, face=near)])
        (second,) = mesh([LandmarksInput(image=image, face=face_from_landmarks(first.points))])
        found[f"{who}_landmarks"] = second.points
        seen = warp(image, face_matrix(second.points), VIEW_SIDE, VIEW_SIDE)
        (found[f"{who}_labels"],) = parse([seen])
    for who in STANDING:
        found[f"{who}_keypoints"] = pose([photo(who)])[0][0].keypoints
    return found


def _file(name: str) -> bytes:
    return (settings().samples / name).read_bytes()


def _labels(who: str) -> NDArray[np.uint8]:
    return decode_rgba(_file(f"persons/{who}.labels.png"))[..., 0]


def _moved(points: Landmarks, matrix: Matrix) -> Landmarks:
    scale = np.float32(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    return Landmarks(np.hstack([transform(points, matrix), points[:, 2:] * scale]))


def _placed(plane: NDArray[np.uint8], matrix: Matrix, width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_NEAREST), np.uint8)
