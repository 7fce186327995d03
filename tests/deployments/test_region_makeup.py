"""Make-up on drawn faces: each strength acts on its own region and on nothing else."""

import cv2
import numpy as np

from deployments.region_makeup.model import RegionMakeup
from deployments.region_makeup.regions import eye_shadow, lips, skin
from deployments.roles import FaceView, MakeupInput
from modiste.face_mesh import LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_EYE, neutral
from modiste.image import LabelMap, Landmarks, RGBImage
from modiste.labels import FacePart as F

SIDE = 256


def drawn_face(lip: tuple[int, int, int], tint: tuple[int, int, int] = (200, 150, 130)) -> FaceView:
    points = neutral() * np.float32(0.14)
    points[:, :2] += SIDE / 2
    image = np.full((SIDE, SIDE, 3), (40, 60, 160), np.uint8)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for loop, colour, part in (
        (OVAL, tint, F.SKIN),
        (LEFT_EYE, (20, 20, 20), F.LEFT_EYE),
        (RIGHT_EYE, (20, 20, 20), F.RIGHT_EYE),
        (LIPS_OUTER, lip, F.LOWER_LIP),
    ):
        inside = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(inside, [np.rint(points[list(loop), :2]).astype(np.int32)], 1)
        image[inside > 0], labels[inside > 0] = colour, part
    return FaceView(image=RGBImage(image), landmarks=Landmarks(points), labels=LabelMap(labels))


def made_up(face: FaceView, reference: FaceView, **strengths: float) -> RGBImage:
    wish = {"lips": 0.0, "eyes": 0.0, "skin": 0.0} | strengths
    return RegionMakeup({})([MakeupInput(face=face, reference=reference, **wish)])[0]


def test_no_strength_gives_the_identical_picture() -> None:
    face = drawn_face((170, 90, 90))
    assert (made_up(face, drawn_face((200, 10, 60), (240, 200, 190))) == face.image).all()


def test_lips_take_the_references_colour_and_nothing_else_changes() -> None:
    face, reference = drawn_face((170, 90, 90)), drawn_face((190, 20, 60))
    result = made_up(face, reference, lips=1.0)
    weight = lips(face, 140.0)
    assert np.abs(result[weight == 1].astype(int) - (190, 20, 60)).mean() < 4
    assert (result[weight == 0] == face.image[weight == 0]).all()


def test_half_the_strength_goes_half_the_way() -> None:
    face, reference = drawn_face((170, 90, 90)), drawn_face((190, 20, 60))
    core = lips(face, 140.0) == 1
    none, half, whole = (
        cv2.cvtColor(made_up(face, reference, lips=s), cv2.COLOR_RGB2Lab)[core].astype(float).mean(axis=0)
        for s in (0.0, 0.5, 1.0)
    )
    assert np.abs(half - (none + whole) / 2).max() < 3


def test_teeth_stay() -> None:
    face, reference = drawn_face((170, 90, 90)), drawn_face((190, 20, 60))
    labels = face.labels.copy()
    labels[195:205, 120:136] = F.MOUTH
    view = FaceView(image=face.image, landmarks=face.landmarks, labels=LabelMap(labels))
    result = made_up(view, reference, lips=1.0)
    assert (result[labels == F.MOUTH] == face.image[labels == F.MOUTH]).all()


def test_foundation_moves_skin_only_as_far_as_a_foundation_does() -> None:
    face, reference = drawn_face((170, 90, 90), (150, 100, 80)), drawn_face((170, 90, 90), (245, 220, 210))
    result = made_up(face, reference, skin=1.0)
    before, after = (cv2.cvtColor(i.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for i in (face.image, result))
    cheek = skin(face, 140.0) == 1
    moved = (after - before)[cheek].mean(axis=0)
    assert 3 < moved[0] < 7
    assert (result[face.labels == F.BACKGROUND] == face.image[face.labels == F.BACKGROUND]).all()


def test_eye_shadow_lies_on_the_lids() -> None:
    face = drawn_face((170, 90, 90))
    image = face.image.copy()
    weight = eye_shadow(face, 140.0)
    image[weight > 0.2] = (90, 40, 120)
    reference = FaceView(image=RGBImage(image), landmarks=face.landmarks, labels=face.labels)
    result = made_up(face, reference, eyes=1.0)
    assert (result[weight == 0] == face.image[weight == 0]).all()
    lids = weight > 0.6
    assert result[lids].astype(int).mean() < face.image[lids].astype(int).mean() - 15
    assert not np.isin(face.labels[weight > 0.5], [F.LEFT_BROW, F.RIGHT_BROW]).any()
