"""Which faces of a photo can be replaced, and why the others are left alone."""

from collections.abc import Sequence

import cv2
import numpy as np

from deployments.roles import SwappedFace
from graphs.face_finding import SURE, Closeup, Sight
from modiste.errors import NoFace
from modiste.face_mesh import LEFT_EYE, LIPS_OUTER, RIGHT_EYE
from modiste.image import LabelMap, Landmarks
from modiste.labels import FacePart

SMALLEST_FACE = 32
"""Longer side of a face, pixels of the photo, under which it is skipped."""
FURTHEST_TURN = 38.0
"""Degrees a head may be turned to the side: beyond, half of the virtual face would be bent around the nose."""
LEAST_INSIDE = 0.9
"""Share of the face's mesh that must lie in the photo: cut through the eyes, a face cannot be measured."""
LEAST_EYE, LEAST_MOUTH = 0.15, 0.4
"""Share of the better eye, and of the mouth, that the parsing must find where the mesh has them."""
LEAST_SHOWN = 0.35
"""Share of a face that must be seen: of less, more would be left of the old face than put there of the new."""

_EYE = (
    FacePart.LEFT_EYE,
    FacePart.RIGHT_EYE,
    FacePart.LEFT_BROW,
    FacePart.RIGHT_BROW,
    FacePart.GLASSES,
    FacePart.HAIR,
    FacePart.HAT,
)
"""What is seen in an eye's place, where hair or a brim may hang over it."""
_MOUTH = (FacePart.MOUTH, FacePart.UPPER_LIP, FacePart.LOWER_LIP)


def skip_reason(sight: Sight, wanted: bool) -> str | None:
    """Why a face is left alone; None where it is not."""
    size = max(sight.face.box.width, sight.face.box.height)
    if not wanted:
        return "not chosen"
    if size < SMALLEST_FACE:
        return f"too small: expected at least {SMALLEST_FACE} pixels, got {size:.0f}"
    if sight.sureness < SURE:
        return f"turned away or covered: expected a score of at least {SURE}, got {sight.sureness:.2f}"
    if sight.inside < LEAST_INSIDE:
        return f"cut off: expected at least {LEAST_INSIDE:.0%} of the face in the photo, got {sight.inside:.0%}"
    if abs(sight.turn) > FURTHEST_TURN:
        return f"turned away: expected at most {FURTHEST_TURN:.0f} degrees, got {abs(sight.turn):.0f}"
    return None


def unfit_reason(target: Closeup) -> str | None:
    """Why mesh and parsing do not show the same face; None where they do.

    Cut through at the nose, or behind a mask, half a face is enough for a mesh to be found, but in the wrong place.
    """
    points, labels = target.view.landmarks, target.view.labels
    eyes = max(_share(labels, points, loop, _EYE) for loop in (LEFT_EYE, RIGHT_EYE))
    mouth = _share(labels, points, LIPS_OUTER, _MOUTH)
    if eyes >= LEAST_EYE and mouth >= LEAST_MOUTH:
        return None
    return (
        f"cut off or covered: expected at least {LEAST_EYE:.0%} of an eye and {LEAST_MOUTH:.0%} of the mouth "
        f"where the face's mesh has them, got {eyes:.0%} and {mouth:.0%}"
    )


def _share(labels: LabelMap, points: Landmarks, loop: tuple[int, ...], parts: tuple[FacePart, ...]) -> float:
    """How much of the area within a loop of the mesh is labelled as one of the parts."""
    inside = np.zeros(labels.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(points[list(loop), :2]).astype(np.int32)], 1)
    return float(np.isin(labels[inside > 0], [int(part) for part in parts]).mean())


def require_one(reasons: Sequence[str | None]) -> None:
    if None not in reasons:
        why = "; ".join(f"face {index}: {reason}" for index, reason in enumerate(reasons))
        raise NoFace(f"expected at least one face that can be replaced, got {why}")


def shown_share(target: Closeup, swapped: SwappedFace) -> float:
    """Which share of the face, hair and hands in front included, the new face takes."""
    outline = cv2.convexHull(np.ascontiguousarray(target.view.landmarks[:, :2]))
    return float(swapped.mask.sum(dtype=np.int64)) / 255 / max(1.0, cv2.contourArea(outline))
