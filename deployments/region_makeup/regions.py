"""Where make-up goes, by mesh and parsing together. All weights: float32 [H, W], 0-1, soft at the edge."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.roles import FaceView
from modiste.face_mesh import LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_EYE
from modiste.labels import FacePart as F

_LIDS = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 55, 65, 52, 53, 46),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 285, 295, 282, 283, 276),
)
"""Upper edge of the eye, then back along the lower edge of the brow."""
_FACE = (F.SKIN, F.NOSE)


def lips(view: FaceView, width: float) -> NDArray[np.float32]:
    """What mesh or parsing take for lips, without what is between them and without what is in front."""
    shape = view.image.shape[:2]
    outer = _loop(view, LIPS_OUTER, shape).astype(np.uint8)
    size = 2 * max(1, round(width * 0.03)) + 1
    near = cv2.dilate(outer, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    either = (outer > 0) | (_is(view, F.UPPER_LIP, F.LOWER_LIP) & near)
    inside = either & ~_loop(view, LIPS_INNER, shape)
    covered = _is(view, F.HAIR, F.BACKGROUND, F.CLOTH, F.HAT, F.MOUTH)
    return _soft(inside & ~covered, width * 0.008)


def eye_shadow(view: FaceView, width: float) -> NDArray[np.float32]:
    """From the upper lashes to under the brow, strongest at the lashes; not on the eye, the brow or glasses."""
    shape = view.image.shape[:2]
    weight = np.zeros(shape, np.float32)
    for lid, eye in zip(_LIDS, (RIGHT_EYE, LEFT_EYE), strict=True):
        opening = _loop(view, eye, shape)
        above = _loop(view, lid, shape) & ~opening
        gap = cv2.distanceTransform((~opening).astype(np.uint8), cv2.DIST_L2, 5)
        fading = np.exp(-((gap / max(1.0, width * 0.06)) ** 2))
        weight = np.maximum(weight, above * fading.astype(np.float32))
    weight[_is(view, F.LEFT_BROW, F.RIGHT_BROW, F.HAIR, F.GLASSES, F.HAT, F.BACKGROUND)] = 0
    return np.asarray(cv2.GaussianBlur(weight, (0, 0), max(0.6, width * 0.008)), np.float32)


def skin(view: FaceView, width: float) -> NDArray[np.float32]:
    """Bare skin of the face, without lips, eyes and brows."""
    shape = view.image.shape[:2]
    inside = _loop(view, OVAL, shape) & _is(view, *_FACE)
    for part in (LIPS_OUTER, LEFT_EYE, RIGHT_EYE):
        inside &= ~_loop(view, part, shape)
    return _soft(inside, width * 0.15)


def _is(view: FaceView, *parts: F) -> NDArray[np.bool_]:
    return np.isin(view.labels, [int(part) for part in parts])


def _loop(view: FaceView, indices: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [np.rint(view.landmarks[list(indices), :2] * 16).astype(np.int32)], 255, shift=4)
    return np.asarray(drawn > 0, np.bool_)


def _soft(inside: NDArray[np.bool_], edge: float) -> NDArray[np.float32]:
    """0 outside, 1 from `edge` pixels inside on."""
    reach = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.clip(reach / max(1.0, edge), 0, 1), np.float32)
