"""Which faces of a photo can be replaced, and why the others are left alone."""

from collections.abc import Sequence

import cv2
import numpy as np

from deployments.roles import SwappedFace
from graphs.face_finding import SURE, Closeup, Sight
from modiste.errors import NoFace

SMALLEST_FACE = 24
"""Longer side of a face, pixels of the photo, under which it is skipped."""
FURTHEST_TURN = 38.0
"""Degrees a head may be turned to the side: beyond, half of the virtual face would be bent around the nose."""
LEAST_SHOWN = 0.35
"""Share of a face that must be seen: of less, more would be left of the old face than put there of the new."""


def skip_reason(sight: Sight, wanted: bool) -> str | None:
    """Why a face is left alone; None where it is not."""
    size = max(sight.face.box.width, sight.face.box.height)
    if not wanted:
        return "not chosen"
    if size < SMALLEST_FACE:
        return f"too small: expected at least {SMALLEST_FACE} pixels, got {size:.0f}"
    if sight.sureness < SURE:
        return f"turned away or covered: expected a score of at least {SURE}, got {sight.sureness:.2f}"
    if abs(sight.turn) > FURTHEST_TURN:
        return f"turned away: expected at most {FURTHEST_TURN:.0f} degrees, got {abs(sight.turn):.0f}"
    return None


def require_one(reasons: Sequence[str | None]) -> None:
    if None not in reasons:
        why = "; ".join(f"face {index}: {reason}" for index, reason in enumerate(reasons))
        raise NoFace(f"expected at least one face that can be replaced, got {why}")


def shown_share(target: Closeup, swapped: SwappedFace) -> float:
    """Which share of the face, hair and hands in front included, the new face takes."""
    outline = cv2.convexHull(np.ascontiguousarray(target.view.landmarks[:, :2]))
    return float(swapped.mask.sum(dtype=np.int64)) / 255 / max(1.0, cv2.contourArea(outline))
