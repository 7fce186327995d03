"""Real inputs for every role whose models run engines: what the parity gate looks at besides noise.

Pictures are the project's samples; where joints and face meshes lie in them was found once by the default edition's
models (golden.npz), so that no model's golden inputs depend on another's.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.roles import Article, FaceSeed, IdentityInput, LandmarksInput, ParsingInput, RestorationInput, Sketch
from deployments.roles import face_from_landmarks as face
from modiste.face_alignment import crop_like_ffhq, landmarks_of_mesh
from modiste.geometry import Box, crop
from modiste.image import Keypoints, Landmarks, RGBImage, decode
from modiste.settings import settings


def golden_inputs(role: str) -> list[Any]:
    """What a model of this role is called with, in one call.

    raises: KeyError for a role without golden inputs
    """
    return GOLDEN[role]()


@cache
def _places() -> Mapping[str, NDArray[np.float32]]:
    with np.load(Path(__file__).with_name("golden.npz")) as stored:
        return dict(stored)


def _picture(name: str) -> RGBImage:
    return decode((settings().samples / name).read_bytes())


def _portrait() -> RGBImage:
    return _picture("portraits/astronaut.jpg")


def _person() -> RGBImage:
    return _picture("persons/ana.jpg")


def _landmarks() -> Landmarks:
    return Landmarks(_places()["astronaut_landmarks"])


def _keypoints() -> Keypoints:
    return Keypoints(_places()["ana_keypoints"])


def _head() -> RGBImage:
    return crop(_portrait(), Box(120, 20, 340, 300))[0]


def _restoration() -> RestorationInput:
    return RestorationInput(image=RGBImage(_head()[64:128, 64:128]), landmarks=_shifted(_landmarks(), 184, 84), scale=4)


def _shifted(landmarks: Landmarks, left: float, top: float) -> Landmarks:
    return Landmarks(landmarks - np.array([left, top, 0], np.float32))


GOLDEN: Mapping[str, Callable[[], list[Any]]] = {
    "FaceDetection": lambda: [_portrait()],
    "SmallFaceDetection": lambda: [_portrait()],
    "FaceLandmarks": lambda: [LandmarksInput(image=_portrait(), face=face(_landmarks()))],
    "FaceParsing": lambda: [_head()],
    "IdentityEmbedding": lambda: [IdentityInput(image=_portrait(), landmarks=_landmarks())],
    "FaceGeneration": lambda: [FaceSeed(seed=1, truncation=0.6)],
    "LatentEncoding": lambda: [crop_like_ffhq(_portrait(), landmarks_of_mesh(_landmarks()), 256)[0]],
    "FaceRestoration": lambda: [_restoration()],
    "PoseEstimation": lambda: [_person()],
    "HumanParsing": lambda: [ParsingInput(image=_person(), keypoints=_keypoints())],
    "Matting": lambda: [_person()],
    "GarmentMask": lambda: [_picture("garments/g01_tee_breton_women.jpg")],
    "SketchToGarment": lambda: [Sketch(image=_picture("sketches/tshirt_red.png"), category=None)],
    "FashionEmbedding": lambda: [Article(image=_picture("garments/g01_tee_breton_women.jpg"))],
}
