"""Bending, colouring and masking, on synthetic pictures whose right answer is known."""

import cv2
import numpy as np
import pytest

from deployments.mesh_swap import region
from deployments.mesh_swap.colour import grey, is_grey, matched, smooth_known
from deployments.mesh_swap.model import MeshSwap
from deployments.mesh_swap.shape import destination, posed
from deployments.roles import FaceView, SwapInput
from modiste.face_mesh import LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_EYE, neutral, triangles, with_ring
from modiste.image import LabelMap, Landmarks, RGBImage
from modiste.labels import FacePart as F
from modiste.mesh_warp import inverse_map, resample

SIDE = 256


def drawn_face(colour: tuple[int, int, int], *, scale: float = 0.14, shift: float = 0.0) -> FaceView:
    """A flat face on blue with dark eyes and red lips, exactly labelled."""
    points = neutral() * np.float32(scale)
    points[:, :2] += SIDE / 2 + np.float32(shift)
    image = np.full((SIDE, SIDE, 3), (40, 60, 160), np.uint8)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    parts = ((OVAL, colour, F.SKIN), (LEFT_EYE, (20, 20, 20), F.LEFT_EYE), (RIGHT_EYE, (20, 20, 20), F.RIGHT_EYE))
    for loop, tint, part in (*parts, (LIPS_OUTER, (180, 60, 70), F.LOWER_LIP)):
        inside = region.polygon(points, loop, (SIDE, SIDE)) > 127
        image[inside], labels[inside] = tint, part
    return FaceView(image=RGBImage(image), landmarks=Landmarks(points), labels=LabelMap(labels))


def test_the_triangles_cover_the_face_once() -> None:
    flat = with_ring(neutral())[:, :2].astype(np.float64)
    a, b, c = (flat[triangles()[:, k]] for k in range(3))
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    hull = cv2.contourArea(cv2.convexHull(flat.astype(np.float32)))
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(hull, rel=1e-5)
    assert set(np.unique(triangles())) == set(range(len(flat)))


def test_a_mesh_bent_onto_itself_changes_nothing() -> None:
    view = drawn_face((200, 150, 120))
    points = with_ring(view.landmarks)
    where, inside = inverse_map(points, points, triangles(), SIDE, SIDE)
    y, x = np.nonzero(inside)
    assert np.abs(where[y, x] - np.stack([x, y], axis=-1)).max() < 1e-3
    assert (resample(view.image, where)[inside] == view.image[inside]).all()


def test_a_shifted_mesh_is_found_where_it_went() -> None:
    here, there = drawn_face((200, 150, 120)), drawn_face((200, 150, 120), shift=7)
    where, inside = inverse_map(with_ring(there.landmarks), with_ring(here.landmarks), triangles(), SIDE, SIDE)
    y, x = np.nonzero(inside)
    assert np.allclose(where[y, x], np.stack([x - 7, y - 7], axis=-1), atol=1e-3)


def test_posing_undoes_turn_scale_and_shift_in_space() -> None:
    face = neutral()
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    moved = (face @ turn.T * 0.3 + [100, 120, 5]).astype(np.float32)
    assert np.abs(posed(face, moved) - moved).max() < 1e-2
    assert np.abs(destination(face, moved) - moved).max() < 1e-2


def test_the_outline_stays_the_targets() -> None:
    source, target = neutral() * np.float32(0.2), neutral() * np.float32(0.2)
    source[:, 0] *= np.float32(1.2)
    moved = destination(source, target)
    assert np.abs(moved[list(OVAL)] - target[list(OVAL)]).max() < 1e-3
    assert np.abs(moved - target).max() > 1


def test_the_swap_changes_only_what_its_mask_covers() -> None:
    source, target = drawn_face((120, 80, 60)), drawn_face((220, 170, 150), scale=0.12, shift=5)
    result = MeshSwap({})([SwapInput(source=source, target=target)])[0]
    outside = result.mask == 0
    assert (result.image[outside] == target.image[outside]).all()
    assert (result.mask[target.labels == F.BACKGROUND] == 0).all()
    covered = (result.mask == 255).mean() / (target.labels > 0).mean()
    assert covered > 0.8


def test_hair_and_hands_in_front_stay() -> None:
    source, target = drawn_face((120, 80, 60)), drawn_face((220, 170, 150))
    image, labels = target.image.copy(), target.labels.copy()
    image[60:110, 100:140], labels[60:110, 100:140] = (70, 50, 20), F.HAIR
    image[170:220, 150:200], labels[170:220, 150:200] = (210, 160, 140), F.CLOTH
    hidden = FaceView(image=RGBImage(image), landmarks=target.landmarks, labels=LabelMap(labels))
    result = MeshSwap({})([SwapInput(source=source, target=hidden)])[0]
    front = np.isin(labels, [F.HAIR, F.CLOTH])
    assert (result.image[front] == image[front]).all()
    assert (result.mask[front] == 0).all()


def test_tone_chooses_whose_skin_colour_it_is() -> None:
    source, target = drawn_face((120, 80, 60)), drawn_face((220, 170, 150))
    swaps = [SwapInput(source=source, target=target, tone=tone) for tone in (0.0, 1.0)]
    cheek = (slice(140, 150), slice(85, 95))
    own, taken = (result.image[cheek].reshape(-1, 3).mean(axis=0) for result in MeshSwap({})(swaps))
    assert np.abs(taken - (220, 170, 150)).max() < 12
    assert np.abs(own - (120, 80, 60)).max() < 12


def test_a_grey_photo_stays_grey() -> None:
    source, target = drawn_face((200, 120, 90)), drawn_face((150, 150, 150))
    flat = FaceView(image=grey(target.image), landmarks=target.landmarks, labels=target.labels)
    assert is_grey(flat.image)
    assert not is_grey(target.image)
    result = MeshSwap({})([SwapInput(source=source, target=flat)])[0]
    assert np.ptp(result.image.astype(int), axis=2).max() <= 1


def test_eyes_behind_glass_are_replaced_and_behind_dark_glass_are_not() -> None:
    source, target = drawn_face((120, 80, 60)), drawn_face((220, 170, 150))
    eyes = np.isin(target.labels, [F.LEFT_EYE, F.RIGHT_EYE])
    around = cv2.dilate(eyes.astype(np.uint8), np.ones((9, 9))) > 0
    labels = target.labels.copy()
    labels[around] = F.GLASSES
    clear, dark = target.image.copy(), target.image.copy()
    clear[eyes] = (200, 190, 180)
    dark[around] = (15, 15, 15)
    masks = [
        MeshSwap({})(
            [
                SwapInput(
                    source=source,
                    target=FaceView(image=RGBImage(image), landmarks=target.landmarks, labels=LabelMap(labels)),
                )
            ]
        )[0].mask
        for image in (clear, dark)
    ]
    assert masks[0][eyes].mean() > 200
    assert masks[1][eyes].max() == 0


def test_light_from_the_side_is_kept() -> None:
    source = np.full((SIDE, SIDE, 3), (150, 110, 90), np.uint8)
    ramp = np.linspace(0.6, 1.2, SIDE)[None, :, None]
    target = np.clip(source * ramp, 0, 255).astype(np.uint8)
    all_of_it = np.ones((SIDE, SIDE), np.float32)
    lit = matched(RGBImage(source), RGBImage(target), all_of_it, all_of_it, width=160, tone=1.0) * 255
    difference = np.abs(lit - target)[:, 30:-30]
    assert difference.mean() < 4


def test_smoothing_takes_nothing_from_what_is_not_known() -> None:
    values = np.full((64, 64, 3), 5, np.float32)
    values[:, 32:] = 1e6
    known = np.zeros((64, 64), np.float32)
    known[:, :32] = 1
    assert np.allclose(smooth_known(values, known, 4.0), 5, atol=1e-2)
