"""Line art: one-pixel outlines of whatever a picture shows.

Extended difference of Gaussians, Winnemöller et al., "XDoG: An eXtended difference-of-Gaussians compendium including
advanced image stylization", Computers & Graphics 2012; thinned after Zhang and Suen, CACM 1984.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import EdgeDetection
from modiste.image import Mask, RGBImage
from modiste.lines import enlarge, thin
from modiste.spec import ModelSpec, Resources

WORKING = 768
"""Longest side at which lines are looked for."""
FINE, COARSE = 1.0, 1.6
"""Deviations of the two Gaussians, pixels; the second as a multiple of the first."""
CLEAR, FAINT = 1.2, 0.35
"""Difference of the two, in CIE Lab, from which on a line is clear, and down to which it is followed from there."""
SHORTEST = 0.02
"""Extent under which a line is a speck, as a share of the longest side."""


class LineArt(EdgeDetection):
    """The dark side of each edge; lines shorter than 2% of the picture are left out."""

    spec = ModelSpec(
        id="line_art",
        role="EdgeDetection",
        paper="classical: XDoG (Winnemöller et al. 2012), thinning (Zhang and Suen 1984)",
        licence="ours, as this repository",
        resources=Resources(cpus=0.5),
    )

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        height, width = x.shape[:2]
        scale = min(1.0, WORKING / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.bilateralFilter(cv2.resize(x, size, interpolation=cv2.INTER_AREA), 7, 25, 3)
        lines = thin(_without_specks(_dark_sides(small)))
        if scale != 1.0:
            lines = enlarge(lines, height, width)
        return Mask(np.where(lines, 255, 0).astype(np.uint8))


def _dark_sides(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    step = cv2.GaussianBlur(lab, (0, 0), FINE * COARSE) - cv2.GaussianBlur(lab, (0, 0), FINE)
    # Darker than around in L; edges between colours of one lightness are edges too.
    strength = np.maximum(step[..., 0], 0.6 * np.abs(step[..., 1:]).max(axis=2))
    _, labels = cv2.connectedComponents((strength > FAINT).astype(np.uint8), connectivity=8)
    clear = np.unique(labels[strength > CLEAR])
    return np.asarray(np.isin(labels, clear[clear > 0]))


def _without_specks(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lines.astype(np.uint8), connectivity=8)
    extent = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    kept = extent >= SHORTEST * max(lines.shape)
    kept[0] = False
    return np.asarray(kept[labels])
