"""Face swap by a dense mesh warp, lit as the target, blended with a soft seam."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Engine, Tensors
from deployments.mesh_swap import mouth, region
from deployments.mesh_swap.colour import grey, is_grey, lips_nearer, matched, to_rgb
from deployments.mesh_swap.fast import FastSwap
from deployments.mesh_swap.shape import destination
from deployments.roles import FaceSwap, FaceView, SwapInput, SwappedFace
from modiste.face_mesh import LEFT_EYE, OVAL, RIGHT_EYE, triangles, with_ring
from modiste.image import LabelMap, Landmarks, Mask, RGBImage
from modiste.labels import FacePart as F
from modiste.mesh_warp import inverse_map, resample, shrunk
from modiste.spec import ModelSpec, Resources

LIPS_OF_TARGET = 0.5
"""How far the lips take the colour of the target's: a mouth made up for one skin looks painted on another."""


class MeshSwap(FaceSwap):
    spec = ModelSpec(
        id="mesh_swap",
        role="FaceSwap",
        paper="classical: piecewise affine mesh warp, light transfer on log colour, soft seam",
        licence="Apache-2.0",
        resources=Resources(cpus=1.0),
    )

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__(engines)
        self._fast = FastSwap()

    def postprocess(self, outputs: Tensors, x: SwapInput) -> SwappedFace:
        if x.quality == "fast":
            return self._fast(x)
        target = x.target
        shape = (target.image.shape[0], target.image.shape[1])
        points = destination(x.source.landmarks, target.landmarks)
        width = float(np.ptp(target.landmarks[list(OVAL), 0]))
        bent = _bent(x.source, points, shape)
        own = _own(target, points)

        area = region.replaced(target, points, width) & bent.clean
        area &= ~region.brows_to_keep(bent.clean, points, target.landmarks, width)
        features = region.features(points, target.landmarks, shape, width)
        skin = bent.skin & region.is_any(target.labels, region.SKIN) & area & ~features
        face = bent.image
        if is_grey(target.image):
            face = grey(face)
        colour = matched(
            face,
            target.image,
            skin.astype(np.float32),
            _obedience(points, shape, width),
            width=width,
            tone=x.tone,
        )
        colour = lips_nearer(colour, own, mouth.lips(points, shape, width), LIPS_OF_TARGET)
        coloured = to_rgb(colour).astype(np.float32)
        mouth_of_target = mouth.kept(x.source.landmarks, target.landmarks, points, shape, width)[..., None]
        coloured += (own - coloured) * mouth_of_target
        alpha = region.soft_edge(area, width * 0.07)
        alpha *= 1 - region.strands(coloured, target.image, target.landmarks, width)
        mixed = target.image + (coloured - target.image) * alpha[..., None]
        return SwappedFace(
            image=RGBImage(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)),
            mask=Mask(np.rint(region.soft_edge(area, width * 0.02) * 255).astype(np.uint8)),
        )


@dataclass(frozen=True, slots=True)
class _Bent:
    """The source on the target's mesh. clean: a face, nothing in front of it; skin: bare."""

    image: RGBImage
    clean: NDArray[np.bool_]
    skin: NDArray[np.bool_]


def _bent(source: FaceView, points: NDArray[np.float32], shape: tuple[int, int]) -> _Bent:
    oval = list(OVAL)
    factor = float(np.ptp(points[oval, 1]) / np.ptp(source.landmarks[oval, 1]))
    image, landmarks = source.image, source.landmarks
    labels = np.asarray(source.labels)
    if factor < 0.8:
        smaller, flat = shrunk(image, landmarks[:, :2], factor)
        image = RGBImage(smaller)
        labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        landmarks = Landmarks(np.column_stack([flat, landmarks[:, 2] * np.float32(factor)]))
    where, inside = inverse_map(with_ring(points), with_ring(landmarks), triangles(), *shape)
    kinds = LabelMap(cv2.remap(labels, where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT))
    foreign = ~region.is_any(kinds, (*region.FACE, F.GLASSES))
    face_width = float(np.ptp(points[oval, 0]))
    hair = region.grown(region.is_any(kinds, (F.HAIR, F.HAT)), face_width * 0.03)
    clean = inside & ~region.grown(foreign, face_width * 0.015) & ~hair
    return _Bent(
        image=RGBImage(resample(image, where)),
        clean=clean,
        skin=region.is_any(kinds, region.SKIN) & clean,
    )


def _own(target: FaceView, points: NDArray[np.float32]) -> RGBImage:
    """The target itself on the destination's mesh."""
    where, _ = inverse_map(with_ring(points), with_ring(target.landmarks), triangles(), *target.image.shape[:2])
    return RGBImage(resample(target.image, where))


def _obedience(points: NDArray[np.float32], shape: tuple[int, int], width: float) -> NDArray[np.float32]:
    """How far each pixel takes part in the change of light: all of it, but eyes only by half."""
    obey = np.ones(shape, np.float32)
    for eye in (LEFT_EYE, RIGHT_EYE):
        obey -= np.float32(0.5 / 255) * region.polygon(points, eye, shape)
    return np.asarray(cv2.GaussianBlur(obey, (0, 0), max(0.5, width * 0.01)), np.float32)
