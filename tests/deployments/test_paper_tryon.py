"""HR-VITON and Paint-by-Example around their networks: frames, masks, what stays of the photo."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_tryon
from reduced import open_reduced

from compile.engine import Tensors, check_feeds
from deployments import model_class
from deployments.base import Model
from deployments.hrviton.frame import (
    brought_back,
    enlarged,
    joints_of,
    labels_in,
    laid_flat,
    layer_of,
    person_frame,
)
from deployments.hrviton.labels import PAINTED, SEEN
from deployments.hrviton.synthesis import NOISE
from deployments.paint_by_example.region import UNDER_CHIN, layers, square_around
from deployments.roles import (
    BodySurface,
    ConditionedGarment,
    Dressed,
    FaceView,
    SuitInput,
    SynthesisInput,
    WarpedGarment,
    WarpInput,
)
from modiste.errors import CannotFit, InvalidOption, NoGarment, UnsuitablePortrait, UnsuitableSuit
from modiste.geometry import transform, warp
from modiste.image import Keypoints, LabelMap, Landmarks, Mask, RGBAImage, RGBImage
from modiste.labels import Clothes, FacePart, body_parts
from modiste.spec import EngineSpec

GREY = 128
BACK, SURFACE, CLOTH = (200, 30, 60), (90, 160, 40), (20, 60, 220)


class Known:
    """An engine that does what a function says, and keeps what it was fed."""

    def __init__(self, spec: EngineSpec, does: Callable[[Tensors], Tensors]) -> None:
        self.spec, self.does = spec, does
        self.fed: list[Tensors] = []

    def __call__(self, feeds: Tensors) -> Tensors:
        check_feeds(self.spec, feeds)
        self.fed.append(feeds)
        return self.does(feeds)

    def close(self) -> None: ...


def opened(model_id: str, **does: Callable[[Tensors], Tensors]) -> Model[Any, Any]:
    """does: by the engine's name"""
    found = model_class(model_id)
    return found({name: Known(engine, does[name]) for name, engine in found.spec.engines.items()})


def fed(model: Model[Any, Any], engine: str = "main") -> list[Tensors]:
    known = model.engines[engine]
    assert isinstance(known, Known)
    return known.fed


# --- HR-VITON ------------------------------------------------------------------------------------------------------


def person(size: tuple[int, int] = (900, 700)) -> Dressed:
    """From the front, arms hanging, before a wall; drawn 900 x 700 and stretched to the size."""
    clothes, parts = np.zeros((2, 900, 700), np.uint8)

    def put(name: str, rows: slice, columns: slice, part: int = 0) -> None:
        clothes[rows, columns] = Clothes[name.upper()]
        parts[rows, columns] = part

    put("hair", slice(70, 130), slice(290, 410))
    put("face", slice(100, 230), slice(300, 400), 23)
    put("torso_skin", slice(230, 275), slice(320, 380), 2)
    put("upper_clothes", slice(270, 590), slice(265, 435), 2)
    put("right_arm", slice(275, 690), slice(200, 265), 16)
    put("left_arm", slice(275, 690), slice(435, 500), 15)
    put("pants", slice(590, 900), slice(275, 425), 9)
    points = np.zeros((25, 3))
    points[1] = 350, 265, 0.9
    points[[2, 3, 4]] = (255, 280, 0.9), (235, 430, 0.8), (230, 590, 0.7)
    points[[5, 6, 7]] = (445, 280, 0.9), (465, 430, 0.8), (470, 590, 0.7)
    points[[9, 12]] = (310, 590, 0.6), (390, 590, 0.6)
    points[:, :2] *= size[1] / 700, size[0] / 900
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, (900, 700), strict=True))
    clothes, parts = clothes[np.ix_(rows, columns)], parts[np.ix_(rows, columns)]
    return Dressed(
        labels=body_parts(LabelMap(clothes)),
        keypoints=Keypoints(points.astype(np.float32)),
        person=Mask(np.where(clothes > 0, 255, 0).astype(np.uint8)),
        clothes=LabelMap(clothes),
        surface=BodySurface(parts=LabelMap(parts), uv=np.zeros((*size, 2), np.uint8)),
    )


def photo_of(dressed: Dressed, seed: int = 0) -> RGBImage:
    """No two neighbouring pixels alike, so that nothing goes unnoticed."""
    height, width = dressed.labels.shape
    return RGBImage(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def garment(size: tuple[int, int] = (400, 360)) -> RGBAImage:
    """A blue block, two thirds of the cut-out's sides."""
    layer = np.zeros((*size, 4), np.uint8)
    layer[size[0] // 6 : -size[0] // 6, size[1] // 6 : -size[1] // 6] = (*CLOTH, 255)
    return RGBAImage(layer)


def warp_input(dressed: Dressed | None = None, **changed: Any) -> WarpInput:
    found = WarpInput(garment=garment(), category=None, look=None, tuck="auto", wearer=None, person=dressed or person())
    return replace(found, **changed)


def still(feeds: Tensors) -> Tensors:
    """The garment stays where it was laid, and is worn there; elsewhere is background."""
    given = feeds["garment"]
    count, _, height, width = given.shape
    labels = np.zeros((count, len(SEEN), height, width), np.float32)
    labels[:, list(SEEN).index("upper")] = 20 * given[:, 3]
    labels[:, 0] = 20 * (1 - given[:, 3])
    return {"flow": np.zeros((count, 2, height // 2, width // 2), np.float32), "labels": labels, "mask": given[:, 3:]}


def worn(feeds: Tensors) -> Tensors:
    """The same behind what is seen of the person."""
    found = still(feeds)
    found["labels"][:, 1:] += 40 * feeds["person"][:, 1 : len(SEEN)]
    return found


def conditions(does: Callable[[Tensors], Tensors] = still) -> Model[Any, Any]:
    return opened("hrviton_tocg", main=does)


def test_a_frame_holds_trunk_clothes_and_arms_and_lies_inside_the_picture() -> None:
    dressed = person()
    assert dressed.clothes is not None
    joints = joints_of(dressed.keypoints)
    matrix = person_frame(joints, dressed.clothes, (1024, 768))
    assert matrix[0, 0] == matrix[1, 1] and matrix[0, 1] == matrix[1, 0] == 0
    corners = transform(np.array([[-0.5, -0.5], [699.5, 899.5]], np.float32), matrix)
    assert (corners[0] <= -0.4).all() and (corners[1] >= (767.4, 1023.4)).all()
    inside = transform(np.array([[200, 70], [500, 690]], np.float32), matrix)
    assert (inside > 0).all() and (inside < (768, 1024)).all()
    middle = transform(joints[[2, 5]].astype(np.float32), matrix).mean(axis=0)
    assert abs(middle[0] - 383.5) < 2


def test_a_frame_that_is_larger_than_the_picture_shows_all_of_it() -> None:
    dressed = person()
    assert dressed.clothes is not None
    joints = joints_of(dressed.keypoints)
    joints[:, 1] -= 240
    matrix = person_frame(joints, LabelMap(dressed.clothes[240:600, 190:510]), (1024, 768))
    corners = transform(np.array([[-0.5, -0.5], [319.5, 359.5]], np.float32), matrix)
    assert (corners[0] >= -0.6).all() and (corners[1] <= (767.6, 1023.6)).all()


@pytest.mark.parametrize("size", [(900, 700), (300, 233), (700, 1200), (420, 150)])
def test_what_goes_into_the_frame_comes_back_to_its_place(size: tuple[int, int]) -> None:
    dressed = person(size)
    assert dressed.clothes is not None
    matrix = person_frame(joints_of(dressed.keypoints), dressed.clothes, (512, 384))
    height, width = size
    across, down = np.meshgrid(np.linspace(0, 250, width), np.linspace(0, 250, height))
    picture = np.dstack([across, down, 255 - across]).astype(np.uint8)
    there = warp(RGBImage(picture), matrix, 384, 512)
    back = brought_back(there.astype(np.float32), matrix, height, width, goes_on=True)
    inside = brought_back(np.ones((512, 384), np.float32), matrix, height, width) == 1
    inside &= (np.abs(across - 125) < 115) & (np.abs(down - 125) < 115)
    assert inside.mean() > 0.1
    assert np.abs(back[inside] - picture[inside]).max() < 3
    ends = transform(np.array([[0, 0], [383, 511]], np.float32), enlarged(np.eye(2, 3), 2))
    assert np.allclose(ends, [[0.5, 0.5], [766.5, 1022.5]])


def test_labels_go_on_outside_the_picture_as_at_its_edge() -> None:
    labels = LabelMap(np.repeat(np.array([[3], [9]], np.uint8), 2, 1))
    assert np.unique(labels_in(labels, np.array([[1.0, 0, 0], [0, 1, -1]]), (5, 5))).tolist() == [9]


def test_joints_that_are_not_seen_are_at_the_origin_and_the_neck_is_between_the_shoulders() -> None:
    keypoints = person().keypoints.copy()
    keypoints[4, 2] = keypoints[1, 2] = 0
    joints = joints_of(keypoints)
    assert joints[4].tolist() == [0, 0] and joints[1].tolist() == [350, 280]


def test_a_garment_is_laid_in_the_middle_of_white() -> None:
    picture, mask = laid_flat(garment(), (1024, 768))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert abs(rows[0] + rows[-1] - 1023) <= 1 and abs(columns[0] + columns[-1] - 767) <= 1
    assert len(columns) == round(0.88 * 768)
    assert len(rows) / len(columns) == pytest.approx(268 / 240, abs=0.01)
    assert (picture[mask == 0] == 255).all() and (picture[mask == 255] == CLOTH).all()
    with pytest.raises(NoGarment):
        laid_flat(RGBAImage(np.zeros((20, 20, 4), np.uint8)), (1024, 768))


def test_a_garment_that_no_flow_bends_lies_where_it_was_laid() -> None:
    asked = warp_input()
    (found,) = conditions()([asked])
    assert isinstance(found, ConditionedGarment) and found.category == "upper"
    assert found.fitted.shape == (1024, 768, 4) and found.parse.shape == (1024, 768)
    _, mask = laid_flat(asked.garment, (1024, 768))
    assert np.mean((found.fitted[..., 3] > 127) != (mask > 127)) < 0.01
    assert (found.fitted[500, 384] == (*CLOTH, 255)).all()
    assert found.parse[500, 384] == list(PAINTED).index("upper") and found.parse[5, 5] == 0
    assert found.layer.shape == (900, 700, 4)
    rows, columns = np.nonzero(found.layer[..., 3] > 127)
    there = transform(np.array([[columns.min(), rows.min()], [columns.max(), rows.max()]], np.float32), found.frame)
    wanted = [[np.flatnonzero(mask.any(axis=axis))[end] for axis in (0, 1)] for end in (0, -1)]
    assert np.abs(there - wanted).max() < 2.5
    assert np.array_equal(found.layer, layer_of(found.fitted, found.frame, 900, 700))


def test_the_network_is_shown_the_garment_the_forgotten_labels_and_the_coloured_surface() -> None:
    model = conditions()
    model([warp_input()])
    (shown,) = fed(model)
    labels = shown["person"][0, :13]
    assert (labels.sum(axis=0) == 1).all() and shown["garment"].shape == (1, 4, 256, 192)
    assert not labels[list(SEEN).index("upper")].any()  # forgotten
    assert labels[list(SEEN).index("bottom")].any() and labels[list(SEEN).index("face")].any()
    colours = np.unique((shown["person"][0, 13:].reshape(3, -1).T * 127.5 + 127.5).round().astype(int), axis=0)
    assert [0, 0, 0] in colours.tolist() and len(colours) > 5


@pytest.mark.parametrize("category", ["lower", "dress"])
def test_other_garments_than_upper_ones_are_refused(category: Any) -> None:
    with pytest.raises(InvalidOption, match=f"category upper.*got {category}"):
        conditions()([warp_input(category=category)])


def test_what_cannot_be_done_is_refused_with_what_is_missing() -> None:
    dressed = person()
    with pytest.raises(InvalidOption, match="tuck auto"):
        conditions()([warp_input(tuck="in")])
    with pytest.raises(ValueError, match="HumanParsing"):
        conditions()([warp_input(replace(dressed, clothes=None))])
    with pytest.raises(ValueError, match="DensePose"):
        conditions()([warp_input(replace(dressed, surface=None))])
    keypoints = dressed.keypoints.copy()
    keypoints[9, 2] = 0
    with pytest.raises(CannotFit, match="both hips"):
        conditions()([warp_input(replace(dressed, keypoints=keypoints))])
    trousers = np.zeros((900, 700, 4), np.uint8)
    trousers[600:, 280:420, 3] = 255
    with pytest.raises(CannotFit, match="legs"):
        conditions()([warp_input(garment=trousers, wearer=dressed)])


def synthesis_input(background: tuple[int, int, int] | None = None, seed: int = 0, **changed: Any) -> SynthesisInput:
    dressed = person()
    (bent,) = conditions(worn)([warp_input(dressed)])
    found = SynthesisInput(
        image=photo_of(dressed, seed), person=dressed, warped=bent, tuck="auto", background=background
    )
    return replace(found, **changed)


def red(feeds: Tensors) -> Tensors:
    image = np.empty_like(feeds["pictures"][:, :3])
    image[:] = np.array(BACK, np.float32)[:, None, None] / 127.5 - 1
    return {"image": image + np.float32(1e-3)}


def test_only_what_clothes_can_change_is_taken_from_the_painted_picture() -> None:
    asked = synthesis_input()
    (found,) = opened("hrviton_gen", main=red)([asked])
    clothes = asked.person.clothes
    assert clothes is not None and found.image.shape == asked.image.shape and found.image.dtype == np.uint8
    face = np.isin(clothes, (Clothes.FACE, Clothes.SUNGLASSES))
    assert np.array_equal(found.image[face], asked.image[face])
    assert np.array_equal(found.image[:60], asked.image[:60])
    assert np.array_equal(found.image[850:], asked.image[850:])
    assert (found.image[clothes == Clothes.UPPER_CLOTHES] == BACK).mean() > 0.99
    assert (found.image[240:260, 330:370] == BACK).all()  # neck
    assert np.array_equal(found.image[660:680, 445:490], asked.image[660:680, 445:490])  # hand
    assert (found.agnostic[400, 350] == GREY).all() and (found.agnostic[20, 20] == GREY).all()
    assert np.array_equal(found.agnostic[face], asked.image[face])


def test_the_painted_picture_lands_where_it_was_seen() -> None:
    """A generator that gives back what it is shown changes the photo into its agnostic picture."""
    asked = synthesis_input()
    smooth = warp(asked.image, np.array([[0.02, 0, 0], [0, 0.02, 0]]), 14, 18)
    smooth = RGBImage(np.asarray(np.kron(smooth, np.ones((50, 50, 1), np.uint8)), np.uint8))
    asked = replace(asked, image=smooth)
    (found,) = opened("hrviton_gen", main=lambda feeds: {"image": feeds["pictures"][:, :3].copy()})([asked])
    grey = (found.agnostic == GREY).all(axis=2)
    inside = np.asarray(asked.person.labels > 0)
    shown = np.where((grey & inside)[..., None], GREY, asked.image)
    assert np.median(np.abs(found.image.astype(int) - shown)[inside]) == 0
    assert np.mean(np.abs(found.image.astype(int) - shown)[inside] > 3) < 0.06  # steps and strokes are soft


def test_another_background_leaves_the_person_and_shows_where_the_old_garment_was() -> None:
    asked = synthesis_input(background=SURFACE)
    (found,) = opened("hrviton_gen", main=red)([asked])
    assert (found.image[5, 5] == SURFACE).all() and (found.image[-5, 5] == SURFACE).all()
    assert (found.image[245:255, 340:360] == BACK).all()  # neck: background for the generator, body all the same
    face = asked.person.clothes == Clothes.FACE
    assert np.array_equal(found.image[face], asked.image[face])


def test_the_noise_is_the_requests_own_and_of_the_size_that_the_engine_asks_for() -> None:
    model = opened("hrviton_gen", main=red)
    asked = synthesis_input()
    for each in (asked, asked, replace(asked, image=photo_of(asked.person, seed=1))):
        model([each])
    first, again, other = (feeds["noise"] for feeds in fed(model))
    assert first.shape == (1, NOISE) == (1, 3145632)
    assert np.array_equal(first, again) and abs(np.corrcoef(first[0], other[0])[0, 1]) < 0.01
    assert abs(float(first.mean())) < 0.01 and abs(float(first.std()) - 1) < 0.01
    assert small_tryon.noise(256, 192) == sum(3 * (4 << level) * (3 << level) for level in range(7)) - 12


def test_a_garment_that_another_model_bent_is_refused() -> None:
    layer = RGBAImage(np.zeros((900, 700, 4), np.uint8))
    with pytest.raises(ValueError, match="WarpedGarment"):
        opened("hrviton_gen", main=red)([synthesis_input(warped=WarpedGarment(layer=layer, category="upper"))])


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.mark.torch
def test_hr_viton_runs_with_small_networks_alone_and_together(graphs: Path) -> None:
    bend, dress = open_reduced("hrviton_tocg", graphs), open_reduced("hrviton_gen", graphs)
    dressed = [person(), person((300, 233)), person((640, 500))]
    asked = [warp_input(each) for each in dressed]
    together = bend(asked)
    for one, alone in zip(together, (bend([each])[0] for each in asked), strict=True):
        assert np.array_equal(one.fitted, alone.fitted) and np.array_equal(one.parse, alone.parse)
        assert one.fitted.shape == (512, 384, 4) and one.parse.max() < len(PAINTED)
    given = [
        SynthesisInput(image=photo_of(each), person=each, warped=bent, tuck="auto", background=None)
        for each, bent in zip(dressed, together, strict=True)
    ]
    results = dress(given)
    for each, one, alone in zip(given, results, (dress([each])[0] for each in given), strict=True):
        assert np.array_equal(one.image, alone.image)
        assert one.image.shape == one.agnostic.shape == each.image.shape
        assert not np.array_equal(one.image, each.image)
    for model in (bend, dress):
        model.close()


# --- Paint-by-Example ----------------------------------------------------------------------------------------------


WALL = (240, 245, 250)
STRAND = slice(500, 700), slice(240, 270)


def suit_input(size: tuple[int, int] = (900, 700), seed: int = 0) -> SuitInput:
    """A head with a strand of hair down over the suit; drawn 900 x 700 and stretched to the size."""
    labels, suit, opening = (np.zeros((900, 700), np.uint8) for _ in range(3))
    labels[150:500, 220:480] = FacePart.HAIR
    labels[220:500, 260:440] = FacePart.SKIN
    labels[500:560, 300:306] = FacePart.SKIN  # throat
    labels[500:620, 310:410] = FacePart.NECK
    labels[640:, 100:600] = FacePart.CLOTH
    labels[800:850, 20:60] = FacePart.HAIR  # of nobody
    labels[180:190, 300:320] = FacePart.BACKGROUND  # shine
    labels[STRAND] = FacePart.HAIR
    suit[620:, 60:640] = 255
    opening[560:700, 310:390] = 255
    suit[opening > 0] = 0
    landmarks = np.zeros((468, 3), np.float32)
    across = np.linspace(290, 410, len(UNDER_CHIN))
    landmarks[list(UNDER_CHIN), 0] = across
    landmarks[[33, 133, 263, 362], 0] = 280, 320, 380, 420
    landmarks[list(UNDER_CHIN), 1] = 495 - ((across - 350) / 60) ** 2 * 30
    landmarks[:, :2] *= np.array([size[1] / 700, size[0] / 900], np.float32)
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, (900, 700), strict=True))
    labels, suit, opening = (plane[np.ix_(rows, columns)] for plane in (labels, suit, opening))
    cloth = np.empty((*size, 4), np.uint8)
    cloth[..., :3], cloth[..., 3] = CLOTH, suit
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return SuitInput(
        portrait=FaceView(image=RGBImage(image), landmarks=Landmarks(landmarks), labels=LabelMap(labels)),
        seen=Mask(np.full(size, 255, np.uint8)),
        suit=RGBAImage(cloth),
        opening=Mask(opening),
        background=WALL,
    )


def painter(decoded: np.ndarray) -> Model[Any, Any]:
    """Networks that paint a picture [3, 512, 512] whatever they are shown."""
    return opened(
        "paint_by_example",
        example=lambda feeds: {name: np.zeros((1, 1, 768), np.float32) for name in ("condition", "nothing")},
        encoder=lambda feeds: {"moments": np.zeros((1, 8, 64, 64), np.float32)},
        unet=lambda feeds: {"noise": feeds["sample"][:, :4]},
        decoder=lambda feeds: {"picture": decoded[None]},
    )


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to((np.array(colour, np.float32) / 127.5 - 1)[:, None, None], (3, 512, 512))


def test_face_and_hair_stay_bit_for_bit_and_nothing_is_painted_beside_suit_and_neck() -> None:
    asked = suit_input()
    (photo,) = painter(plain(BACK))([asked])
    assert photo.shape == (900, 700, 3) and photo.dtype == np.uint8
    labels = asked.portrait.labels
    head = np.isin(labels, (FacePart.SKIN, FacePart.HAIR))
    head[750:, :80] = False
    head[500:, 295:310] = False
    head[480:500, 420:440] = head[480:500, 260:280] = False  # corners, which no jaw has
    head[180:190, 300:320] = True
    assert np.array_equal(photo[head], asked.portrait.image[head])
    assert head[STRAND].all()
    assert (photo[750, 100:600] == BACK).all() and (photo[810:840, 30:50] == WALL).all()
    assert (photo[520:610, 320:380] == BACK).all() and (photo[600:690, 320:380] == BACK).all()  # neck and opening
    assert (photo[:140] == WALL).all() and (photo[:, :50] == WALL).all() and (photo[510:590, 500:] == WALL).all()
    taken = (photo != WALL).any(axis=2) & ~head
    assert not (taken & ~(layers(asked).painted > 0) & ~(layers(asked).over > 0)).any()


@pytest.mark.parametrize("size", [(900, 700), (1800, 1400), (300, 420)])
def test_what_is_painted_lands_where_it_was_seen(size: tuple[int, int]) -> None:
    down, across = np.meshgrid(np.linspace(-0.9, 0.9, 512), np.linspace(-0.9, 0.9, 512), indexing="ij")
    ramps = np.stack([across, down, 0 * down]).astype(np.float32)
    asked = suit_input(size)
    (photo,) = painter(ramps)([asked])
    found = layers(asked)
    square = square_around(found.painted)
    rows, columns = np.nonzero((found.painted == 1) & (found.over == 0))
    for channel, at in ((0, columns - square.left), (1, rows - square.top)):
        there = (at + 0.5) * 512 / square.side - 0.5
        expected = ((there / 511 * 1.8 - 0.9) * 127.5 + 127.5).clip(0, 255)
        assert np.abs(photo[rows, columns, channel] - expected).max() < 1.6


def test_the_networks_see_the_head_an_inverted_mask_and_the_suit_alone() -> None:
    asked = suit_input()
    model = painter(plain(BACK))
    model([asked])
    (picture,), (example,) = fed(model, "encoder"), fed(model, "example")
    square = square_around(layers(asked).painted)
    assert (square.side, square.top + square.side) == (round(1.25 * 580), 900)
    keep = fed(model, "unet")[0]["sample"][:, 8]
    assert keep.shape == (2, 64, 64) and set(np.unique(keep)) == {0, 1}
    scale = 64 / square.side

    def kept_at(row: int, column: int) -> bool:
        return bool(keep[0, int((row - square.top) * scale), int((column - square.left) * scale)])

    assert kept_at(300, 350) and kept_at(650, 255) and not kept_at(800, 350) and not kept_at(540, 350)
    assert not picture["picture"][0, :, -40:, 200:300].any()  # grey where it is painted
    middle = example["example"][0, :, 112, 60] * np.array([0.2686, 0.2613, 0.2758]) + [0.4815, 0.4578, 0.4082]
    assert np.abs(middle * 255 - CLOTH).max() < 2
    steps = [int(feeds["step"][0]) for feeds in fed(model, "unet")]
    assert len(steps) == 51 and steps[:3] == [981, 961, 961] and steps[-1] == 1
    assert all(len(feeds["sample"]) == 2 for feeds in fed(model, "unet"))


def test_the_same_pictures_draw_the_same_noise() -> None:
    model = painter(plain(BACK))
    model([suit_input(), suit_input(), suit_input(seed=1)])
    first, again, other = (feeds["sample"][0, :4] for feeds in fed(model, "unet")[::51])
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_without_a_suit_nothing_is_painted() -> None:
    asked = suit_input()
    with pytest.raises(UnsuitableSuit):
        painter(plain(BACK))([replace(asked, suit=RGBAImage(np.zeros((900, 700, 4), np.uint8)))])


@pytest.mark.torch
def test_paint_by_example_runs_with_small_networks_alone_and_together(
    graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.paint_by_example.model.STEPS", 3)
    model = open_reduced("paint_by_example", graphs)
    asked = [suit_input(), suit_input((300, 233)), suit_input((640, 500), seed=2)]
    for each, one in zip(asked, model(asked), strict=True):
        assert np.array_equal(one, model([each])[0])
        assert one.shape == each.portrait.image.shape and one.dtype == np.uint8
        found = layers(each)
        assert np.array_equal(one[found.head], each.portrait.image[found.head])
        assert one[found.painted == 1].std() > 1
    model.close()


def test_a_head_that_leaves_nothing_to_paint_is_refused() -> None:
    with pytest.raises(UnsuitablePortrait, match="head and hair everywhere"):
        square_around(np.zeros((40, 30), np.float32))
