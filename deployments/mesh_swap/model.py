"""Face swap by a dense mesh warp, light matched in Lab, blended by Laplacian pyramids."""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.mesh_swap import region
from deployments.mesh_swap.colour import matched
from deployments.mesh_swap.shape import destination
from deployments.roles import FaceSwap, FaceView, SwapInput, SwappedFace
from modiste.face_mesh import LEFT_EYE, LIPS_INNER, OVAL, RIGHT_EYE, triangles, with_ring
from modiste.image import LabelMap, Landmarks, Mask, RGBImage
from modiste.labels import FacePart as F
from modiste.mesh_warp import inverse_map, resample, shrunk
from modiste.spec import ModelSpec, Resources


class MeshSwap(FaceSwap):
    spec = ModelSpec(
        id="mesh_swap",
        role="FaceSwap",
        paper="classical: piecewise affine mesh warp, Lab light transfer, Laplacian pyramid blending",
        licence="Apache-2.0",
        resources=Resources(cpus=1.0),
    )

    def postprocess(self, outputs: Tensors, x: SwapInput) -> SwappedFace:
        target = x.target
        height, width = target.image.shape[:2]
        points = destination(x.source.landmarks, target.landmarks)
        face_width = float(np.ptp(target.landmarks[list(OVAL), 0]))
        face, clean, skin = _warped_source(x.source, points, height, width)
        own, _ = _warped(target.image, target.landmarks, points, height, width)

        area = region.face_area(target.landmarks, target.labels)
        area = region.opened(area, face_width * 0.015) & clean
        target_skin = region.is_any(target.labels, region.SKIN) & area
        lab = _to_lab(face)
        lab = matched(
            lab,
            _to_lab(target.image),
            skin.astype(np.float32),
            target_skin.astype(np.float32),
            _obedience(points, height, width, face_width),
            width=face_width,
            tone=x.tone,
        )
        coloured = _to_rgb(lab)
        coloured = _keep_openings(coloured, own, points, target.landmarks, face_width)
        alpha = region.soft_edge(area, face_width * 0.07)
        mixed = target.image + (coloured.astype(np.float32) - target.image) * alpha[..., None]
        return SwappedFace(
            image=RGBImage(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)),
            mask=Mask(np.where(area, 255, 0).astype(np.uint8)),
        )


def _warped(
    image: RGBImage, landmarks: NDArray[np.float32], points: NDArray[np.float32], height: int, width: int
) -> tuple[RGBImage, NDArray[np.bool_]]:
    where, inside = inverse_map(with_ring(points), with_ring(landmarks), triangles(), height, width)
    return RGBImage(resample(image, where)), inside


def _warped_source(
    source: FaceView, points: NDArray[np.float32], height: int, width: int
) -> tuple[RGBImage, NDArray[np.bool_], NDArray[np.bool_]]:
    """The source bent onto `points`; where it shows a face and nothing in front of it; where bare skin."""
    oval = list(OVAL)
    factor = float(np.ptp(points[oval, 1]) / np.ptp(source.landmarks[oval, 1]))
    image, landmarks = source.image, source.landmarks
    labels = np.asarray(source.labels)
    if factor < 0.8:
        smaller, flat = shrunk(image, landmarks[:, :2], factor)
        image = RGBImage(smaller)
        labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        landmarks = Landmarks(np.column_stack([flat, landmarks[:, 2] * np.float32(factor)]))
    where, inside = inverse_map(with_ring(points), with_ring(landmarks), triangles(), height, width)
    kinds = LabelMap(cv2.remap(labels, where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT))
    face = np.ptp(points[oval, 0])
    margin = 2 * max(1, round(face * 0.012)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (margin, margin))
    covered = (~region.is_any(kinds, (*region.FACE, F.GLASSES))).astype(np.uint8)
    clean = inside & (cv2.dilate(covered, kernel) == 0)
    skin = region.is_any(kinds, region.SKIN) & clean
    return RGBImage(resample(image, where)), clean, skin


def _obedience(points: NDArray[np.float32], height: int, width: int, face_width: float) -> NDArray[np.float32]:
    """How far each pixel takes part in the change of colour: skin wholly, lips mostly, eyes little."""
    obey = np.ones((height, width), np.float32)
    for eye in (LEFT_EYE, RIGHT_EYE):
        obey -= 0.6 * (region.polygon(points, eye, (height, width)) / np.float32(255))
    return np.asarray(cv2.GaussianBlur(obey, (0, 0), max(0.5, face_width * 0.01)), np.float32)


def _keep_openings(
    face: RGBImage, own: RGBImage, points: NDArray[np.float32], target: NDArray[np.float32], face_width: float
) -> RGBImage:
    """Where the target's mouth is open, what is seen inside it is the target's."""
    gap = float(np.linalg.norm(target[13, :2] - target[14, :2])) / face_width
    share = float(np.clip((gap - 0.02) / 0.03, 0, 1))
    if share == 0:
        return face
    inner = region.polygon(points, LIPS_INNER, (face.shape[0], face.shape[1])).astype(np.float32) / 255
    alpha = cv2.GaussianBlur(inner, (0, 0), max(0.5, face_width * 0.008))[..., None] * share
    return RGBImage(np.rint(face + (own.astype(np.float32) - face) * alpha).astype(np.uint8))


def _to_lab(image: RGBImage) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)


def _to_rgb(lab: NDArray[np.float32]) -> RGBImage:
    rgb = np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1) * 255
    return RGBImage(np.rint(rgb).astype(np.uint8))
