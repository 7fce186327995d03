"""Face swap by a dense mesh warp, lit as the target, blended with a soft seam."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Engine, Tensors
from deployments.mesh_swap import mouth, region
from deployments.mesh_swap.bend import Bent, bent, mirrored, own
from deployments.mesh_swap.colour import Colour, grey, is_grey, lips_nearer, matched, to_rgb
from deployments.mesh_swap.fast import FastSwap
from deployments.mesh_swap.shape import destination
from deployments.roles import FaceSwap, FaceView, SwapInput, SwappedFace
from modiste.face_mesh import LEFT_EYE, OVAL, RIGHT_EYE
from modiste.geometry import bounding_box, crop
from modiste.image import LabelMap, Landmarks, Mask, RGBImage
from modiste.spec import ModelSpec, Resources

LIPS_OF_TARGET = 0.5
"""How far the lips take the colour of the target's: a mouth made up for one skin looks painted on another."""
_AROUND = 1.1
"""The part of the crop that is worked on, against the mesh's box."""
_COVERED = 0.02
"""Share of the face that the source may leave open before its mirror image is asked for."""


class MeshSwap(FaceSwap):
    spec = ModelSpec(
        id="mesh_swap",
        role="FaceSwap",
        paper="classical: piecewise affine mesh warp, light transfer on log colour, soft seam",
        licence="Apache-2.0",
        resources=Resources(cpus=1.0, min_replicas=1),
    )

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__(engines)
        self._fast = FastSwap()

    def postprocess(self, outputs: Tensors, x: SwapInput) -> SwappedFace:
        if x.quality == "fast":
            return self._fast(x)
        box = bounding_box(x.target.landmarks).scaled(_AROUND)
        image, inside = crop(x.target.image, box)
        rows, columns = slice(int(inside.top), int(inside.bottom)), slice(int(inside.left), int(inside.right))
        offset = np.array([inside.left, inside.top, 0], np.float32)
        face, alpha, edge = _swapped(
            x.source,
            FaceView(
                image=image,
                landmarks=Landmarks(x.target.landmarks - offset),
                labels=LabelMap(np.ascontiguousarray(x.target.labels[rows, columns])),
            ),
            x.tone,
        )
        mixed = image + (face - image) * alpha[..., None]
        result, mask = x.target.image.copy(), np.zeros(x.target.labels.shape, np.uint8)
        result[rows, columns] = np.rint(np.clip(mixed, 0, 255))
        mask[rows, columns] = np.rint(edge * 255)
        return SwappedFace(image=RGBImage(result), mask=Mask(mask))


def _swapped(
    source: FaceView, target: FaceView, tone: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The new face [H, W, 3], 0-255; how much of it shows [H, W], 0-1; and where it does, with a narrow edge."""
    shape = (target.image.shape[0], target.image.shape[1])
    points = destination(source.landmarks, target.landmarks)
    width = float(np.ptp(target.landmarks[list(OVAL), 0]))
    area = region.replaced(target, points, width)
    features = region.features(points, target.landmarks, shape, width)
    free = region.is_any(target.labels, region.SKIN) & area & ~features
    obey = _obedience(points, shape, width)

    def lit(found: Bent) -> Colour:
        face = grey(found.image) if is_grey(target.image) else found.image
        return matched(face, target.image, (found.skin & free).astype(np.float32), obey, width=width, tone=tone)

    straight = bent(source, points, shape)
    colour, clean = lit(straight), straight.clean
    if (area & ~clean).sum() > _COVERED * area.sum():
        flipped = bent(mirrored(source), points, shape)
        share = region.soft_edge(clean | ~flipped.clean, width * 0.06)[..., None]
        other = lit(flipped)
        colour = other + (colour - other) * share
        clean = clean | flipped.clean
    area &= clean & ~region.brows_to_keep(clean, points, target.landmarks, width)

    theirs = own(target, points)
    colour = lips_nearer(colour, theirs, mouth.lips(points, shape, width), LIPS_OF_TARGET)
    face = to_rgb(colour).astype(np.float32)
    face += (theirs - face) * mouth.kept(source.landmarks, target.landmarks, points, shape, width)[..., None]
    alpha = region.soft_edge(area, width * 0.07)
    alpha *= 1 - region.strands(face, target.image, points, target.landmarks, width)
    return face, alpha, region.soft_edge(area, width * 0.02)


def _obedience(points: NDArray[np.float32], shape: tuple[int, int], width: float) -> NDArray[np.float32]:
    """How far each pixel takes part in the change of light: all of it, but eyes only by half."""
    obey = np.ones(shape, np.float32)
    for eye in (LEFT_EYE, RIGHT_EYE):
        obey -= np.float32(0.5 / 255) * region.polygon(points, eye, shape)
    return np.asarray(cv2.GaussianBlur(obey, (0, 0), max(0.5, width * 0.01)), np.float32)
