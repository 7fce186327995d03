"""Make-up from a reference picture: lips, eye shadow and foundation, each by its own rule in CIE Lab.

The reference is bent onto the face's mesh, so that gloss and shadow land where they sat on the reference.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.region_makeup.regions import eye_shadow, lips, skin
from deployments.roles import FaceView, MakeupInput, MakeupTransfer
from modiste.face_mesh import OVAL, triangles, with_ring
from modiste.image import LabelMap, RGBImage
from modiste.mesh_warp import inverse_map, resample
from modiste.spec import ModelSpec, Resources

Lab = NDArray[np.float32]
Weight = NDArray[np.float32]
"""float32 [H, W], 0-1."""

_SHADOW_LIMIT = np.array([30.0, 18.0, 18.0], np.float32)
_FOUNDATION_LIMIT = np.array([6.0, 5.0, 6.0], np.float32)
"""How far eye shadow and foundation may move a colour, Lab units."""
_EVENNESS = 0.7
"""Share of the skin's blotches that full foundation covers."""


class RegionMakeup(MakeupTransfer):
    spec = ModelSpec(
        id="region_makeup",
        role="MakeupTransfer",
        paper="classical: mesh alignment, region-wise Lab transfer of colour and detail",
        licence="Apache-2.0",
        resources=Resources(cpus=1.0),
    )

    def postprocess(self, outputs: Tensors, x: MakeupInput) -> RGBImage:
        if x.lips == x.eyes == x.skin == 0:
            return RGBImage(x.face.image.copy())
        width = float(np.ptp(x.face.landmarks[list(OVAL), 0]))
        reference = _aligned(x.reference, x.face)
        face, worn = _to_lab(x.face.image), _to_lab(reference.image)
        ours, theirs = skin(x.face, width), skin(reference, width)
        changed = face
        total = np.zeros(face.shape[:2], np.float32)
        for weight, delta in (
            (ours * x.skin, _foundation(face, worn, ours, theirs, width)),
            (eye_shadow(x.face, width) * x.eyes, _shadow(face, worn, ours, theirs, width)),
            (lips(x.face, width) * x.lips, _lipstick(face, worn, lips(x.face, width), lips(reference, width), width)),
        ):
            changed = changed + delta * weight[..., None]
            total = np.maximum(total, weight)
        made_up = np.clip(cv2.cvtColor(changed.astype(np.float32), cv2.COLOR_Lab2RGB), 0, 1) * 255
        return RGBImage(np.where(total[..., None] > 0, np.rint(made_up), x.face.image).astype(np.uint8))


def _aligned(reference: FaceView, face: FaceView) -> FaceView:
    """The reference in the face's place; its labels, too."""
    height, width = face.image.shape[:2]
    where, _ = inverse_map(with_ring(face.landmarks), with_ring(reference.landmarks), triangles(), height, width)
    labels = cv2.remap(reference.labels, where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return FaceView(
        image=RGBImage(resample(reference.image, where)),
        landmarks=face.landmarks,
        labels=LabelMap(np.asarray(labels, np.uint8)),
    )


def _lipstick(face: Lab, worn: Lab, ours: Weight, theirs: Weight, width: float) -> Lab:
    """The reference's mean colour, and half of its gloss in the place of half of ours."""
    delta = np.zeros_like(face) + (_mean(worn, theirs) - _mean(face, ours))
    gloss = _detail(worn[..., 0], theirs, width * 0.04) - _detail(face[..., 0], ours, width * 0.04)
    delta[..., 0] += 0.5 * gloss
    return delta


def _shadow(face: Lab, worn: Lab, ours: Weight, theirs: Weight, width: float) -> Lab:
    """How the lids differ from the skin around them, as in the reference: its skin colour does not come along."""
    sigma = max(1.0, width * 0.015)
    own = cv2.GaussianBlur(face, (0, 0), sigma) - _mean(face, ours)
    wanted = cv2.GaussianBlur(worn, (0, 0), sigma) - _mean(worn, theirs)
    difference = wanted - own
    return np.asarray(_SHADOW_LIMIT * np.tanh(difference / _SHADOW_LIMIT), np.float32)


def _foundation(face: Lab, worn: Lab, ours: Weight, theirs: Weight, width: float) -> Lab:
    """A shift towards the reference's skin, as far as a foundation would, and fewer blotches; pores stay."""
    shift = _mean(worn, theirs) - _mean(face, ours)
    shift = _FOUNDATION_LIMIT * np.tanh(shift / _FOUNDATION_LIMIT)
    fine = cv2.GaussianBlur(face, (0, 0), max(0.6, width * 0.006))
    even = cv2.bilateralFilter(fine, 0, 12.0, max(1.0, width * 0.025))
    return np.asarray(shift + _EVENNESS * (even - fine), np.float32)


def _detail(lightness: NDArray[np.float32], region: Weight, sigma: float) -> NDArray[np.float32]:
    """What is left of a region's lightness without its blur."""
    share = cv2.GaussianBlur(region, (0, 0), max(1.0, sigma))
    blurred = cv2.GaussianBlur(lightness * region, (0, 0), max(1.0, sigma)) / np.maximum(share, 1e-3)
    return np.asarray((lightness - blurred) * region, np.float32)


def _mean(lab: Lab, weight: Weight) -> NDArray[np.float32]:
    total = float(weight.sum())
    if total < 1:
        return np.zeros(3, np.float32)
    return np.asarray((lab * weight[..., None]).sum(axis=(0, 1)) / total, np.float32)


def _to_lab(image: RGBImage) -> Lab:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)
