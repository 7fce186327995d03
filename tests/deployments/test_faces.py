"""The face networks: their geometry without weights, and their results on renders whose truth is known."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments import model_class, open_model
from deployments.base import Model
from deployments.bisenet_v2 import model as bisenet
from deployments.blazeface import model as blazeface_model
from deployments.centerface import model as centerface
from deployments.dlib_resnet.model import POINTS, TEMPLATE, to_chip
from deployments.face_mesh.model import FaceMeshModel, roi
from deployments.mobile_stylegan.model import MEAN_STYLE, latent
from deployments.real_esrgan.model import OVERLAP, TILE, RealESRGAN, spans
from deployments.roles import Face, FaceSeed, IdentityInput, LandmarksInput, RestorationInput, face_from_landmarks
from modiste.errors import InvalidOption
from modiste.face_parts import PAIRS, by_side, largest
from modiste.geometry import Box, crop, similarity, transform
from modiste.image import Embedding, LabelMap, Landmarks, RGBImage, decode
from modiste.labels import FacePart
from modiste.spec import EngineSpec

PERSONS = ("ana", "ken", "leo", "mei", "nia", "sam")


@pytest.fixture(scope="module")
def models() -> Iterator[Any]:
    """Opens a model by id once, and all of them closed at the end."""
    opened: dict[str, Model[Any, Any]] = {}
    with ExitStack() as stack:

        def get(model_id: str) -> Model[Any, Any]:
            if model_id not in opened:
                opened[model_id] = open_model(model_id)
                stack.callback(opened[model_id].close)
            return opened[model_id]

        yield get


@pytest.fixture(scope="module")
def astronaut() -> RGBImage:
    return RGBImage(skimage.data.astronaut())


def person(samples: Path, name: str) -> tuple[RGBImage, dict[str, NDArray[np.float32]], NDArray[np.uint8]]:
    """Picture, joints by name, label map as samples/persons/legend.json says."""
    image = decode((samples / "persons" / f"{name}.jpg").read_bytes())
    joints = json.loads((samples / "persons" / f"{name}.keypoints.json").read_text())["keypoints"]
    labels = cv2.imread(str(samples / "persons" / f"{name}.labels.png"), cv2.IMREAD_GRAYSCALE)
    assert labels is not None
    return image, {j["name"]: np.array([j["x"], j["y"]], np.float32) for j in joints}, labels.astype(np.uint8)


def a_face(angle: float = 0.0) -> Face:
    cos, sin = np.cos(angle), np.sin(angle)
    eyes = np.array([[-30, -20], [30, -20]]) @ np.array([[cos, sin], [-sin, cos]]) + (200, 150)
    return Face(box=Box(150, 100, 250, 200), score=1.0, eyes=eyes.astype(np.float32))


# --- geometry, without weights --------------------------------------------------------------------------------------


def test_blazeface_anchors_are_the_centres_of_two_grids() -> None:
    anchors = blazeface_model.anchors()
    assert anchors.shape == (896, 2)
    assert np.allclose(anchors[[0, 1, 2, 511, 512, 517, 518, 895]], [
        [4, 4], [4, 4], [12, 4], [124, 124], [8, 8], [8, 8], [24, 8], [120, 120],
    ])  # fmt: skip


def test_blazeface_finds_what_its_outputs_say() -> None:
    """A box and its points, written into the network's outputs, come back in the picture's pixels."""
    height, width = 300, 600
    scale, left, top = blazeface_model.letterbox(height, width)
    assert (left, top) == (0, 32)
    box, eyes = Box(240, 90, 330, 180), np.array([[260, 120], [310, 118]], np.float32)
    regressors, scores = np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -20, np.float32)
    anchor = blazeface_model.anchors()[600]
    centre = np.array(box.centre) * scale + (left, top)
    points = (eyes + 0.5) * scale + (left, top) - anchor
    regressors[0, 600] = [*(centre - anchor), box.width * scale, box.height * scale, *points[::-1].ravel(), *[0] * 8]
    scores[0, 600] = 3
    model = model_class("blazeface")({})
    (face,) = model.postprocess(
        {"regressors": regressors, "classificators": scores}, RGBImage(np.zeros((height, width, 3), np.uint8))
    )
    assert face.box.iou(box) > 0.999
    assert np.allclose(face.eyes, eyes, atol=1e-3)
    assert face.score == pytest.approx(1 / (1 + np.exp(-3)))


def test_overlapping_predictions_are_averaged_by_score() -> None:
    one = np.array([[10, 10], [20, 20], *[[15, 15]] * 6], np.float32)
    other, far = one + 1, one + 50
    found = blazeface_model.merge(np.stack([other, far, one]), np.array([0.5, 0.6, 1.0], np.float32))
    assert [score for _, score in found] == pytest.approx([1.0, 0.6])
    assert np.allclose(found[0][0], one + 1 / 3)
    assert np.allclose(found[1][0], far)
    assert blazeface_model.merge(np.zeros((0, 8, 2), np.float32), np.zeros(0, np.float32)) == []


@pytest.mark.parametrize("angle", [0.0, 0.6, -1.2])
def test_mesh_points_return_to_where_they_were(angle: float) -> None:
    """What the network would see at a place maps back to that place, depth at the same scale."""
    face = a_face(angle)
    matrix = roi(face)
    assert np.ptp(transform(face.eyes, matrix)[:, 1]) < 1e-3  # level
    truth = np.random.default_rng(0).uniform(120, 280, (468, 3)).astype(np.float32)
    scale = 192 / 150
    seen = np.hstack([transform(truth[:, :2], matrix) + 0.5, truth[:, 2:] * scale])
    outputs: Tensors = {
        "conv2d_21": seen.reshape(1, 1, 1, 1404),
        "conv2d_31": np.full((1, 1, 1, 1), 2.0, np.float32),
    }
    picture = RGBImage(np.zeros((400, 400, 3), np.uint8))
    mesh = FaceMeshModel({}).postprocess(outputs, LandmarksInput(image=picture, face=face))
    assert np.allclose(mesh.points, truth, atol=0.01)
    assert mesh.score == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_face_made_from_landmarks_lies_on_them() -> None:
    points = np.zeros((468, 3), np.float32)
    points[:, :2] = np.random.default_rng(1).uniform(100, 200, (468, 2))
    points[[33, 133], :2] = [[160, 120], [180, 130]]
    points[[362, 263], :2] = [[120, 120], [140, 124]]  # upside down
    face = face_from_landmarks(Landmarks(points), score=0.7)
    assert np.allclose(face.eyes, [[130, 122], [170, 125]])
    assert face.score == 0.7
    assert face.box.left <= points[:, 0].min() + 0.5 and face.box.bottom >= points[:, 1].max() + 0.5


@pytest.mark.parametrize(
    ("size", "seen"),
    [((600, 800), (608, 800)), ((1200, 1600), (608, 800)), ((3000, 100), (800, 32)), ((7, 5), (32, 32))],
)
def test_centerface_sees_multiples_of_32(size: tuple[int, int], seen: tuple[int, int]) -> None:
    height, width, scale = centerface.network_size(*size)
    assert (height, width) == seen
    assert scale == min(1.0, 800 / max(size))


def test_centerface_finds_what_its_outputs_say() -> None:
    shape = (152, 200)
    planes = {"537": 1, "538": 2, "539": 2, "540": 10}
    outputs = {name: np.zeros((1, count, *shape), np.float32) for name, count in planes.items()}
    for row, column, score in ((50, 70, 0.9), (50, 71, 0.8), (100, 20, 0.6)):
        outputs["537"][0, 0, row, column] = score
        outputs["538"][0, :, row, column] = np.log([10, 8])
        outputs["539"][0, :, row, column] = [0.25, 0.5 - (column == 71)]
        outputs["540"][0, :4, row, column] = [0.4, 0.25, 0.5, 0.75]
    picture = RGBImage(np.zeros((1200, 1600, 3), np.uint8))  # seen at half its size
    first, second = model_class("centerface")({}).postprocess(outputs, picture)
    assert [first.score, second.score] == pytest.approx([0.9, 0.6])
    assert first.box.iou(Box((71 - 4) * 8, (50.75 - 5) * 8, (71 + 4) * 8, (50.75 + 5) * 8)) > 0.999
    assert np.allclose(first.eyes, [[552 - 0.5, 398 - 0.5], [584 - 0.5, 406 - 0.5]], atol=1e-3)


def test_sides_follow_the_head_not_the_picture() -> None:
    """An upright face with its parts, and the same face turned by 60 degrees: left stays left."""
    labels = np.zeros((200, 200), np.uint8)
    labels[80:90, 60:80], labels[80:90, 120:140] = FacePart.LEFT_EYE, FacePart.LEFT_EYE
    labels[90:120, 30:40], labels[90:120, 160:170] = FacePart.RIGHT_EAR, FacePart.LEFT_EAR
    labels[85:120, 92:108] = FacePart.NOSE
    labels[140:150, 80:120] = FacePart.MOUTH
    expected = labels.copy()
    expected[80:90, 60:80] = FacePart.RIGHT_EYE
    assert np.array_equal(by_side(LabelMap(labels)), expected)
    turn = cv2.getRotationMatrix2D((100, 100), 60, 1)
    turned = partial(cv2.warpAffine, M=turn, dsize=(200, 200), flags=cv2.INTER_NEAREST)
    assert np.array_equal(by_side(LabelMap(turned(labels))), turned(expected))


@pytest.mark.parametrize("parts", [[], [FacePart.LEFT_EAR], [FacePart.LEFT_EYE]])
def test_sides_of_what_little_is_seen(parts: list[FacePart]) -> None:
    labels = np.zeros((50, 50), np.uint8)
    for part in parts:
        labels[10:20, 5:10] = part
    assert set(np.unique(by_side(LabelMap(labels)))) <= {0, FacePart.RIGHT_EAR, FacePart.RIGHT_EYE, *parts}


@pytest.mark.parametrize(("size", "seen"), [((448, 448), (448, 448)), ((900, 600), (448, 320)), ((3, 200), (64, 448))])
def test_the_parser_sees_crops_nearly_in_their_shape(size: tuple[int, int], seen: tuple[int, int]) -> None:
    assert bisenet.network_size(*size) == seen


def test_the_largest_logit_wins_at_the_size_asked_for() -> None:
    logits = np.full((19, 8, 8), -5, np.float32)
    logits[0] = 0
    logits[4, :4], logits[18, 4:] = 3, 2
    labels = largest(logits, 80, 40)
    assert labels.shape == (80, 40)
    assert (labels[:38] == 4).all() and (labels[42:] == 18).all()


def test_faces_are_aligned_to_the_template() -> None:
    points = np.zeros((468, 3), np.float32)
    move = similarity(np.array([[0, 0], [1, 0]], np.float32), np.array([[300, 200], [350, 240]], np.float32))
    points[list(POINTS), :2] = transform(TEMPLATE, move)
    chip = transform(points[list(POINTS), :2], to_chip(Landmarks(points)))
    assert np.allclose(chip, (TEMPLATE + 0.25) / 1.5 * 150, atol=1e-3)


@pytest.mark.parametrize("length", [1, 128, 129, 300, 1000])
def test_tiles_cover_a_side_and_fit_the_network(length: int) -> None:
    parts = spans(length)
    assert parts[0][0] == 0 and parts[-1][1] == length
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    if length > TILE:
        assert max(stop - start for start, stop in parts) + 2 * OVERLAP <= TILE


class Enlarge:
    """The engine of a network that repeats each pixel four times."""

    spec: EngineSpec = RealESRGAN.spec.engines["main"]

    def __call__(self, feeds: Tensors) -> Tensors:
        return {"output": feeds["image"].repeat(4, axis=2).repeat(4, axis=3)}

    def close(self) -> None: ...


def restoring(image: RGBImage, scale: int) -> RestorationInput:
    """For a model that does not ask where the face is."""
    return RestorationInput(image=image, landmarks=Landmarks(np.zeros((468, 3), np.float32)), scale=scale)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_restoration_keeps_every_pixel_in_place(scale: int) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (150, 301, 3), np.uint8)
    (larger,) = RealESRGAN({"main": Enlarge()})([restoring(RGBImage(picture), scale)])
    assert np.array_equal(larger, picture.repeat(scale, axis=0).repeat(scale, axis=1))


def test_restoration_refuses_other_scales() -> None:
    with pytest.raises(InvalidOption, match="1, 2 or 4, got 3"):
        RealESRGAN({}).preprocess(restoring(RGBImage(np.zeros((8, 8, 3), np.uint8)), 3))


def test_a_seed_always_means_the_same_latent() -> None:
    z = latent(2**32 - 1)
    assert z.shape == (1, 512) and z.dtype == np.float32
    assert np.array_equal(z, latent(2**32 - 1))
    assert np.allclose(latent(7)[0, :3], [1.521969, -1.144106, 1.150162], atol=1e-6)


# --- real weights ---------------------------------------------------------------------------------------------------


def landmarks(models: Any, image: RGBImage, detector: str = "blazeface") -> Landmarks:
    ((face, *_),) = models(detector)([image])
    (mesh,) = models("face_mesh")([LandmarksInput(image=image, face=face)])
    assert mesh.score > 0.9
    return Landmarks(mesh.points)


@pytest.mark.weights
@pytest.mark.parametrize("name", PERSONS)
def test_detectors_and_mesh_find_the_eyes(models: Any, samples: Path, name: str) -> None:
    image, joints, labels = person(samples, name)
    eyes = np.stack([joints["r_eye"], joints["l_eye"]])
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    rows, columns = np.nonzero(labels == 2)
    head = Box(float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
    for detector, reach, overlap in (("blazeface", 0.25, 0.45), ("centerface", 0.1, 0.65)):
        (faces,) = models(detector)([image])
        assert len(faces) == 1
        assert faces[0].box.iou(head) > overlap
        assert np.linalg.norm(faces[0].eyes - eyes, axis=1).max() < reach * apart
        points = landmarks(models, image, detector)
        again = face_from_landmarks(points)
        assert np.linalg.norm(again.eyes - eyes, axis=1).max() < 0.06 * apart
        assert np.linalg.norm(points[1, :2] - joints["nose"]) < 0.15 * apart
        assert points[1, 2] < points[[234, 454], 2].min()  # the nose is nearer than the cheeks' edges


@pytest.mark.weights
def test_tracking_by_mesh_stays_on_the_face(models: Any, astronaut: RGBImage) -> None:
    points = landmarks(models, astronaut)
    moved = face_from_landmarks(points)
    (second,) = models("face_mesh")([LandmarksInput(image=astronaut, face=moved)])
    assert np.abs(second.points[:, :2] - points[:, :2]).mean() < 0.02 * moved.box.width


@pytest.mark.weights
def test_mesh_turns_with_the_head(models: Any, astronaut: RGBImage) -> None:
    points = landmarks(models, astronaut)
    turn = cv2.getRotationMatrix2D((225, 130), 40, 1)
    turned = RGBImage(cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE))
    face = face_from_landmarks(Landmarks(np.hstack([transform(points, turn), points[:, 2:]])))
    (found,) = models("face_mesh")([LandmarksInput(image=turned, face=face)])
    assert np.linalg.norm(found.points[:, :2] - transform(points, turn), axis=1).mean() < 0.03 * face.box.width


@pytest.mark.weights
def test_no_face_where_there_is_none(models: Any, samples: Path) -> None:
    garment = decode((samples / "garments" / "g01_tee_breton_women.jpg").read_bytes())
    for detector in ("blazeface", "centerface"):
        assert models(detector)([garment]) == [()]
    nowhere = LandmarksInput(image=garment, face=a_face())
    assert models("face_mesh")([nowhere])[0].score < 0.5


@pytest.mark.weights
def test_centerface_finds_small_faces_among_many(models: Any, samples: Path) -> None:
    """Four by six people of 150 x 200 px each, faces about 25 px."""
    rows = []
    for shift in range(4):
        names = (PERSONS * 2)[shift : shift + 6]
        pictures = [person(samples, name)[0] for name in names]
        rows.append(np.hstack([cv2.resize(p, (150, 200), interpolation=cv2.INTER_AREA) for p in pictures]))
    (faces,) = models("centerface")([RGBImage(np.vstack(rows))])
    assert len({(int(f.box.centre[0] // 150), int(f.box.centre[1] // 200)) for f in faces}) == len(faces) == 24


@pytest.mark.weights
@pytest.mark.parametrize("name", PERSONS)
def test_parsing_agrees_with_the_renders(models: Any, samples: Path, name: str) -> None:
    image, _, truth = person(samples, name)
    ((face,),) = models("centerface")([image])
    head, box = crop(image, face.box.scaled(2.0))
    (labels,) = models("bisenet_v2")([head])
    assert labels.shape == head.shape[:2]
    true = truth[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]

    def iou(parts: set[FacePart], label: int) -> float:
        found, there = np.isin(labels, list(parts)), true == label
        return float((found & there).sum() / (found | there).sum())

    inner = set(FacePart) - {
        FacePart.BACKGROUND, FacePart.NECK, FacePart.NECKLACE, FacePart.CLOTH, FacePart.HAIR, FacePart.HAT,
        FacePart.EARRING, FacePart.GLASSES,
    }  # fmt: skip
    assert iou(inner, 2) > 0.88
    assert iou({FacePart.HAIR, FacePart.HAT}, 1) > 0.8
    assert iou({FacePart.NECK, FacePart.NECKLACE}, 3) > 0.7


@pytest.mark.weights
def test_parsing_tells_left_from_right(models: Any, astronaut: RGBImage) -> None:
    points = landmarks(models, astronaut)
    head, box = crop(astronaut, face_from_landmarks(points).box.scaled(2.0))
    (labels,) = models("bisenet_v2")([head])
    for part, corners in ((FacePart.RIGHT_EYE, (33, 133)), (FacePart.LEFT_EYE, (362, 263))):
        rows, columns = np.nonzero(labels == part)
        middle = points[list(corners), :2].mean(axis=0) - (box.left, box.top)
        assert np.linalg.norm([columns.mean() - middle[0], rows.mean() - middle[1]]) < 4
    (mirrored,) = models("bisenet_v2")([RGBImage(np.ascontiguousarray(head[:, ::-1]))])
    for left, right in PAIRS:
        assert abs(int((mirrored == left).sum()) - int((labels == right).sum())) < 0.5 * (labels == right).sum() + 30


def identity(models: Any, image: RGBImage) -> Embedding:
    points = landmarks(models, image)
    (embedding,) = models("dlib_resnet")([IdentityInput(image=image, landmarks=points)])
    assert embedding.shape == (128,) and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    return Embedding(embedding)


@pytest.mark.weights
def test_identity_survives_what_is_not_identity(models: Any, samples: Path, astronaut: RGBImage) -> None:
    own = identity(models, astronaut)
    turn = cv2.getRotationMatrix2D((225, 130), 15, 0.9)
    same = [
        astronaut[:, ::-1],
        cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA),
        (255 * (astronaut / 255) ** 1.6).astype(np.uint8),
        cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE),
        astronaut[:300, 60:400],
    ]
    alike = [own @ identity(models, RGBImage(np.ascontiguousarray(picture))) for picture in same]
    others = [own @ identity(models, person(samples, name)[0]) for name in PERSONS]
    assert min(alike) > 0.96
    assert max(others) < 0.9


@pytest.mark.weights
@pytest.mark.shared
def test_strangers_are_told_apart(models: Any, shared: Path) -> None:
    pictures = [decode(path.read_bytes()) for path in sorted((shared / "data" / "portraits").glob("*.jpg"))[:24]]
    seen = [picture for picture in pictures if models("blazeface")([picture])[0]]
    assert len(seen) >= 22
    embeddings = np.stack([identity(models, picture) for picture in seen])
    mirrored = np.stack([identity(models, RGBImage(np.ascontiguousarray(p[:, ::-1]))) for p in seen])
    cosines = embeddings @ mirrored.T
    own, others = np.diag(cosines), cosines[~np.eye(len(seen), dtype=bool)]
    assert own.min() > others.max()
    assert np.median(others) < 0.88


@pytest.mark.weights
def test_the_generator_makes_faces_again(models: Any) -> None:
    seeds = [FaceSeed(seed=3, truncation=0.7), FaceSeed(seed=3, truncation=0.0)]
    face, mean = models("mobile_stylegan")(seeds)
    assert face.shape == (1024, 1024, 3) and face.dtype == np.uint8
    assert np.array_equal(face, models("mobile_stylegan")(seeds[:1])[0])
    assert np.abs(face.astype(int) - mean).mean() > 10
    ((found,),) = models("blazeface")([face])
    assert np.linalg.norm(found.eyes - [[385, 480], [639, 480]], axis=1).max() < 60  # FFHQ template
    styles = models("mobile_stylegan").engines["mapping"]({"var": np.concatenate([latent(s) for s in range(256)])})
    assert np.abs(styles["style"].mean(axis=0) - MEAN_STYLE).max() < 5 * styles["style"].std(axis=0).max() / 16


@pytest.mark.weights
def test_restoration_sharpens_towards_the_original(models: Any, astronaut: RGBImage) -> None:
    """A face shrunk to a quarter comes back with more of its edges than interpolation gives."""
    original = astronaut[32:192, 144:304]
    small = RGBImage(cv2.resize(original, (40, 40), interpolation=cv2.INTER_AREA))
    restored, same_size = models("real_esrgan")([restoring(small, 4), restoring(small, 1)])
    cubic = cv2.resize(small, (160, 160), interpolation=cv2.INTER_CUBIC)
    assert restored.shape == original.shape and same_size.shape == small.shape

    def detail(picture: NDArray[np.uint8]) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())

    assert detail(restored) > 2 * detail(cubic)
    assert np.abs(cv2.resize(restored, (40, 40), interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 8
