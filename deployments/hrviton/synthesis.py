"""HR-VITON's image generator: the person in the bent garment.

Lee et al., "High-Resolution Virtual Try-On with Misalignment and Occlusion-Handled Conditions", ECCV 2022,
arXiv:2206.14180. Of what it paints, only what a change of clothes can change is taken; the rest stays the photo's.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compile.engine import Tensors
from deployments.hrviton.agnostic import GREY, covered
from deployments.hrviton.conditions import WIDTH, Array, generator_labels, generator_picture, normalised, resized, shown
from deployments.hrviton.frame import OLD, brought_back, clothes_of, enlarged, joints_of, labels_in, moved
from deployments.hrviton.labels import PAINTED
from deployments.hrviton.warp import LICENCE, PAPER, surface_of
from deployments.roles import ConditionedGarment, GarmentSynthesis, Synthesis, SynthesisInput
from modiste.dense_pose import coloured
from modiste.geometry import Matrix, warp
from modiste.image import LabelMap, RGBImage
from modiste.labels import BodyPart, Clothes
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

HEIGHT = 1024
NOISE: Final = sum(3 * (8 << level) * (6 << level) for level in range(8)) - 8 * 6
"""A plane for each norm: three at each of eight sizes, from 8 x 6 on, but two at the first."""
RIM: Final = 5
"""Pixels of the drawn picture by which the old garment's soft edge goes with it."""
SEAM: Final = 2.0
"""Deviation of the blur between what is painted and what stays, pixels of the drawn picture."""
ARMS: Final = (Clothes.LEFT_ARM, Clothes.RIGHT_ARM)
HEAD: Final = (Clothes.FACE, Clothes.SUNGLASSES)
"""What is pasted back."""
UPPER, LEFT_ARM, RIGHT_ARM = (list(PAINTED).index(name) for name in ("upper", "left_arm", "right_arm"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the generator's inputs are made of, in a picture 768 pixels wide.

    matrix: the person's picture -> this one; covered: what is grey for the generator
    """

    matrix: Matrix
    labels: LabelMap
    covered: NDArray[np.bool_]


class HRVITONGenerator(GarmentSynthesis):
    """The noise that the generator was trained with is drawn from the pictures: the same ones give the same result."""

    spec = ModelSpec(
        id="hrviton_gen",
        role="GarmentSynthesis",
        paper=PAPER,
        licence=LICENCE,
        engines={
            "main": EngineSpec(
                weights="hrviton_gen",
                max_batch=2,
                inputs=(
                    TensorSpec(
                        name="pictures",
                        shape=("N", 9, HEIGHT, WIDTH),
                        range="[-1, 1]",
                        meaning="RGB without the old garment, of the dense pose, of the bent garment on white",
                    ),
                    TensorSpec(
                        name="labels", shape=("N", 7, HEIGHT, WIDTH), range="0 or 1", meaning="where what is painted"
                    ),
                    TensorSpec(name="noise", shape=("N", NOISE), range="normal", meaning="a plane for each norm"),
                ),
                outputs=(
                    TensorSpec(
                        name="image", shape=("N", 3, HEIGHT, WIDTH), range="[-1, 1]", meaning="RGB", kind="picture"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=4100, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: SynthesisInput) -> Tensors:
        warped, scene = _conditioned(x), _scene(x)
        inputs = self.engines["main"].spec.inputs
        width, noise = int(inputs[0].shape[3]), int(inputs[2].shape[1])
        size = scene.labels.shape[::-1]
        bare = warp(x.image, scene.matrix, *size)
        bare[scene.covered] = GREY
        surface = warp(coloured(surface_of(x.person, self.spec.id).parts), scene.matrix, *size)
        fitted = resized(warped.fitted, width, Image.Resampling.BILINEAR)
        inside = fitted[..., 3].astype(np.float32)[None] / np.float32(255)
        parse = LabelMap(resized(warped.parse, width, Image.Resampling.NEAREST))
        agnostic, garment = shown(bare, width), normalised(fitted[..., :3])
        return {
            "pictures": generator_picture(agnostic, shown(surface, width), garment, inside),
            "labels": generator_labels(parse),
            "noise": np.random.default_rng(seed_of(x)).standard_normal((1, noise), np.float32),
        }

    def postprocess(self, outputs: Tensors, x: SynthesisInput) -> Synthesis:
        warped, scene = _conditioned(x), _scene(x)
        height, width = x.image.shape[:2]
        painted = published(outputs["image"][0])
        change = brought_back(_changed(scene, warped), scene.matrix, height, width)
        grey = brought_back(scene.covered.astype(np.float32), scene.matrix, height, width)
        head = np.isin(clothes_of(x.person, self.spec.id), HEAD)
        change[head], grey[head] = 0, 0
        own = enlarged(scene.matrix, painted.shape[1] / WIDTH)
        new = brought_back(painted, own, height, width, goes_on=True)
        picture = x.image + (new - x.image) * change[..., None]
        matte = np.maximum(x.person.person, np.where(x.person.labels != BodyPart.BACKGROUND, 255, 0)) / np.float32(255)
        if x.background is not None:
            inside = brought_back(_body(scene, warped, x), scene.matrix, height, width)
            before = x.person.person.astype(np.float32) / 255
            before = (before + (inside - before) * change)[..., None]
            picture = np.array(x.background, np.float32) * (1 - before) + picture * before
        kept = (matte * (1 - grey))[..., None]
        return Synthesis(image=_rounded(picture), agnostic=_rounded(GREY + (x.image - np.float32(GREY)) * kept))


def _conditioned(x: SynthesisInput) -> ConditionedGarment:
    if not isinstance(x.warped, ConditionedGarment):
        raise ValueError(f"expected a garment bent by a flow, got a {type(x.warped).__name__}")
    return x.warped


def _scene(x: SynthesisInput) -> Scene:
    warped = _conditioned(x)
    height, width = warped.parse.shape
    matrix, size = enlarged(warped.frame, WIDTH / width), (height * WIDTH // width, WIDTH)
    labels = labels_in(clothes_of(x.person, HRVITONGenerator.spec.id), matrix, size)
    grey = covered(labels, moved(joints_of(x.person.keypoints), matrix))
    return Scene(matrix=matrix, labels=labels, covered=grey)


def seed_of(x: SynthesisInput) -> int:
    """64 bits of the pictures that went in."""
    digest = hashlib.blake2b(x.image.tobytes(), digest_size=8)
    digest.update(_conditioned(x).fitted.tobytes())
    return int.from_bytes(digest.digest(), "little")


def published(image: Array) -> Array:
    """[3, H, W] -> [H, W, 3], whole numbers 0-255; cut off, as the reference saves its pictures."""
    scaled = (image.transpose(1, 2, 0) + 1) * np.float32(127.5)
    return np.asarray(np.floor(np.clip(scaled, 0, 255)), np.float32)


def _changed(scene: Scene, warped: ConditionedGarment) -> Array:
    """Where another garment can change the picture, 0-1: where the photo was grey for the generator, where the old
    garment is, and where new cloth or skin comes. Never the face."""
    parse = _parse(scene, warped)
    old = cv2.dilate(np.isin(scene.labels, OLD).astype(np.uint8), np.ones((RIM, RIM), np.uint8)) > 0
    bared = np.isin(parse, (LEFT_ARM, RIGHT_ARM)) & ~np.isin(scene.labels, ARMS)
    changed = scene.covered | old | (parse == UPPER) | bared
    changed &= ~np.isin(scene.labels, HEAD)
    return np.asarray(cv2.GaussianBlur(changed.astype(np.float32), (0, 0), SEAM), np.float32)


def _body(scene: Scene, warped: ConditionedGarment, x: SynthesisInput) -> Array:
    """The person in the new picture, 0-1. The neck is background to the generator: there the body's surface tells."""
    surface = labels_in(surface_of(x.person, HRVITONGenerator.spec.id).parts, scene.matrix, scene.labels.shape[:2])
    body = (_parse(scene, warped) > 0) | (surface > 0)
    return np.asarray(cv2.GaussianBlur(body.astype(np.float32), (0, 0), SEAM / 2), np.float32)


def _parse(scene: Scene, warped: ConditionedGarment) -> LabelMap:
    return LabelMap(resized(warped.parse, scene.labels.shape[1], Image.Resampling.NEAREST))


def _rounded(picture: NDArray[np.floating]) -> RGBImage:
    return RGBImage(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
