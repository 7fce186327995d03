"""HR-VITON's preparation: what is forgotten, what stays, where the garment goes."""

import numpy as np
import pytest

from deployments.hrviton.agnostic import agnostic_image, agnostic_labels, square_hips
from deployments.hrviton.conditions import Prepared, condition_inputs, fit, generator_labels, generator_picture, warped
from deployments.hrviton.labels import PARSED, SEEN, painted, seen
from modiste.errors import CannotFit
from modiste.image import LabelMap, RGBImage

SIZE = (1024, 768)
GREY = (128, 128, 128)


def joints() -> np.ndarray:
    """A person from the front, arms hanging: neck, shoulders, elbows, wrists, hips."""
    points = np.zeros((25, 2))
    points[1] = 384, 300
    points[[2, 3, 4]] = (280, 320), (240, 500), (230, 680)
    points[[5, 6, 7]] = (488, 320), (528, 500), (538, 680)
    points[[9, 12]] = (340, 660), (428, 660)
    return points


def parsed() -> LabelMap:
    labels = np.zeros(SIZE, np.uint8)

    def put(name: str, rows: slice, columns: slice) -> None:
        labels[rows, columns] = PARSED.index(name)

    put("face", slice(120, 270), slice(320, 450))
    put("torso_skin", slice(270, 310), slice(350, 420))
    put("upper_clothes", slice(310, 660), slice(290, 480))
    put("right_arm", slice(310, 800), slice(200, 290))
    put("left_arm", slice(310, 800), slice(480, 580))
    put("pants", slice(660, 1000), slice(300, 470))
    return LabelMap(labels)


def photo() -> RGBImage:
    return RGBImage(np.full((*SIZE, 3), (200, 30, 60), np.uint8))


def test_classes_are_merged_as_published() -> None:
    twenty = LabelMap(np.arange(20, dtype=np.uint8)[None])
    assert seen(twenty).tolist() == [[0, 1, 1, 12, 2, 3, 3, 3, 11, 4, 0, 12, 4, 2, 5, 6, 7, 8, 9, 10]]
    thirteen = LabelMap(np.arange(13, dtype=np.uint8)[None])
    assert painted(thirteen).tolist() == [[0, 3, 1, 2, 1, 4, 5, 1, 1, 1, 1, 1, 6]]


def test_trunk_and_arms_turn_grey_but_face_hands_and_trousers_stay() -> None:
    bare = agnostic_image(photo(), parsed(), joints())
    assert tuple(bare[450, 384]) == GREY  # chest
    assert tuple(bare[500, 240]) == GREY  # elbow
    assert tuple(bare[290, 384]) == GREY  # neck
    for y, x in ((200, 384), (790, 230), (900, 384), (100, 50)):  # face, hand, trousers, wall
        assert tuple(bare[y, x]) == (200, 30, 60)


def test_an_arm_that_is_not_seen_is_left_alone() -> None:
    points = joints()
    points[[6, 7]] = 0
    bare = agnostic_image(photo(), parsed(), points)
    assert tuple(bare[600, 550]) == (200, 30, 60)
    assert tuple(bare[600, 235]) == GREY


@pytest.mark.parametrize("joint", [2, 5, 9, 12])
def test_a_pose_without_shoulder_or_hip_is_refused(joint: int) -> None:
    points = joints()
    points[joint] = 0
    with pytest.raises(CannotFit, match="both shoulders and both hips"):
        agnostic_image(photo(), parsed(), points)


def test_labels_forget_the_garment_and_the_arms_but_not_the_hands() -> None:
    labels = agnostic_labels(parsed(), joints())
    assert not labels[450, 384] and not labels[290, 384] and not labels[500, 240]
    assert labels[790, 230] == PARSED.index("right_arm")
    assert labels[900, 384] == PARSED.index("pants")


def test_hips_become_as_wide_as_the_shoulders_and_the_given_pose_stays() -> None:
    points = joints()
    squared = square_hips(points)
    assert np.linalg.norm(squared[12] - squared[9]) == pytest.approx(208)
    assert np.allclose((squared[12] + squared[9]) / 2, (384, 660))
    assert np.array_equal(points, joints())


def test_a_flow_moves_the_garment_by_its_own_pixels() -> None:
    layers = np.random.default_rng(0).random((4, *SIZE), dtype=np.float32)
    layers[:] = layers[:, ::32, ::32].repeat(32, 1).repeat(32, 2)
    still, _ = warped(layers, np.zeros((2, 128, 96), np.float32))
    flow = np.zeros((2, 128, 96), np.float32)
    flow[0] = 4  # of pixels of the flow's own map, eight of the picture's
    moved, inside = warped(layers, flow)
    assert moved.shape == (3, *SIZE) and inside.shape == (1, *SIZE)
    assert np.allclose(moved[:, 512, 100:600:32], still[:, 512, 132:632:32], atol=0.05)


def ready() -> Prepared:
    rng = np.random.default_rng(1)
    return Prepared(
        dense_pose=rng.random((3, *SIZE), dtype=np.float32),
        labels=seen(parsed()),
        garment=np.full((3, *SIZE), -0.5, np.float32),
        garment_mask=np.ones((1, *SIZE), np.float32),
    )


def test_what_lies_in_front_hides_the_garment() -> None:
    labels = np.zeros((13, 256, 192), np.float32)
    labels[list(SEEN).index("upper"), :, :96] = 20
    labels[list(SEEN).index("left_arm"), :, 96:] = 20
    flow, mask = np.zeros((2, 128, 96), np.float32), np.ones((1, 256, 192), np.float32)
    person = ready()
    fitted = fit(person, flow=flow, labels=labels, warped_mask=mask)
    x = generator_picture(np.zeros((3, *SIZE), np.float32), person.dense_pose, fitted.garment, fitted.shown)
    assert x.shape == (1, 9, *SIZE)
    assert np.allclose(x[0, 6:, 500, 100], -0.5, atol=1e-5)
    assert np.allclose(x[0, 6:, 500, 700], 1, atol=1e-5)
    assert np.allclose(fitted.garment[:, 500, 700], -0.5)
    assert generator_labels(fitted.labels)[0, :, 500, [100, 700]].argmax(axis=1).tolist() == [2, 4]


def test_where_the_garment_is_not_no_garment_is_painted() -> None:
    labels = np.zeros((13, 256, 192), np.float32)
    labels[list(SEEN).index("upper")] = 20
    labels[list(SEEN).index("hair")] = 1
    fitted = fit(
        ready(),
        flow=np.zeros((2, 128, 96), np.float32),
        labels=labels,
        warped_mask=np.zeros((1, 256, 192), np.float32),
    )
    assert (fitted.labels == 3).all()


def test_the_condition_generator_is_fed_both_halves() -> None:
    garment, person = condition_inputs(ready())
    assert garment.shape == (1, 4, 256, 192) and person.shape == (1, 16, 256, 192)
    assert garment.dtype == person.dtype == np.float32
    assert (person[0, :13].sum(axis=0) == 1).all()
    assert set(np.unique(garment[0, 3])) == {1.0}


def small_generator() -> dict[str, tuple[int, ...]]:
    """Shapes of the keys that tell a generator's sizes, 2 channels wide where the official one has 64."""
    from deployments.hrviton.network import ImageGenerator

    widths = [(32, 32), (48, 32), (48, 32), (48, 16), (32, 8), (24, 4), (20, 2), (18, 1)]
    shapes: dict[str, tuple[int, ...]] = {"conv_img.weight": (3, 1, 3, 3)}
    for level, (name, (inside, outside)) in enumerate(zip(ImageGenerator.BLOCKS, widths, strict=True)):
        middle = min(inside, outside)
        shapes[f"conv_{level}.weight"] = (16 if level else 32, 9, 3, 3)
        shapes[f"{name}.conv_0.bias"] = (middle,)
        shapes[f"{name}.conv_0.weight_orig"] = (middle, inside, 3, 3)
        shapes[f"{name}.conv_1.weight_orig"] = (outside, middle, 3, 3)
        shapes[f"{name}.norm_0.conv_shared.0.weight"] = (8, 7, 3, 3)
    return shapes


@pytest.mark.torch
def test_the_generators_noise_is_an_input_and_the_only_chance() -> None:
    torch = pytest.importorskip("torch")
    from deployments.hrviton.network import GENERATOR

    net = GENERATOR.build(small_generator(), {})
    torch.manual_seed(0)
    for value in net.state_dict().values():
        value.copy_(torch.randn_like(value))
    x, parts = torch.rand(2, 9, 256, 128), torch.eye(7)[torch.randint(7, (2, 256, 128))].permute(0, 3, 1, 2)
    size = net.noise_size(256, 128)
    assert size == 2 * 2 * 1 + 3 * sum((2 << level) * (1 << level) for level in range(1, 8))
    noise = torch.randn(2, size)
    with torch.inference_mode():
        still, again = net(x, parts), net(x, parts, torch.zeros(2, size))
        noisy, repeated = net(x, parts, noise), net(x, parts, noise)
    assert still.shape == (2, 3, 256, 128)
    assert torch.equal(still, again) and torch.equal(noisy, repeated)
    assert not torch.allclose(still, noisy)
