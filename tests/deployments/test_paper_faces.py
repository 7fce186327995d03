"""The published face models around their networks: what engines are given, and what becomes of what they give."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from compile.engine import Tensors, check_feeds
from deployments import model_class
from deployments.gpen.model import BORDER, STRENGTH, enlarged, mask_of
from deployments.retinaface import decode
from deployments.roles import IdentityInput, RestorationInput
from deployments.unet_lapa.model import LAPA
from modiste.errors import InvalidOption
from modiste.face_alignment import arcface_template, five_points, gpen_template, landmarks_of_mesh
from modiste.face_mesh import neutral
from modiste.geometry import Box, invert, similarity, transform
from modiste.image import Landmarks, RGBImage
from modiste.labels import FacePart
from modiste.spec import EngineSpec

Fed = NDArray[np.float32]


@dataclass
class Known:
    """An engine that gives what a test knows."""

    spec: EngineSpec
    gives: Callable[[Fed], dict[str, Fed]]

    def __call__(self, feeds: Tensors) -> Tensors:
        check_feeds(self.spec, feeds)
        (fed,) = feeds.values()
        return self.gives(fed)

    def close(self) -> None: ...


def opened(model_id: str, **gives: Callable[[Fed], dict[str, Fed]]) -> Any:
    found = model_class(model_id)
    return found({name: Known(found.spec.engines[name], given) for name, given in gives.items()})


def picture(height: int, width: int, seed: int = 0) -> RGBImage:
    """Soft colours without edges."""
    coarse = np.random.default_rng(seed).integers(40, 215, (6, 5, 3)).astype(np.float32)
    return RGBImage(
        np.rint(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)).clip(0, 255).astype("B")
    )


def mesh(x: float, y: float, width: float, angle: float = 0.0) -> Landmarks:
    """The neutral face about a place, turned in the picture by an angle in radians."""
    cos, sin = np.cos(angle) * width / 1000, np.sin(angle) * width / 1000
    points = neutral() @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, width / 1000]], np.float32)
    return Landmarks((points + np.array([x, y, 0], np.float32)).astype(np.float32))


# --- RetinaFace ------------------------------------------------------------------------------------------------------


def planted(height: int, width: int, box: Box, points: Fed) -> dict[str, Fed]:
    """What the network gives for a picture of this size that shows one face; points: [5, 2]."""
    priors = decode.priors(height, width)
    size = np.array([width, height], np.float32)
    centre, sides = np.array(box.centre) / size, np.array([box.width, box.height]) / size
    chosen = np.abs(np.concatenate([(centre - priors[:, :2]), np.log(sides / priors[:, 2:]) / 9], 1)).sum(1).argmin()
    loc, landms = np.zeros((1, len(priors), 4), np.float32), np.zeros((1, len(priors), 10), np.float32)
    logits = np.tile(np.array([5, -5], np.float32), (1, len(priors), 1))
    around = priors[chosen]
    loc[0, chosen, :2] = (centre - around[:2]) / (0.1 * around[2:])
    loc[0, chosen, 2:] = np.log(sides / around[2:]) / 0.2
    landms[0, chosen] = ((points / size - around[:2]) / (0.1 * around[2:])).ravel()
    logits[0, chosen] = [0, 3]
    return {"loc": loc, "logits": logits, "landms": landms}


@pytest.mark.parametrize(
    ("model_id", "size", "seen"),
    [
        ("retinaface_mobilenet", (333, 517), (333, 517)),
        ("retinaface_mobilenet", (1201, 900), (640, 480)),
        ("retinaface_r50", (333, 1497), (333, 1497)),
        ("retinaface_r50", (3001, 2000), (1000, 666)),
    ],
)
def test_a_planted_face_is_found_at_its_place(model_id: str, size: tuple[int, int], seen: tuple[int, int]) -> None:
    height, width = size
    scale = np.array([seen[1] / width, seen[0] / height], np.float32)
    box = Box(width * 0.3, height * 0.2, width * 0.5, height * 0.5)
    points = np.array([[0.45, 0.3], [0.36, 0.31], [0.4, 0.35], [0.37, 0.4], [0.44, 0.4]], np.float32) * (width, height)
    in_network = Box(
        *(float(edge) for edge in np.array([box.left, box.top, box.right, box.bottom]) * np.tile(scale, 2))
    )
    fed = []

    def gives(image: Fed) -> dict[str, Fed]:
        fed.append(image)
        return planted(*seen, in_network, ((points + 0.5) * scale - 0.5).astype(np.float32))

    image = np.zeros((height, width, 3), np.uint8)
    image[:] = 10, 20, 30
    (face,) = opened(model_id, main=gives)([RGBImage(image)])[0]
    assert fed[0].shape == (1, 3, *seen)
    assert np.allclose(fed[0][0, :, 7, 7], (30 - 104, 20 - 117, 10 - 123))
    assert face.box.iou(box) > 0.999
    assert face.score == pytest.approx(1 / (1 + np.exp(-3)))
    assert np.allclose(face.eyes, points[[1, 0]], atol=0.02)  # the one further left first
    assert face.eyes.dtype == np.float32


def test_where_there_is_no_face_nothing_is_found() -> None:
    def gives(image: Fed) -> dict[str, Fed]:
        count = len(decode.priors(*image.shape[2:]))
        sizes = {"loc": 4, "logits": 2, "landms": 10}
        return {name: np.zeros((1, count, values), np.float32) for name, values in sizes.items()}  # score 0.5 each

    assert opened("retinaface_r50", main=gives)([picture(40, 60)]) == [()]


# --- ArcFace ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "angle"), [(90.0, 0.0), (150.0, 0.6), (70.0, -2.5)])
def test_arcface_sees_the_five_points_on_its_template(width: float, angle: float) -> None:
    """Each point as a bright spot; the network finds it where the best similarity transform of the mesh puts it."""
    points = mesh(160, 120, width, angle)
    five = five_points(landmarks_of_mesh(points))
    template = arcface_template(112).astype(np.float32)
    expected = transform(five, similarity(five, template))
    assert np.abs(expected - template).max() < 8  # a neutral face is nearly the mean face
    for number, place in enumerate(five):
        spot = np.zeros((260, 320, 3), np.float32)
        rows, columns = np.mgrid[:260, :320]
        spot[..., number % 3] = 255 * np.exp(-((columns - place[0]) ** 2 + (rows - place[1]) ** 2) / 18)
        fed = []

        def gives(face: Fed, fed: list[Fed] = fed) -> dict[str, Fed]:
            fed.append(face)
            return {"embedding": np.arange(512, dtype=np.float32)[None] - 200}

        image = RGBImage(np.rint(spot).astype(np.uint8))
        (embedding,) = opened("arcface", main=gives)([IdentityInput(image=image, landmarks=points)])
        seen = (fed[0][0] + 1) / 2  # -1 is black
        assert seen.min() == 0
        assert [plane.max() > 0.3 for plane in seen] == [plane == number % 3 for plane in range(3)]
        weight = seen[number % 3] / seen.sum()
        rows, columns = np.mgrid[:112, :112]
        assert np.allclose([(weight * columns).sum(), (weight * rows).sum()], expected[number], atol=0.1)
        assert embedding.shape == (512,) and embedding.dtype == np.float32
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-6)
        assert embedding[0] < 0 < embedding[-1]


# --- parsers ---------------------------------------------------------------------------------------------------------


def a_head(height: int, width: int) -> NDArray[np.uint8]:
    """A layout of a head with all classes, sides the person's own, edges on none of the networks' pixels' borders."""
    labels = np.zeros((20, 20), np.uint8)
    labels[2:18, 3:17] = FacePart.SKIN
    labels[6, 5:8], labels[6, 12:15] = FacePart.RIGHT_BROW, FacePart.LEFT_BROW
    labels[8, 5:8], labels[8, 12:15] = FacePart.RIGHT_EYE, FacePart.LEFT_EYE
    labels[8:11, 2], labels[8:11, 17] = FacePart.RIGHT_EAR, FacePart.LEFT_EAR
    labels[7:12, 9:11] = FacePart.NOSE
    labels[13, 8:12], labels[14, 8:12], labels[15, 8:12] = FacePart.UPPER_LIP, FacePart.MOUTH, FacePart.LOWER_LIP
    labels[2:5, 3:17], labels[1, 3:17] = FacePart.HAIR, FacePart.HAT
    labels[18, 5:15], labels[18, 9:11], labels[19] = FacePart.NECK, FacePart.NECKLACE, FacePart.CLOTH
    labels[9, 5:8], labels[11, 2] = FacePart.GLASSES, FacePart.EARRING
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)


def painted(labels: NDArray[np.uint8]) -> RGBImage:
    """Classes in red, told apart from what blue says."""
    return RGBImage(np.stack([labels * 12, np.full_like(labels, 7), 255 - labels * 12], 2))


def one_hot(red: Fed, classes: int) -> dict[str, Fed]:
    """red: [N, H, W], 0-255"""
    found = np.rint(red / 12).astype(int).clip(0, classes - 1)
    return {"logits": np.eye(classes, dtype=np.float32)[found].transpose(0, 3, 1, 2) * 9}


def inside(labels: NDArray[np.uint8], reach: int = 2) -> NDArray[np.bool_]:
    """Where no other class is near."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    same: NDArray[np.bool_] = cv2.erode(labels, kernel) == cv2.dilate(labels, kernel)
    return same


@pytest.mark.parametrize("size", [(300, 220), (512, 512), (700, 900)])
@pytest.mark.parametrize("confused", [False, True])
def test_bisenet_tells_all_parts_at_the_crops_size(size: tuple[int, int], confused: bool) -> None:
    labels = a_head(*size)
    assert set(np.unique(labels)) == set(FacePart)
    shown = np.where(labels == FacePart.RIGHT_EYE, FacePart.LEFT_EYE, labels).astype(np.uint8) if confused else labels

    def gives(image: Fed) -> dict[str, Fed]:
        return one_hot((image[:, 0] * 0.229 + 0.485) * 255, len(FacePart))

    (found,) = opened("bisenet_r18", main=gives)([painted(shown)])
    assert found.shape == size and found.dtype == np.uint8
    assert np.array_equal(found[inside(labels)], labels[inside(labels)])


@pytest.mark.parametrize("size", [(300, 220), (700, 900)])
def test_the_classes_of_lapa_are_face_parts(size: tuple[int, int]) -> None:
    labels = a_head(*size)
    unknown = ~np.isin(labels, LAPA)
    assert set(np.unique(labels[unknown])) == {
        FacePart.GLASSES, FacePart.LEFT_EAR, FacePart.RIGHT_EAR, FacePart.EARRING, FacePart.NECK, FacePart.NECKLACE,
        FacePart.CLOTH, FacePart.HAT,
    }  # fmt: skip
    labels[unknown] = FacePart.BACKGROUND
    number = np.zeros(len(FacePart), np.uint8)
    number[list(LAPA)] = np.arange(11)

    def gives(image: Fed) -> dict[str, Fed]:
        return one_hot(image[:, 2] * 255, 11)

    (found,) = opened("unet_lapa", main=gives)([painted(number[labels])])
    assert found.shape == size and found.dtype == np.uint8
    assert np.array_equal(found[inside(labels)], labels[inside(labels)])


# --- GPEN ------------------------------------------------------------------------------------------------------------


def as_it_is(face: Fed) -> dict[str, Fed]:
    return {"restored": face}


def white(face: Fed) -> dict[str, Fed]:
    return {"restored": np.full_like(face, 3.0)}  # more than white


def everywhere(part: int) -> Callable[[Fed], dict[str, Fed]]:
    def gives(face: Fed) -> dict[str, Fed]:
        logits = np.zeros((len(face), 19, *face.shape[2:]), np.float32)
        logits[:, part] = 5
        return {"logits": logits}

    return gives


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize(("width", "angle"), [(60.0, 0.3), (130.0, -0.7)])
def test_a_face_that_comes_back_as_it_went_changes_nothing(scale: int, width: float, angle: float) -> None:
    x = RestorationInput(image=picture(200, 180), landmarks=mesh(95, 90, width, angle), scale=scale)
    (restored,) = opened("gpen", main=as_it_is, parsing=everywhere(1))([x])
    assert restored.shape == (200 * scale, 180 * scale, 3) and restored.dtype == np.uint8
    assert np.abs(restored.astype(int) - enlarged(x)).max() <= 3


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_what_is_restored_lies_where_the_face_is(scale: int) -> None:
    """White within a disc of the aligned face: in the picture it is about the same place of the face."""
    middle, radius = np.array([230.0, 300.0]), 60.0
    rows, columns = np.mgrid[:512, :512]
    disc = (columns - middle[0]) ** 2 + (rows - middle[1]) ** 2 < radius**2

    def parse(face: Fed) -> dict[str, Fed]:
        assert face.max() == 1  # what is parsed is the restored face, in range
        logits = everywhere(0)(face)["logits"]
        logits[:, 13, disc] = 9
        return {"logits": logits}

    landmarks = mesh(100, 110, 120, 0.4)
    x = RestorationInput(image=picture(220, 200), landmarks=landmarks, scale=scale)
    (restored,) = opened("gpen", main=white, parsing=parse)([x])
    canvas = enlarged(x)
    five = five_points(landmarks_of_mesh(landmarks))
    aligning = similarity(five, gpen_template().astype(np.float32))
    place = transform(middle[None].astype(np.float32), invert(aligning))[0]
    expected = (place + 0.5) * scale - 0.5
    shown = (restored.astype(np.float32) - canvas).sum(2) / (255 - canvas.astype(np.float32)).sum(2) / STRENGTH
    rows, columns = np.mgrid[: shown.shape[0], : shown.shape[1]]
    centre = np.array([(shown * columns).sum(), (shown * rows).sum()]) / shown.sum()
    assert np.abs(centre - expected).max() < 0.25
    reach = radius * scale / np.sqrt(np.linalg.det(aligning[:, :2]))
    away = np.hypot(columns - expected[0], rows - expected[1])
    assert np.abs(shown[away < reach * 0.5] - 1).max() < 0.03
    assert np.array_equal(restored[away > reach * 1.6], canvas[away > reach * 1.6])


@pytest.mark.parametrize("part", [0, 14, 18])
def test_background_hat_and_clothes_stay(part: int) -> None:
    x = RestorationInput(image=picture(120, 100), landmarks=mesh(50, 60, 70), scale=2)
    (restored,) = opened("gpen", main=white, parsing=everywhere(part))([x])
    assert np.array_equal(restored, enlarged(x))


def test_the_mask_leaves_its_rim_and_is_soft() -> None:
    mask = mask_of(everywhere(13)(np.zeros((1, 3, 512, 512), np.float32))["logits"][0])
    assert mask.dtype == np.uint8
    assert mask[256, 256] == 255 and not mask[:5].any() and not mask[:, -5:].any()
    profile = mask[256, :60].astype(int)
    assert profile[26] == pytest.approx(127 + 9, abs=3)  # half a pixel inside of the step
    assert (np.diff(profile) >= 0).all()
    small = mask_of(everywhere(13)(np.zeros((1, 3, 64, 64), np.float32))["logits"][0])
    border = round(BORDER * 64)
    # Between pixel centres the step is crossed at half its height.
    assert int(small[32, border - 1]) + int(small[32, border]) == pytest.approx(255, abs=2)


def test_other_scales_are_refused() -> None:
    x = RestorationInput(image=picture(60, 60), landmarks=mesh(30, 30, 40), scale=3)
    with pytest.raises(InvalidOption, match="1, 2 or 4, got 3"):
        opened("gpen", main=as_it_is, parsing=everywhere(1))([x])


# --- with small networks ---------------------------------------------------------------------------------------------

PICTURES = (picture(140, 120, 1), picture(140, 120, 2), picture(140, 120, 3), picture(97, 211, 4))
INPUTS: dict[str, list[Any]] = {
    "retinaface_mobilenet": list(PICTURES),
    "retinaface_r50": list(PICTURES),
    "bisenet_r18": list(PICTURES),
    "unet_lapa": list(PICTURES),
    "arcface": [IdentityInput(image=image, landmarks=mesh(60, 60, 60)) for image in PICTURES],
    "gpen": [RestorationInput(image=image, landmarks=mesh(60, 60, 60), scale=2) for image in PICTURES],
}


@pytest.mark.torch
@pytest.mark.parametrize("model_id", INPUTS)
def test_a_batch_gives_what_singles_give(model_id: str, tmp_path: Path) -> None:
    from reduced import open_reduced

    model = open_reduced(model_id, tmp_path)
    inputs = INPUTS[model_id]
    alone = [model([x])[0] for x in inputs]
    for count in (3, 4):  # of one size, and of two
        for one, other in zip(model(inputs[:count]), alone, strict=False):
            assert same(one, other)
    for found, x in zip(alone, inputs, strict=True):
        if model_id == "arcface":
            assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
        elif model_id == "gpen":
            assert found.shape == (x.image.shape[0] * 2, x.image.shape[1] * 2, 3) and found.dtype == np.uint8
            assert not np.array_equal(found, enlarged(x))
        elif model_id.startswith("retinaface"):
            assert all(0.6 < face.score <= 1 for face in found)
        else:
            assert found.shape == x.shape[:2] and found.dtype == np.uint8
            assert set(np.unique(found)) <= set(LAPA if model_id == "unet_lapa" else FacePart)
    assert not same(alone[0], alone[1])
    model.close()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        assert one, "there is nothing to compare"
        faces = [[(face.box, face.score, *face.eyes.ravel()) for face in found] for found in (one, other)]
        return faces[0] == faces[1]
    return np.array_equal(one, other)
