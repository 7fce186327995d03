"""The fast swap on painted faces: tone, exactness outside the face, closed eyes, and the memory of sources."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from deployments.mesh_swap.fast import FastSwap
from deployments.mesh_swap.model import MeshSwap
from deployments.roles import FaceView, SwapInput
from modiste.face_mesh import LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_EYE, neutral
from modiste.image import LabelMap, Landmarks, RGBImage
from modiste.labels import FacePart

SOURCE, TARGET = (200, 150, 120), (110, 75, 60)


def painted(colour: tuple[int, int, int], *, side: int = 200, shift: float = 0.0, light: float = 0.0) -> FaceView:
    """A plain face on green ground. shift: to the right, pixels; light: fall of brightness from left to right."""
    points = neutral() * np.float32(side * 0.6 / 1000)
    points[:, :2] += np.array([side / 2 + shift, side / 2], np.float32) - points[:, :2].mean(axis=0)
    image = np.full((side, side, 3), (40, 160, 60), np.uint8)
    labels = np.zeros((side, side), np.uint8)
    for loop, paint, part in (
        (OVAL, colour, FacePart.SKIN),
        (RIGHT_EYE, (30, 30, 30), FacePart.RIGHT_EYE),
        (LEFT_EYE, (30, 30, 30), FacePart.LEFT_EYE),
        (LIPS_OUTER, (160, 60, 70), FacePart.UPPER_LIP),
    ):
        polygon = np.rint(points[list(loop), :2]).astype(np.int32)
        cv2.fillPoly(image, [polygon], paint)
        cv2.fillPoly(labels, [polygon], int(part))
    shade = 1 + light * np.linspace(0.5, -0.5, side)[None, :, None]
    image = np.clip(image * shade, 0, 255).astype(np.uint8)
    return FaceView(image=RGBImage(image), landmarks=Landmarks(points), labels=LabelMap(labels))


def cheek(view: FaceView, image: RGBImage, point: int) -> np.ndarray:
    x, y = np.rint(view.landmarks[point, :2]).astype(int)
    return image[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).mean(axis=0)


def test_the_new_face_has_the_tone_and_the_light_of_the_old_one() -> None:
    target = painted(TARGET, light=0.5)
    swapped = FastSwap()(SwapInput(source=painted(SOURCE), target=target, quality="fast"))
    for point in (50, 280):
        assert np.allclose(cheek(target, swapped.image, point), cheek(target, target.image, point), atol=9)


def test_a_tone_of_its_own_is_kept_where_asked() -> None:
    target = painted(TARGET)
    swapped = FastSwap()(SwapInput(source=painted(SOURCE), target=target, tone=0.0, quality="fast"))
    assert np.allclose(cheek(target, swapped.image, 50), SOURCE, atol=12)


def test_nothing_changes_outside_the_mask() -> None:
    target = painted(TARGET)
    swapped = FastSwap()(SwapInput(source=painted(SOURCE), target=target, quality="fast"))
    outside = np.ones(target.labels.shape, np.uint8)
    cv2.fillPoly(outside, [np.rint(target.landmarks[list(OVAL), :2]).astype(np.int32)], 0)
    outside = cv2.erode(outside, np.ones((5, 5))) > 0
    assert np.array_equal(swapped.image[outside], target.image[outside])
    assert not swapped.mask[outside].any()
    assert swapped.mask[100, 100] == 255


def test_hair_in_front_stays() -> None:
    target = painted(TARGET)
    image, labels = target.image.copy(), target.labels.copy()
    image[:70], labels[:70] = (20, 15, 10), int(FacePart.HAIR)
    target = replace(target, image=RGBImage(image), labels=LabelMap(labels))
    swapped = FastSwap()(SwapInput(source=painted(SOURCE), target=target, quality="fast"))
    assert np.abs(swapped.image[:66].astype(int) - target.image[:66]).max() <= 2


def test_closed_eyes_stay_closed() -> None:
    target = painted(TARGET)
    points = target.landmarks.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        loop = list(eye)
        points[loop, 1] = points[loop, 1].mean()
    image = target.image.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        polygon = np.rint(target.landmarks[list(eye), :2]).astype(np.int32)
        cv2.fillPoly(image, [polygon], TARGET)
    shut = replace(target, image=RGBImage(image), landmarks=Landmarks(points))
    swapped = FastSwap()(SwapInput(source=painted(SOURCE), target=shut, quality="fast"))
    x, y = np.rint(points[list(RIGHT_EYE), :2].mean(axis=0)).astype(int)
    assert swapped.image[y - 2 : y + 3, x - 2 : x + 3].mean() > 60


@pytest.mark.parametrize("side", [96, 200, 400])
def test_any_size_and_the_same_result_from_a_remembered_source(side: int) -> None:
    swap = MeshSwap({})
    inputs = [
        SwapInput(source=painted(SOURCE), target=painted(TARGET, side=side, shift=shift), quality="fast")
        for shift in (0.0, 2.0)
    ]
    together = swap(inputs)
    for x, y in zip(inputs, together, strict=True):
        assert y.image.shape == x.target.image.shape
        assert np.array_equal(MeshSwap({})([x])[0].image, y.image)
