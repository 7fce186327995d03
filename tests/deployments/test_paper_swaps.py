"""Generated, encoded, swapped and made-up faces: what stands around the networks of these models.

The only double is an engine: one that gives back what it is fed, or a known picture.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from compile.engine import Tensors, check_feeds
from deployments import MODELS, model_class
from deployments.base import Model
from deployments.copart.exchange import of_face
from deployments.e4e.model import E4E
from deployments.faceshifter.align import TEMPLATES, alignment, corners_kept, resized
from deployments.roles import FaceSeed, FaceView, MakeupInput, SwapInput, code_deviations, face_code
from deployments.stylegan2_ada.model import StyleGAN2Ada
from modiste.errors import InvalidOption
from modiste.face_alignment import arcface_template, five_points, landmarks_of_mesh
from modiste.face_blend import lay_in, replaceable, skin_colour, soft_edge
from modiste.face_mesh import LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_EYE, neutral
from modiste.geometry import invert, transform, warp
from modiste.image import LabelMap, Landmarks, RGBImage
from modiste.labels import FacePart as F
from modiste.makeup_regions import portrait_square, regions
from modiste.spec import EngineSpec

SWAPS = ("faceshifter", "faceshifter_hear", "copart")
MAKEUP = ("beautygan", "psgan")
GENERATORS = ("stylegan2_ada", "stylegan2_rosinality")
Answer = Callable[[Tensors], dict[str, NDArray[np.float32]]]
SKIN, OTHER_SKIN, WALL, HAIR = (200, 150, 125), (110, 75, 60), (40, 60, 160), (60, 40, 25)


class Known:
    """An engine of known answers; keeps what it was fed."""

    def __init__(self, spec: EngineSpec, answer: Answer) -> None:
        self.spec, self.answer = spec, answer
        self.fed: list[Tensors] = []

    def __call__(self, feeds: Tensors) -> Tensors:
        check_feeds(self.spec, feeds)
        self.fed.append(feeds)
        return self.answer(feeds)

    def close(self) -> None: ...


def known(
    model_id: str, **answers: Callable[[Tensors], dict[str, NDArray[np.float32]]]
) -> tuple[Any, dict[str, Known]]:
    found = model_class(model_id)
    engines = {name: Known(spec, answers[name]) for name, spec in found.spec.engines.items()}
    return found(engines), engines


def drawn(
    colour: tuple[int, int, int] = SKIN, *, side: int = 320, scale: float = 0.16, shift: tuple[int, int] = (0, 10)
) -> FaceView:
    """A flat face with hair above on a wall, exactly labelled; a little grain, so that colours have a spread."""
    points = neutral() * np.float32(scale)
    points[:, :2] += np.float32(side / 2) + np.array(shift, np.float32)
    image, labels = np.full((side, side, 3), WALL, np.uint8), np.zeros((side, side), np.uint8)
    parts = ((OVAL, colour, F.SKIN), (LEFT_EYE, (20, 20, 20), F.LEFT_EYE), (RIGHT_EYE, (20, 20, 20), F.RIGHT_EYE))
    for loop, tint, part in (*parts, (LIPS_OUTER, (180, 60, 70), F.UPPER_LIP)):
        inside = np.zeros((side, side), np.uint8)
        cv2.fillPoly(inside, [np.rint(points[list(loop), :2]).astype(np.int32)], 1)
        image[inside > 0], labels[inside > 0] = tint, part
    top = int(points[10, 1]) + int(30 * scale / 0.16)
    hair = (labels > 0) & (np.arange(side)[:, None] < top)
    image[hair], labels[hair] = HAIR, F.HAIR
    grain = np.random.default_rng(side).integers(-4, 5, (side, side, 1))
    return FaceView(
        image=RGBImage(np.clip(image + grain, 0, 255).astype(np.uint8)),
        landmarks=Landmarks(points),
        labels=LabelMap(labels),
    )


def identity_of(feeds: Tensors) -> dict[str, NDArray[np.float32]]:
    """Depends on the face alone."""
    means = feeds["face"].mean((2, 3))
    return {"embedding": np.tile(means, (1, 171))[:, :512].astype(np.float32)}


def as_it_is(feeds: Tensors) -> dict[str, NDArray[np.float32]]:
    return {"face": np.asarray(feeds["target"], np.float32)}


def swap(model_id: str, painted: float | None = None) -> tuple[Model[SwapInput, Any], dict[str, Known]]:
    """A swap whose network gives the target back, or one grey level of -1 to 1 (0 to 1 for parts)."""

    def face(fed: NDArray[np.float32]) -> NDArray[np.float32]:
        return fed if painted is None else np.full_like(fed, painted)

    if model_id == "faceshifter":
        return known(model_id, main=lambda f: {"face": face(f["target"])}, identity=identity_of)
    if model_id == "faceshifter_hear":
        return known(
            model_id,
            main=as_it_is,
            hear=lambda f: {"face": face(f["swapped_and_lost"][:, :3])},
            identity=identity_of,
        )

    def parts(feeds: Tensors) -> dict[str, NDArray[np.float32]]:
        """One part about where the face is."""
        count = len(feeds["picture"])
        segments = np.zeros((count, 11, 64, 64), np.float32)
        segments[:, 1, 16:48, 20:44] = 1
        segments[:, 0] = 1 - segments[:, 1]
        shift, affine = np.zeros((count, 10, 2), np.float32), np.tile(np.eye(2, dtype=np.float32), (count, 10, 1, 1))
        return {"segments": segments, "shift": shift, "affine": affine}

    return known(
        model_id,
        segments=parts,
        features=lambda f: {"features": np.zeros((len(f["picture"]), 256, 64, 64), np.float32)},
        exchange=lambda f: {"exchanged": face(f["picture"])},
    )


def made_up(model_id: str, change: float) -> Model[MakeupInput, RGBImage]:
    """Make-up that brightens everything by so much of 255."""
    return known(model_id, main=lambda f: {"made_up": np.asarray(f["face"] + 2 * change, np.float32)})[0]  # type: ignore[no-any-return]


# --- generated and encoded -----------------------------------------------------------------------------------------


def generator(model_id: str) -> Model[FaceSeed, RGBImage]:
    """Paints the first three numbers of what it is given; its w is z."""

    def painted(feeds: Tensors) -> dict[str, NDArray[np.float32]]:
        colour = feeds["offset"][:, :3, None, None] / 4
        return {"image": np.broadcast_to(colour, (len(colour), 3, 1024, 1024)).astype(np.float32)}

    return known(model_id, mapping=lambda f: {"offset": np.asarray(f["z"], np.float32)}, synthesis=painted)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("model_id", GENERATORS)
def test_a_seed_is_the_same_z_as_the_default_generators(model_id: str) -> None:
    from deployments.mobile_stylegan.model import latent

    model, engines = known(
        model_id,
        mapping=lambda f: {"offset": np.asarray(f["z"], np.float32)},
        synthesis=lambda f: {"image": np.zeros((len(f["offset"]), 3, 1024, 1024), np.float32)},
    )
    model([FaceSeed(seed=4711, truncation=0.5)])
    assert np.array_equal(engines["mapping"].fed[0]["z"], latent(4711))
    assert np.array_equal(engines["synthesis"].fed[0]["offset"], latent(4711) * np.float32(0.5))


@pytest.mark.parametrize("model_id", GENERATORS)
def test_truncation_goes_from_the_centre_outwards(model_id: str) -> None:
    centre = np.zeros(512, np.float32)
    centre[:3] = (2, -2, 0.5)
    code = face_code(centre)
    at_centre, mean, both = generator(model_id)([
        FaceSeed(seed=1, truncation=0, centre=code),
        FaceSeed(seed=1, truncation=0),
        FaceSeed(seed=1, truncation=0.25, centre=code),
    ])  # fmt: skip
    assert at_centre.shape == (1024, 1024, 3) and at_centre.dtype == np.uint8
    assert at_centre[0, 0].tolist() == [191, 64, 143]
    assert (mean == 128).all()
    z = np.random.Generator(np.random.PCG64(1)).standard_normal((1, 512), np.float32)[0, :3]
    assert np.abs(both[0, 0] - ((centre[:3] + 0.25 * z) / 4 * 127.5 + 127.5)).max() <= 0.51


@pytest.mark.parametrize("model_id", GENERATORS)
def test_a_centre_of_another_generator_is_refused(model_id: str) -> None:
    with pytest.raises(InvalidOption):
        generator(model_id)([FaceSeed(seed=1, truncation=0.5, centre=face_code(np.zeros(64, np.float32)))])


@pytest.mark.parametrize("shape", [(256, 256), (1000, 1000), (90, 90)])
def test_a_portrait_is_encoded_as_a_code_of_the_generator(shape: tuple[int, int]) -> None:
    colour = np.array([255, 128, 0], np.uint8)

    def mean_of(feeds: Tensors) -> dict[str, NDArray[np.float32]]:
        found = np.zeros((len(feeds["face"]), 512), np.float32)
        found[:, :3] = feeds["face"].mean((2, 3))
        return {"offset": found}

    code = E4E({"main": Known(E4E.spec.engines["main"], mean_of)})([RGBImage(np.full((*shape, 3), colour, np.uint8))])[
        0
    ]
    found = code_deviations(code, StyleGAN2Ada.spec.engines["mapping"].inputs[0].shape[1])  # type: ignore[arg-type]
    assert np.abs(found[0, :3] - (1, 0, -1)).max() <= 0.5 / 32 + 0.005
    assert not found[0, 3:].any()


# --- swapped -------------------------------------------------------------------------------------------------------


def test_ghosts_alignment_and_its_resize_are_one_step() -> None:
    points = five_points(landmarks_of_mesh(drawn().landmarks))
    straight = transform(points, resized(alignment(points, 224), 256 / 224))
    # A resize keeps the edges of pixels, not their centres.
    assert np.allclose(straight, (transform(points, alignment(points, 224)) + 0.5) * (256 / 224) - 0.5, atol=1e-3)


def test_corners_stay_corners() -> None:
    ramp = np.linspace(-1, 1, 224, dtype=np.float32)
    small = corners_kept(np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.float32(0)), axis=-1), 112)
    assert small.shape == (112, 112, 3)
    assert np.allclose(small[:, 5, 0], np.linspace(-1, 1, 112), atol=1e-6)
    assert np.allclose(small[7, :, 1], np.linspace(-1, 1, 112), atol=1e-6)


@pytest.mark.parametrize("model_id", SWAPS)
def test_a_network_that_changes_nothing_leaves_the_face_in_its_place(model_id: str) -> None:
    target = drawn()
    result = swap(model_id)[0]([SwapInput(source=drawn(), target=target)])[0]
    assert result.image.shape == target.image.shape and result.image.dtype == result.mask.dtype == np.uint8
    assert (result.mask > 250).sum() > 0.3 * (target.labels == F.SKIN).sum()
    # Twice resampled, but where it was: colours at its edges are the test.
    apart = np.abs(result.image.astype(int) - target.image).mean(axis=2)
    assert apart[result.mask > 0].mean() < 3
    moved = np.abs(np.roll(result.image, 2, axis=0).astype(int) - target.image).mean(axis=2)
    edges = cv2.Canny(target.image, 60, 120) > 0
    inside = edges & (result.mask > 128)
    assert inside.sum() > 50
    assert apart[inside].mean() < 0.6 * moved[inside].mean()


@pytest.mark.parametrize("model_id", SWAPS)
def test_only_the_face_is_replaced(model_id: str) -> None:
    target = drawn()
    labels, image = target.labels.copy(), target.image.copy()
    image[200:240, 150:230], labels[200:240, 150:230] = (30, 160, 60), F.CLOTH  # something held before the chin
    view = FaceView(image=RGBImage(image), landmarks=target.landmarks, labels=LabelMap(labels))
    result = swap(model_id, 0.9)[0]([SwapInput(source=drawn(OTHER_SKIN), target=view)])[0]
    front = np.isin(labels, (F.HAIR, F.CLOTH, F.BACKGROUND))
    assert not result.mask[front].any()
    assert (result.image[result.mask == 0] == image[result.mask == 0]).all()
    eyes = np.isin(labels, (F.LEFT_EYE, F.RIGHT_EYE))
    assert result.image[eyes].mean() > image[eyes].mean() + 60


@pytest.mark.parametrize("model_id", SWAPS)
def test_tone_is_between_the_sources_and_the_targets(model_id: str) -> None:
    source, target = drawn(OTHER_SKIN), drawn(SKIN, scale=0.14)
    found = [
        result.image[(result.mask == 255) & (target.labels == F.SKIN)].mean(axis=0)
        for result in swap(model_id)[0]([SwapInput(source=source, target=target, tone=tone) for tone in (0, 0.5, 1)])
    ]
    assert np.abs(found[2] - SKIN).max() < 8
    assert np.abs(found[0] - OTHER_SKIN).max() < 12
    assert (found[0] < found[1]).all() and (found[1] < found[2]).all()


@pytest.mark.parametrize("model_id", SWAPS)
def test_a_grey_photo_stays_grey(model_id: str) -> None:
    target = drawn()
    grey = RGBImage(np.repeat(cv2.cvtColor(target.image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2))
    view = FaceView(image=grey, landmarks=target.landmarks, labels=target.labels)
    result = swap(model_id)[0]([SwapInput(source=drawn(OTHER_SKIN), target=view)])[0]
    assert np.ptp(result.image.astype(int), axis=2).max() <= 1


@pytest.mark.parametrize("model_id", SWAPS)
def test_three_together_are_three_alone(model_id: str) -> None:
    wanted = [
        SwapInput(source=drawn(colour), target=drawn(side=side, scale=side / 2000))
        for colour, side in ((OTHER_SKIN, 320), (SKIN, 201), (OTHER_SKIN, 64))
    ]
    together = swap(model_id)[0](wanted)
    for one, x in zip(together, wanted, strict=True):
        alone = swap(model_id)[0]([x])[0]
        assert np.array_equal(one.image, alone.image) and np.array_equal(one.mask, alone.mask)


@pytest.mark.parametrize(("model_id", "engine"), [("faceshifter", "identity"), ("copart", "features")])
def test_a_source_is_looked_at_once_for_all_frames(model_id: str, engine: str) -> None:
    model, engines = swap(model_id)
    source = drawn(OTHER_SKIN)
    for shift in range(3):
        model([SwapInput(source=source, target=drawn(shift=(shift, 0)))])
    assert len(engines[engine].fed) == 1
    model([SwapInput(source=drawn((90, 120, 60)), target=drawn())])
    assert len(engines[engine].fed) == 2
    many, target = 20, drawn(side=64, scale=0.03)
    for shade in range(many):
        model([SwapInput(source=drawn((90 + shade, 120, 60), side=64, scale=0.03), target=target)])
    kept = model._sources if model_id == "copart" else model._identity._known  # type: ignore[attr-defined]
    assert 1 < len(kept) < many


def test_identities_are_seen_as_their_networks_were_trained() -> None:
    for model_id, order in (("faceshifter", [0, 1, 2]), ("faceshifter_hear", [2, 1, 0])):
        model, engines = swap(model_id)
        plain = drawn()
        coloured = FaceView(
            image=RGBImage(np.full((320, 320, 3), (255, 128, 0), np.uint8)),
            landmarks=plain.landmarks,
            labels=plain.labels,
        )
        model([SwapInput(source=coloured, target=plain)])
        seen = engines["identity"].fed[0]["face"]
        assert seen.shape == (1, 3, 112, 112)
        assert np.allclose(seen.mean((0, 2, 3)), np.array([1, 1 / 255, -1])[order], atol=1e-3)


def dotted(points: NDArray[np.float32]) -> FaceView:
    """Black, with a white dot on each point."""
    view, image = drawn(), np.zeros((320, 320, 3), np.uint8)
    for point in np.rint(points * 16).astype(int):
        cv2.circle(image, point.tolist(), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return FaceView(image=RGBImage(image), landmarks=view.landmarks, labels=view.labels)


def weighed(plane: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Middle (x, y) of what is bright, and how far it spreads."""
    rows, columns = np.indices(plane.shape)
    weight = plane - plane.min()
    middle = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    away = ((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2) * weight
    return middle, float(np.sqrt(away.sum() / weight.sum()))


@pytest.mark.parametrize("model_id", ["faceshifter", "faceshifter_hear"])
def test_faces_lie_where_their_networks_want_them(model_id: str) -> None:
    view = dotted(five_points(landmarks_of_mesh(drawn().landmarks)))
    model, engines = swap(model_id)
    model([SwapInput(source=view, target=view)])
    if model_id == "faceshifter":
        template = TEMPLATES[2] * (256 / 112) + (256 / 224 - 1) / 2
    else:  # what the identity network is then shown is ArcFace's template, at 218 of 256 pixels
        template = (arcface_template(112) - 56) * (0.85 * 256 / 112) + 128
    middle, spread = weighed(engines["main"].fed[0]["target"][0, 0])
    assert np.abs(middle - template.mean(axis=0)).max() < 0.6
    assert spread == pytest.approx(np.sqrt(((template - template.mean(axis=0)) ** 2).sum(axis=1).mean()), rel=0.05)
    shown, _ = weighed(engines["identity"].fed[0]["face"][0, 0])
    template = TEMPLATES[2] if model_id == "faceshifter" else arcface_template(112)
    assert np.abs(shown - template.mean(axis=0)).max() < 1


def test_head_and_shoulders_lie_in_the_middle_of_what_parts_are_found_in() -> None:
    points = drawn().landmarks[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    view = dotted(np.array([low, high, (low[0], high[1]), (high[0], low[1])], np.float32))
    model, engines = swap("copart")
    model([SwapInput(source=view, target=view)])
    middle, spread = weighed(engines["segments"].fed[0]["picture"][0, 0])
    assert np.abs(middle - 127.5).max() < 0.6
    width, height = (high - low) * (256 / (1.7 * (high - low).max()))
    assert spread == pytest.approx(np.hypot(width, height) / 2, rel=0.02)


def test_what_a_swap_with_itself_loses_goes_to_the_second_stage() -> None:
    model, engines = known(
        "faceshifter_hear",
        main=lambda f: {"face": f["target"] * np.float32(0.5) + f["identity"][:, :1, None, None]},
        hear=lambda f: {"face": np.asarray(f["swapped_and_lost"][:, :3] + f["swapped_and_lost"][:, 3:], np.float32)},
        identity=identity_of,
    )
    source, target = drawn(OTHER_SKIN), drawn()
    model([SwapInput(source=source, target=target)])
    fed = engines["hear"].fed[0]["swapped_and_lost"]
    theirs, ours = (e["identity"][:, :1, None, None] for e in (engines["main"].fed[0], engines["main"].fed[1]))
    aligned = engines["main"].fed[0]["target"]
    assert np.abs(theirs - ours).max() > 0.01
    assert np.allclose(fed[:, :3], aligned * 0.5 + theirs)
    assert np.allclose(fed[:, 3:], aligned * 0.5 - ours, atol=1e-6)


def test_parts_count_by_how_much_of_them_lies_in_the_face() -> None:
    segments, face = np.zeros((4, 8, 8), np.float32), np.zeros((8, 8), np.float32)
    face[:4] = 1
    segments[1, :4, :4], segments[2, 4:], segments[3, :, 6] = 1, 1, 1
    segments[0] = 1 - segments[1:].sum(0).clip(0, 1)
    found = of_face(segments, face)
    assert np.allclose(found[:4, :4], 1)  # all of it within
    assert not found[4:, :6].any()  # nothing of it within
    assert ((found[:, 6] > 0.5) & (found[:, 6] < 1)).all()  # half and half
    assert not found[:4, 5].any()  # background


def test_a_face_is_exchanged_whole_whatever_parts_a_checkpoint_has() -> None:
    model, engines = swap("copart")

    def nowhere(feeds: Tensors) -> dict[str, NDArray[np.float32]]:
        """All background."""
        segments = np.zeros((1, 11, 64, 64), np.float32)
        segments[:, 0] = 1
        return {"segments": segments, "shift": np.zeros((1, 10, 2), np.float32), "affine": np.ones((1, 10, 2, 2), "f4")}

    engines["segments"].answer = nowhere
    target = drawn()
    result = model([SwapInput(source=drawn(OTHER_SKIN), target=target)])[0]
    mask = engines["exchange"].fed[0]["mask"][0, 0]
    assert mask[32, 32] == 1 and not mask[:8].any() and not mask[-8:].any()
    assert (result.mask > 250).sum() > 0.3 * (target.labels == F.SKIN).sum()


def test_eyes_behind_glass_are_replaced_and_behind_dark_glass_are_not() -> None:
    target = drawn()
    eyes = np.isin(target.labels, (F.LEFT_EYE, F.RIGHT_EYE))
    labels = target.labels.copy()
    labels[cv2.dilate(eyes.astype(np.uint8), np.ones((25, 25))) > 0] = F.GLASSES
    for colour, share in (((200, 190, 180), 1.0), ((15, 15, 15), 0.0)):
        image = target.image.copy()
        image[labels == F.GLASSES] = colour
        found = replaceable(RGBImage(image), target.landmarks, LabelMap(labels))
        assert found[eyes].mean() == pytest.approx(share, abs=0.1)
        assert found[labels == F.GLASSES].mean() < 0.8


def test_nothing_is_laid_in_beyond_the_aligned_square() -> None:
    target = drawn()
    matrix = np.array([[1.0, 0, -120], [0, 1, -120]])
    face = RGBImage(np.full((80, 80, 3), 255, np.uint8))
    image, mask = lay_in(target.image, target.landmarks, target.labels, face, matrix, skin=None, tone=1)
    rows, columns = np.nonzero(mask)
    assert rows.min() >= 120 and columns.min() >= 120 and rows.max() < 200 and columns.max() < 200
    assert (image[mask == 255] == 255).all()


def test_a_seam_rises_from_the_edge_inwards_only() -> None:
    area = np.zeros((60, 60), bool)
    area[10:50, 10:] = True
    soft = soft_edge(area, 8)
    assert not soft[~area].any()
    assert (soft[30, 25:] == 1).all()  # the picture's rim is no edge
    assert (np.diff(soft[10:20, 40]) >= 0).all() and soft[12, 40] < 0.5


def test_skin_that_is_not_seen_has_no_colour() -> None:
    view = drawn()
    hidden = LabelMap(np.where(view.labels == F.SKIN, np.uint8(F.HAIR), view.labels))
    assert skin_colour(view.image, view.landmarks, hidden) is None
    found = skin_colour(view.image, view.landmarks, view.labels)
    wanted = cv2.cvtColor(np.array([[SKIN]], np.float32) / 255, cv2.COLOR_RGB2Lab)[0, 0]
    assert found is not None and np.abs(found.mean - wanted).max() < 1


def test_an_alignment_taken_back_is_where_it_was() -> None:
    target = drawn()
    points = five_points(landmarks_of_mesh(target.landmarks))
    matrix = resized(alignment(points, 224), 256 / 224)
    back = warp(warp(target.image, matrix, 256, 256), invert(matrix), 320, 320)
    inside = (slice(110, 220), slice(110, 210))
    assert np.abs(back[inside].astype(int) - target.image[inside]).mean() < 4


# --- made up -------------------------------------------------------------------------------------------------------


def test_the_regions_are_where_the_parsing_says_and_share_the_face() -> None:
    view = drawn()
    found = regions(view.landmarks, view.labels)
    total = found.lips + found.eyes + found.skin
    assert total.max() <= 1 + 1e-5
    assert not total[np.isin(view.labels, (F.HAIR, F.BACKGROUND))].any()
    lips = view.labels == F.UPPER_LIP
    assert not found.lips[~lips].any() and found.lips[lips].mean() > 0.5
    assert not found.skin[lips].any() and found.skin[185, 120] > 0.9
    above_eye = (int(view.landmarks[159, 1]) - 4, int(view.landmarks[159, 0]))
    assert found.eyes[above_eye] > 0.5
    assert not found.eyes[np.isin(view.labels, (F.LEFT_EYE, F.RIGHT_EYE))].any()


def test_a_square_is_cut_and_put_back_without_loss() -> None:
    view = drawn(side=200, scale=0.16)
    square = portrait_square(view.landmarks)
    assert square.top < 0  # partly outside
    cut = square.cut(view.image)
    back = square.put_back(cut.astype(np.float32), 200, 200)
    inside = square.put_back(np.ones((square.side, square.side), np.float32), 200, 200) > 0
    assert (back[inside] == view.image[inside]).all() and not back[~inside].any()
    assert (square.cut_labels(view.labels)[: -square.top] == F.BACKGROUND).all()
    eye = square.points(view.landmarks[33:34], square.side)[0]
    assert np.allclose(eye + np.array([square.left, square.top]), view.landmarks[33, :2], atol=1e-4)


@pytest.mark.parametrize("model_id", MAKEUP)
def test_nothing_wanted_changes_nothing(model_id: str) -> None:
    view = drawn()
    result = made_up(model_id, 0.2)([MakeupInput(face=view, reference=drawn(), lips=0, eyes=0, skin=0)])[0]
    assert np.array_equal(result, view.image)


@pytest.mark.parametrize("model_id", MAKEUP)
def test_each_strength_reaches_its_own_region(model_id: str) -> None:
    view, wholly = drawn(), {"lips": 0.0, "eyes": 0.0, "skin": 0.0}
    found = regions(view.landmarks, view.labels)
    model = known(model_id, main=lambda f: {"made_up": np.asarray(-f["face"], np.float32)})[0]  # the negative
    for name in wholly:
        result = model([MakeupInput(face=view, reference=drawn(), **{**wholly, name: 1.0})])[0]
        half = model([MakeupInput(face=view, reference=drawn(), **{**wholly, name: 0.5})])[0]
        share = getattr(found, name)
        changed, less = (np.abs(r.astype(int) - view.image).max(axis=2) for r in (result, half))
        assert not changed[share == 0].any()
        assert changed[share > 0.9].mean() > 20
        assert less[share > 0.9].mean() == pytest.approx(changed[share > 0.9].mean() / 2, abs=1.5)


def test_make_up_keeps_the_pictures_detail() -> None:
    view = drawn(side=900, scale=0.45)
    bright = made_up("beautygan", 0.1)([MakeupInput(face=view, reference=drawn(), skin=1)])[0]
    full = regions(view.landmarks, view.labels).skin > 0.999
    assert full.sum() > 1000
    assert np.abs(bright[full].astype(int) - view.image[full] - 25.5).max() <= 1


@pytest.mark.parametrize("model_id", MAKEUP)
def test_three_made_up_together_are_three_alone(model_id: str) -> None:
    wanted = [
        MakeupInput(face=drawn(side=side, scale=side / 2000), reference=drawn(OTHER_SKIN)) for side in (320, 201, 64)
    ]
    together = made_up(model_id, 0.1)(wanted)
    for one, x in zip(together, wanted, strict=True):
        assert one.shape == x.face.image.shape and one.dtype == np.uint8
        assert np.array_equal(one, made_up(model_id, 0.1)([x])[0])


def test_psgan_is_told_where_lips_and_eyes_are() -> None:
    model, engines = known("psgan", main=lambda f: {"made_up": np.asarray(f["face"], np.float32)})
    view = drawn()
    model([MakeupInput(face=view, reference=drawn(OTHER_SKIN, side=500, scale=0.25))])
    fed = engines["main"].fed[0]
    square = portrait_square(view.landmarks)
    for which, points in ((0, view.landmarks[list(LIPS_OUTER)]), (2, view.landmarks[[33, 263]])):
        centre = square.points(points, 256).mean(axis=0)
        rows, columns = np.nonzero(fed["face_parts"][0, which])
        assert abs(columns.mean() - centre[0]) < 4 and abs(rows.mean() - centre[1]) < 8, which
    # The same face, larger: told the same.
    assert np.abs(fed["face_parts"] - fed["reference_parts"]).mean() < 0.02
    lengths = np.linalg.norm(fed["face_places"][0], axis=1)
    assert np.allclose(lengths[lengths > 0], 1, atol=1e-4)


# --- with engines --------------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("model_id", [*SWAPS, *MAKEUP, *GENERATORS, "e4e"])
def test_models_keep_their_roles_promises_on_small_engines(model_id: str, tmp_path: Path) -> None:
    from reduced import open_reduced

    assert model_id in MODELS
    model, view = open_reduced(model_id, tmp_path), drawn()
    if model_id in GENERATORS:
        first, again, other = model([
            FaceSeed(seed=1, truncation=0.7), FaceSeed(seed=1, truncation=0.7), FaceSeed(seed=2, truncation=0.7)
        ])  # fmt: skip
        assert first.dtype == np.uint8 and first.ndim == 3
        assert np.array_equal(first, again) and not np.array_equal(first, other)
    elif model_id == "e4e":
        code, other = model([view.image, drawn(OTHER_SKIN).image])
        assert len(code) == 64 and code != other
    elif model_id in MAKEUP:
        result = model([MakeupInput(face=view, reference=drawn(OTHER_SKIN), skin=1)])[0]
        share = regions(view.landmarks, view.labels).weighted(1, 1, 1)
        assert (result[share == 0] == view.image[share == 0]).all()
        assert not np.array_equal(result, view.image)
    else:
        result = model([SwapInput(source=drawn(OTHER_SKIN), target=view)])[0]
        assert result.mask.any()
        assert (result.image[result.mask == 0] == view.image[result.mask == 0]).all()
        assert not np.array_equal(result.image, view.image)
    model.close()


@pytest.mark.torch
def test_one_generator_in_both_layouts_makes_one_face_around_one_centre() -> None:
    import small_swaps
    import torch
    from reduced import small_spec

    from deployments.networks import network
    from deployments.stylegan2_ada.from_rosinality import convert

    torch.manual_seed(0)
    theirs, ours = small_swaps.stylegan2_rosinality().eval(), small_swaps.stylegan2_ada().eval()
    # Latents of a size that shows, weights as wide as equalised learning rates want them.
    state = {
        key: value if key.endswith("kernel") else torch.randn(value.shape) * (100 if key.startswith("style.") else 1)
        for key, value in theirs.state_dict().items()
    }
    mean = torch.randn(1, small_swaps.LATENT)
    theirs.load_state_dict(state)
    wanted = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    converted = convert({key: value.numpy() for key, value in state.items()}, mean.numpy(), wanted)
    ours.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in converted.items()})

    def answer(part: Any, spec: EngineSpec) -> Answer:
        def run(feeds: Tensors) -> dict[str, NDArray[np.float32]]:
            with torch.inference_mode():
                given = part(*(torch.from_numpy(feeds[tensor.name]) for tensor in spec.inputs))
            return {spec.outputs[0].name: given.numpy()}

        return run

    made = []
    for model_id, net, beside in (("stylegan2_rosinality", theirs, {"latent_avg": mean}), ("stylegan2_ada", ours, {})):
        engines = {}
        for name, spec in model_class(model_id).spec.engines.items():
            small = small_spec(model_id, name, spec)
            part = network(model_id).parts[spec.part](net, beside)
            engines[name] = Known(small, answer(part, small))
        centre = face_code(np.linspace(-1, 1, small_swaps.LATENT).astype(np.float32))
        seeds = [
            FaceSeed(seed=5, truncation=share, centre=code) for share, code in ((1, None), (0, None), (0.5, centre))
        ]
        made.append(model_class(model_id)(engines)(seeds))
        with torch.inference_mode():
            w = mean + torch.from_numpy(code_deviations(centre, small_swaps.LATENT))
            expected = theirs(theirs.spread(w), theirs.fixed_noise()).numpy()
        given = engines["synthesis"]({"offset": code_deviations(centre, small_swaps.LATENT)})["image"]
        assert np.abs(given - expected).max() < 1e-4 * np.abs(expected).max()
    for one, other in zip(*made, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    drawn_face, mean_face, centred = made[0]
    assert not np.array_equal(drawn_face, mean_face) and not np.array_equal(centred, mean_face)
