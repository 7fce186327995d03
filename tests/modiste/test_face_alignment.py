"""Alignment against what insightface, GPEN and e4e gave for the same points and pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.kit import Kit, feeds
from modiste.face_alignment import (
    arcface_template,
    crop_by_template,
    crop_like_ffhq,
    facexlib_template,
    ffhq_quad,
    ffhq_surroundings,
    five_points,
    gpen_template,
    robust_similarity,
)
from modiste.geometry import Points, invert, similarity, transform
from modiste.image import RGBImage

FIVE: Points = np.array(
    [[53.090656, 88.708267], [108.656258, 98.448364], [73.132042, 116.751633], [47.864674, 146.497375],
     [84.563538, 152.411484]], np.float32,
)  # fmt: skip


def blocks(height: int, width: int, seed: int) -> RGBImage:
    """Squares of 8 x 8 pixels in random colours."""
    kit = Kit(name="", shapes={}, dtypes={}, inputs={"x": ("smooth", (3, height, width), seed)})
    return RGBImage(np.ascontiguousarray((feeds(kit)["x"].transpose(1, 2, 0) * 127 + 128).astype(np.uint8)))


def landmarks(points: dict[int, tuple[int, int]]) -> Points:
    found = np.zeros((68, 2), np.float32)
    for index, point in points.items():
        found[index] = point
    return found


INSIDE = landmarks(
    dict(
        zip(
            [*range(36, 49), 54],
            [(280, 216), (285, 220), (294, 220), (300, 218), (296, 214), (285, 213), (341, 222), (344, 226), (355, 227),
             (360, 224), (355, 220), (346, 218), (290, 277), (339, 282)],
            strict=True,
        )
    )
)  # fmt: skip
AT_THE_BORDER = landmarks(
    dict(
        zip(
            [*range(36, 49), 54],
            [(38, 103), (46, 105), (58, 104), (64, 97), (56, 94), (45, 97), (116, 83), (123, 86), (137, 82), (142, 76),
             (134, 74), (121, 78), (77, 170), (141, 154)],
            strict=True,
        )
    )
)  # fmt: skip


def test_arcface_matrices() -> None:
    matrix = np.array([[0.67120055, 0.15526383, -12.00033844], [-0.15526383, 0.67120055, 2.38444309]])
    for side, scale, shift in ((112, 1, 0), (224, 2, 0), (128, 1, 8), (256, 2, 16)):
        found = similarity(FIVE, arcface_template(side).astype(np.float32))
        assert np.abs(found - (matrix * scale + [[0, 0, shift], [0, 0, 0]])).max() < 1e-4
    with pytest.raises(ValueError, match="112 or 128"):
        arcface_template(200)


def test_gpen_template_and_crop() -> None:
    np.testing.assert_allclose(gpen_template()[2], [256.07679966, 303.95917038], atol=1e-6)
    np.testing.assert_allclose(gpen_template(256)[4], [150.44556245, 183.16815476], atol=1e-6)
    cut, matrix = crop_by_template(blocks(300, 400, 7), FIVE, gpen_template(), 512)
    back = [[0.46403242, -0.10734118, -12.68681745], [0.10734118, 0.46403242, -48.20356394]]
    np.testing.assert_allclose(invert(matrix), back, atol=1e-4)
    assert cut.reshape(-1)[::50021].tolist() == [0, 0, 0, 91, 42, 141, 54, 3, 195, 0, 250, 202, 4, 65, 73, 233]


def test_one_wrong_point_does_no_harm_to_a_robust_similarity() -> None:
    matrix = np.array([[1.5, 0.3, 20], [-0.3, 1.5, -10]])
    template = facexlib_template(256)
    points = transform(template.astype(np.float32), invert(matrix))
    points[2] += 40
    assert np.abs(robust_similarity(points, template) - matrix).max() < 1e-2


def test_ffhq_crops() -> None:
    picture = blocks(480, 640, 3)
    cut, matrix = crop_like_ffhq(picture, INSIDE)
    assert cut.reshape(-1)[::1009][:8].tolist() == [132, 55, 46, 37, 20, 124, 46, 223]
    assert abs(float(cut.mean()) - 126.92599996) < 1e-4
    # The matrix takes the middle between the eyes to where the square has it.
    eyes = (INSIDE[36:42].mean(0) + INSIDE[42:48].mean(0)) / 2
    assert 100 < transform(eyes[None], matrix)[0, 0] < 156

    around, quad = ffhq_surroundings(picture, ffhq_quad(AT_THE_BORDER), 256)
    assert around.shape == (552, 552, 3)
    np.testing.assert_allclose(quad.corners[0] + 0.5, [32.53007239, 113.97153995], atol=1e-6)
    cut, _ = crop_like_ffhq(picture, AT_THE_BORDER)
    assert cut.reshape(-1)[::1009][:8].tolist() == [119, 144, 132, 129, 136, 133, 130, 166]


def test_five_points_of_sixty_eight() -> None:
    found = five_points(INSIDE)
    np.testing.assert_allclose(found[0], [290, 216.8333], atol=1e-3)
    assert found[3:].tolist() == [[290, 277], [339, 282]]


@pytest.mark.shared
def test_every_stored_alignment(shared: Path) -> None:
    stored: dict[str, Any] = json.loads((shared / "parity" / "face" / "face_align.golden.json").read_text())
    for case in stored["arcface_estimate_norm"]:
        for side in (112, 224, 128, 256):
            found = similarity(np.array(case["lmk"], np.float32), arcface_template(side).astype(np.float32))
            assert np.abs(found - case[f"M{side}"]).max() < 2e-4
    for side, template in stored["gpen_reference_5pts"].items():
        np.testing.assert_allclose(gpen_template(int(side)), template, atol=1e-9)
    picture = blocks(300, 400, 7)
    for case in stored["gpen_warp"]["cases"]:
        cut, matrix = crop_by_template(picture, np.array(case["lmk"], np.float32), gpen_template(), 512)
        np.testing.assert_allclose(invert(matrix), case["tfm_inv"], atol=1e-4)
        assert cut.reshape(-1)[::50021].tolist() == case["crop_sub"]
        np.testing.assert_allclose([cut.mean(), cut.std()], [case["crop_mean"], case["crop_std"]], atol=1e-3)
    picture = blocks(480, 640, 3)
    for case in stored["ffhq_align_256"]["cases"]:
        points = np.array(case["landmarks68"], np.float32)
        around, quad = ffhq_surroundings(picture, ffhq_quad(points), 256)
        assert list(around.shape[1::-1]) == case["transform_source_size_wh"]
        corners = (quad.corners + 0.5).ravel()
        np.testing.assert_allclose(corners, case["quad_plus_half_in_cropped_padded_image"], atol=1e-6)
        cut, _ = crop_like_ffhq(picture, points)
        assert cut.reshape(-1)[::1009].tolist() == case["out_sub_stride1009"]
        np.testing.assert_allclose([cut.mean(), cut.std()], [case["out_mean"], case["out_std"]], atol=1e-4)
