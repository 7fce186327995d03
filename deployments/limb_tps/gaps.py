"""Backdrop between sleeves and body that the matte took for cloth, found by its colour."""

import cv2
import numpy as np

from modiste.image import RGBAImage

SIDE = 320
"""Longer side at which colours are compared, pixels."""
SURE = 10
"""Matte value under which there is backdrop."""
CLOTH = 150
"""Matte value over which there may be cloth."""
MOST = 0.12
"""Share of the cut-out that may turn out to be backdrop; more, and the two have one colour."""
KEPT = 0.2
"""Share of the garment's height below its top that is left alone: straps and collars are thin and often pale."""


def reopened(garment: RGBAImage) -> RGBAImage:
    """The cut-out without the backdrop that its matte closed over.

    Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004, started from the matte.
    """
    factor = SIDE / max(garment.shape[:2])
    small = cv2.resize(garment, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    alpha = np.ascontiguousarray(small[..., 3])
    solid = (alpha > CLOTH).astype(np.uint8)
    near = cv2.dilate(solid, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))) > 0
    guess = np.where(solid > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    guess[~near | (alpha < SURE)] = cv2.GC_BGD
    if not (guess == cv2.GC_BGD).any() or not solid.any():
        return garment
    cv2.setRNGSeed(0)
    lab = cv2.cvtColor(np.ascontiguousarray(small[..., :3]), cv2.COLOR_RGB2LAB)
    cv2.grabCut(lab, guess, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    gap = (solid > 0) & np.isin(guess, (cv2.GC_BGD, cv2.GC_PR_BGD))
    rows = np.flatnonzero(solid.any(axis=1))
    gap[: int(rows[0] + KEPT * np.ptp(rows))] = False
    # Only what is open to the outside is a gap; pale patches within the cloth are its pattern.
    outside = (~(solid > 0) | gap).astype(np.uint8)
    outside = cv2.morphologyEx(outside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, pieces = cv2.connectedComponents(np.pad(outside, 1, constant_values=1))
    gap &= pieces[1:-1, 1:-1] == pieces[0, 0]
    if np.count_nonzero(gap) > MOST * np.count_nonzero(solid):
        return garment
    kept = cv2.resize((~gap).astype(np.float32), garment.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    kept = cv2.GaussianBlur(kept, (0, 0), 1.2 / factor)
    result = garment.copy()
    result[..., 3] = np.minimum(garment[..., 3], np.rint(255 * np.clip(3 * kept - 1, 0, 1)).astype(np.uint8))
    return RGBAImage(result)
