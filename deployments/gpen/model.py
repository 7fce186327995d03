"""GPEN: a blurred face made sharp by the generator of a StyleGAN2, laid back where ParseNet sees face.

Yang et al., "GAN Prior Embedded Network for Blind Face Restoration in the Wild", CVPR 2021, arXiv:2105.06070.
ParseNet: Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", CVPR 2021,
arXiv:2009.08709.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import FaceRestoration, RestorationInput
from modiste.errors import InvalidOption
from modiste.face_alignment import five_points, gpen_template, landmarks_of_mesh
from modiste.geometry import Matrix, Points, bounding_box, paste, similarity
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 512
CLASSES = 19
KEPT = (0, 14, 18)
"""Where the picture stays as it is: ParseNet's background, hat and clothes."""
BORDER, SOFTNESS = 26 / SIDE, 4 * np.sqrt(2) / SIDE
"""Of the mask, over its side: margin that is left out, and deviation of the blur (two of 4 pixels each)."""
STRENGTH = 0.8
"""Share of the restored face, as for portraits in the reference; at 1 skin is too smooth and moles are invented."""
SMALL = 100
"""Faces with a shorter side under so many pixels are blurred by a binomial filter before they are shrunk."""

BINOMIAL = np.array([0.25, 0.5, 0.25], np.float32)

Floats = NDArray[np.float32]


class GPEN(FaceRestoration):
    """The crop is enlarged first; the face is cut out of that, restored and laid back into it."""

    spec = ModelSpec(
        id="gpen",
        role="FaceRestoration",
        paper="Yang et al., GPEN, CVPR 2021, arXiv:2105.06070; ParseNet of Chen et al., CVPR 2021, arXiv:2009.08709",
        licence="no licence file; for academic and non-commercial use as its README had it",
        engines={
            "main": EngineSpec(
                weights="gpen_512",
                max_batch=4,
                inputs=(TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB, aligned"),),
                outputs=(
                    TensorSpec(
                        name="restored",
                        shape=("N", 3, SIDE, SIDE),
                        range="about [-1, 1]",
                        meaning="RGB",
                        kind="picture",
                    ),
                ),
            ),
            "parsing": EngineSpec(
                weights="gpen_parsenet",
                max_batch=4,
                inputs=(TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB, aligned"),),
                outputs=(
                    TensorSpec(
                        name="logits",
                        shape=("N", CLASSES, SIDE, SIDE),
                        range="logits",
                        meaning="ParseNet's classes",
                        kind="labels",
                    ),
                ),
            ),
        },
        resources=Resources(gpu_memory_mb=5500, cpus=2.0, max_replicas=2),
    )

    @property
    def side(self) -> int:
        """Of the aligned face, pixels."""
        side = self.engines["main"].spec.inputs[0].shape[2]
        assert isinstance(side, int)
        return side

    def preprocess(self, x: RestorationInput) -> Tensors:
        if x.scale not in (1, 2, 4):
            raise InvalidOption(f"expected a scale of 1, 2 or 4, got {x.scale}")
        face, _ = self.aligned(enlarged(x), x)
        return {"face": np.ascontiguousarray(face.transpose(2, 0, 1)[None], np.float32) / 127.5 - 1}

    def infer(self, feeds: Tensors) -> Tensors:
        restored = np.clip(self.engines["main"](feeds)["restored"], -1, 1)
        return {"restored": restored, "logits": self.engines["parsing"]({"face": restored})["logits"]}

    def postprocess(self, outputs: Tensors, x: RestorationInput) -> RGBImage:
        canvas = enlarged(x)
        face, matrix = self.aligned(canvas, x)
        restored: Floats = outputs["restored"][0].transpose(1, 2, 0) * 127.5 + 127.5
        box = bounding_box(places(x))
        if min(box.width, box.height) < SMALL:
            restored = np.asarray(cv2.sepFilter2D(restored, -1, BINOMIAL, BINOMIAL), np.float32)
        mixed = restored * STRENGTH + face * np.float32(1 - STRENGTH)
        patch = RGBImage(np.ascontiguousarray(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)))
        return paste(canvas, patch, mask_of(outputs["logits"][0]), matrix)

    def aligned(self, canvas: RGBImage, x: RestorationInput) -> tuple[RGBImage, Matrix]:
        """The face as the network wants it, out of the enlarged crop, and the matrix that brings it there.

        Beyond the crop there is its mirror image and not black, of which laying back would bring in a rim.
        """
        matrix = similarity(places(x), gpen_template(self.side).astype(np.float32))
        size, border = (self.side, self.side), cv2.BORDER_REFLECT_101
        return RGBImage(cv2.warpAffine(canvas, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)), matrix


def enlarged(x: RestorationInput) -> RGBImage:
    """The crop at the size asked for."""
    if x.scale == 1:
        return x.image
    larger = cv2.resize(x.image, None, fx=x.scale, fy=x.scale, interpolation=cv2.INTER_LANCZOS4)
    return RGBImage(np.asarray(larger, np.uint8))


def places(x: RestorationInput) -> Points:
    """The five points in the enlarged crop, whose pixel centres scale about -0.5."""
    return np.asarray((five_points(landmarks_of_mesh(x.landmarks)) + 0.5) * x.scale - 0.5, np.float32)


def mask_of(logits: Floats) -> Mask:
    """Where the restored face shows, soft at the seam.

    logits:  [19, side, side]
    returns: [side, side]
    """
    shown = (~np.isin(logits.argmax(0), KEPT)).astype(np.float32)
    side = len(shown)
    border = round(BORDER * side)
    shown[:border] = shown[-border:] = 0
    shown[:, :border] = shown[:, -border:] = 0
    return Mask(np.rint(cv2.GaussianBlur(shown, (0, 0), SOFTNESS * side) * 255).astype(np.uint8))
