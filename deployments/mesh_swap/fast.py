"""The swap for moving pictures: everything that is smooth is computed small, so that a frame takes milliseconds.

The bend, the light and the seam are found on a reduced picture and enlarged; only the virtual face itself is
resampled at full size. The mouth keeps the target's place and, where it is open or shut otherwise than the
virtual one, the target's own pixels: in motion a mouth that moves rightly matters more than a new one. Nothing is
decided by thresholds on single frames, which would flicker.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist

from deployments.mesh_swap import mouth, region
from deployments.mesh_swap.shape import destination
from deployments.roles import FaceView, SwapInput, SwappedFace
from modiste.face_mesh import (
    LEFT_BROW,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
    neutral,
    with_ring,
)
from modiste.image import Mask, RGBImage
from modiste.labels import FacePart as F
from modiste.mesh_warp import inverse_map, shrunk

SMALL = 80
"""Side of the reduced picture, pixels."""
_MEAN = np.full((1, 3), 1 / 3, np.float32)
_LIGHT_REACH, _CAST_REACH = 0.13, 0.35
"""Blur (sigma) of the light and of its colour, in widths of the face."""
_LIGHT_LIMIT, _CAST_LIMIT = 0.7, 0.12
"""How far light and its colour may differ from their mean, in logarithms."""
_KNOWN = 8
_SEAM = 0.07
"""Width of the soft edge, in widths of the face."""
_FLOOR = np.float32(0.03)
_FAR = np.float32(0.02)
"""Weight of the wide mean that speaks where no skin is near."""
_LIP_LIMIT = 0.6
"""How far lips may be recoloured, in logarithms."""
_LIPS_OF_TARGET = 0.85
_LIP_REACH, _EYE_REACH = 150.0, 110.0
"""Distance from lips and closed eyes, in thousandths of the face's width, from which on points are free."""
_NARROW, _SHUT = 0.215, 0.19
"""Gap between the lids over the width of an eye: from the first on it is taken to be closing, at the second closed."""


_FACE_PARTS, _SKIN_PARTS = (
    np.isin(np.arange(256), [int(part) for part in parts]).astype(np.uint8) for parts in (region.FACE, region.SKIN)
)
"""By label: does it belong to a face, is it bare skin. uint8 [256]"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source at about the size at which it is needed. bare: skin; face: nothing in front of it; both 0-255."""

    image: RGBImage
    landmarks: NDArray[np.float32]
    bare: Mask
    face: Mask


def prepare(source: FaceView, height: float) -> Prepared:
    """height: of the faces that it will replace, pixels"""
    image, points = source.image, source.landmarks[:, :2]
    factor = height / float(np.ptp(source.landmarks[list(OVAL), 1]))
    oval = source.landmarks[list(OVAL)]
    shape = (source.labels.shape[0], source.labels.shape[1])
    eyes_and_mouth = region.features(source.landmarks, source.landmarks, shape, float(np.ptp(oval[:, 0])))
    bare = (region.is_any(source.labels, region.SKIN) & ~eyes_and_mouth).astype(np.uint8) * 255
    face = region.is_any(source.labels, (*region.FACE, F.GLASSES)).astype(np.uint8) * 255
    if factor < 0.8:
        smaller, points = shrunk(image, points, factor)
        image = RGBImage(smaller)
        bare, face = (cv2.resize(m, image.shape[1::-1], interpolation=cv2.INTER_AREA) for m in (bare, face))
    size = 2 * max(1, round(float(np.ptp(points[list(OVAL), 0])) * 0.02)) + 1
    face = cv2.erode(face, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    return Prepared(image, np.asarray(points, np.float32), Mask(bare), Mask(face))


class FastSwap:
    """Swaps that remember the last few sources, prepared for about the size at which they were needed."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[FaceView, float, Prepared]] = OrderedDict()

    def __call__(self, x: SwapInput) -> SwappedFace:
        needed = float(np.ptp(x.target.landmarks[list(OVAL), 1]))
        source, height, ready = self._known.get(id(x.source), (x.source, 0.0, None))
        if ready is None or not 0.8 < needed / height < 1.2:
            height, ready = needed, prepare(source, needed)
        # The source is kept too, so that its id stays its own.
        self._known[id(source)] = (source, height, ready)
        self._known.move_to_end(id(source))
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return swapped(ready, x)


def swapped(ready: Prepared, x: SwapInput) -> SwappedFace:
    """As the full swap; `ready` is `prepare` of the source for about this size of face."""
    source, target = x.source, x.target
    height, width = target.image.shape[:2]
    scale = SMALL / max(height, width, SMALL)
    small = (max(2, round(width * scale)), max(2, round(height * scale)))
    step = np.array([small[0] / width, small[1] / height], np.float32)
    mesh = target.landmarks.copy()
    mesh[:, :2] = (mesh[:, :2] + 0.5) * step - 0.5
    mesh[:, 2] *= step.mean()
    face_width = float(np.ptp(mesh[list(OVAL), 0]))
    shape = (small[1], small[0])

    points = destination(source.landmarks, mesh)
    shut = [_shut(mesh, eye) for eye in (RIGHT_EYE, LEFT_EYE)]
    points = mesh + (points - mesh) * _freedom(round(shut[0], 1), round(shut[1], 1))
    where, inside = inverse_map(_coarse(points), _coarse(ready.landmarks), _triangles(), *shape)
    image = cv2.resize(target.image, small, interpolation=cv2.INTER_AREA)
    labels = cv2.resize(target.labels, small, interpolation=cv2.INTER_NEAREST)
    face = cv2.remap(ready.image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bare, whole = (cv2.remap(m, where, None, cv2.INTER_LINEAR) for m in (ready.bare, ready.face))

    area = (region.polygon(mesh, OVAL, shape) > 127) & inside & (whole > 127)
    area &= cv2.medianBlur(_FACE_PARTS[labels], 5) > 0
    skin = (_SKIN_PARTS[labels] > 0) & area & (bare > 127)
    depth = cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, 3)
    alpha, edge = (_rise(depth, face_width * width) for width in (_SEAM, _SEAM / 4))
    own = mouth.kept(source.landmarks, mesh, points, shape, face_width)
    for eye, how in zip((RIGHT_EYE, LEFT_EYE), shut, strict=True):
        if how > 0:
            lids = cv2.dilate(region.polygon(mesh, eye, shape), None, iterations=max(1, round(face_width * 0.05)))
            own = np.maximum(own, cv2.GaussianBlur(lids, (0, 0), face_width * 0.02) * np.float32(how / 255))
    gain = _gain(face, image, skin.astype(np.float32), face_width, x.tone)
    _colour_lips(gain, face, image, mouth.lips(mesh, shape, face_width))

    full = (width, height)
    bent = cv2.remap(ready.image, cv2.resize(where, full), None, cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    lit = cv2.multiply(bent, cv2.resize(gain, full), dtype=cv2.CV_8U)
    share = cv2.resize(alpha * (1 - own), full)
    mixed = cv2.blendLinear(lit, target.image, share, 1 - share)
    mask = cv2.resize(np.rint(edge * 255).astype(np.uint8), full)
    return SwappedFace(image=RGBImage(np.asarray(mixed, np.uint8)), mask=Mask(mask))


def _rise(depth: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """0 at depth 0, 1 from `width` on, smooth between."""
    t = np.minimum(depth / np.float32(max(width, 1.0)), np.float32(1))
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _gain(
    face: NDArray[np.uint8], image: NDArray[np.uint8], skin: NDArray[np.float32], width: float, tone: float
) -> NDArray[np.float32]:
    """What the source is multiplied by, to be lit and coloured as the target. [h, w, 3]"""
    size = face.shape[1::-1]
    half = (max(2, size[0] // 2), max(2, size[1] // 2))
    known = cv2.resize(skin, half, interpolation=cv2.INTER_AREA)
    total = float(known.sum())
    if total < 8:
        return np.ones(face.shape, np.float32)
    ours, theirs = (
        cv2.log(cv2.resize(i, half, interpolation=cv2.INTER_AREA).astype(np.float32) / 255 + _FLOOR)
        for i in (face, image)
    )
    difference = theirs - ours
    mean = (difference * known[..., None]).sum(axis=(0, 1)) / total
    difference -= mean
    light = _smooth(cv2.transform(difference, _MEAN), known, _LIGHT_REACH * width / 2)[..., None]
    cast = _smooth(difference, known, _CAST_REACH * width / 2)
    cast -= cv2.transform(cast, _MEAN)[..., None]
    change = _LIGHT_LIMIT * np.tanh(light / _LIGHT_LIMIT) + _CAST_LIMIT * np.tanh(cast / _CAST_LIMIT)
    gain: NDArray[np.float32] = cv2.resize(np.exp(np.float32(tone) * mean + change), size)
    return gain


def _colour_lips(
    gain: NDArray[np.float32], face: NDArray[np.uint8], image: NDArray[np.uint8], lips: NDArray[np.float32]
) -> None:
    """Change the gain so that lips get most of the way to the colour of the target's own, in the same place."""
    where = lips > 0.01
    share = lips[where][:, None]
    total = float(share.sum())
    if total < 10:
        return
    ours = np.minimum(face[where] * gain[where], 255)
    difference = np.log(image[where] / np.float32(255) + _FLOOR) - np.log(ours / 255 + _FLOOR)
    mean = (difference * share).sum(axis=0) / total
    gain[where] *= np.exp(_LIPS_OF_TARGET * _LIP_LIMIT * np.tanh(mean / _LIP_LIMIT) * share)


def _smooth(values: NDArray[np.float32], known: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur over the known pixels only, going on smoothly past them. values: [h, w] or [h, w, 3]"""
    many = known if values.ndim == 2 else known[..., None]
    window = (2 * max(1, round(3 * sigma)) + 1,) * 2
    total = cv2.GaussianBlur(values * many, (0, 0), sigma) + _FAR * cv2.blur(values * many, window)
    share = cv2.GaussianBlur(known, (0, 0), sigma) + _FAR * cv2.blur(known, window) + np.float32(1e-5)
    blurred: NDArray[np.float32] = total / (share if values.ndim == 2 else share[..., None])
    return blurred


@cache
def _kept() -> NDArray[np.intp]:
    """Every point of outline, eyes, brows and mouth, every third of the others: half the triangles, the same face."""
    features = {*OVAL, *LEFT_EYE, *RIGHT_EYE, *LEFT_BROW, *RIGHT_BROW, *LIPS_OUTER, *LIPS_INNER}
    return np.array(sorted(features | set(range(0, 468, 3))), np.intp)


def _coarse(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([points[_kept()], with_ring(points)[468:]])


@cache
def _triangles() -> NDArray[np.int32]:
    """As `modiste.face_mesh.triangles`, over the points of `_coarse`."""
    flat = _coarse(neutral())[:, :2].astype(np.float64)
    corners = Delaunay(flat).simplices
    a, b, c = (flat[corners[:, k]] for k in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return np.where((turn < 0)[:, None], corners[:, [0, 2, 1]], corners).astype(np.int32)


def _shut(mesh: NDArray[np.float32], eye: tuple[int, ...]) -> float:
    """How far an eye is closed, 0-1: lids that are drawn shut cannot be made of open ones by bending."""
    width = float(np.linalg.norm(mesh[eye[8], :2] - mesh[eye[0], :2]))
    gap = float(np.mean([np.linalg.norm(mesh[eye[16 - i], :2] - mesh[eye[i], :2]) for i in (3, 4, 5)]))
    return float(np.clip((_NARROW - gap / max(width, 1e-6)) / (_NARROW - _SHUT), 0, 1))


@lru_cache(maxsize=128)
def _freedom(right_shut: float, left_shut: float) -> NDArray[np.float32]:
    """How far points go to where the source has them: not at all at lips and closed eyes, wholly elsewhere. [468, 1]"""
    face = neutral()[:, :2]
    freedom = np.ones(len(face))
    for loop, reach, fixed in (
        (LIPS_OUTER, _LIP_REACH, 1.0),
        (RIGHT_EYE, _EYE_REACH, right_shut),
        (LEFT_EYE, _EYE_REACH, left_shut),
    ):
        t = np.clip(cdist(face, face[list(loop)]).min(axis=1) / reach, 0, 1)
        freedom = np.minimum(freedom, 1 - fixed * (1 - t * t * (3 - 2 * t)))
    return np.asarray(freedom, np.float32)[:, None]
