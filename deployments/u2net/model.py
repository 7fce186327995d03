"""U2-Net: a nested U-structure that finds the most salient object, here a person or a garment.

Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern Recognition
2020, arXiv:2005.09007. The network sees 320 x 320 pixels; the outline is brought back to the picture's own edges
by a colour guided filter (He et al., "Guided Image Filtering", TPAMI 2013), computed on at most `REFINED_SIDE`
pixels a side ("Fast Guided Filter", arXiv:1505.00996).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import Matting
from modiste.image import Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 320
REFINED_SIDE, FINISHED_SIDE = 1024, 2048
"""Longest sides for the filter's coefficients and for applying them; a larger mask is enlarged from that."""
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
ROUNDS = 2
"""Passes of the guided filter; each leaves a narrower ramp at a clear edge."""
FAINTEST = 0.2
"""Least spread of the saliency for there to be an object at all."""

Map = NDArray[np.float32]


class U2Net(Matting):
    """Saliency at 320 x 320, stretched to 0-1, refined along the picture's edges."""

    spec = ModelSpec(
        id="u2net",
        role="Matting",
        paper="Qin et al., U2-Net, Pattern Recognition 2020, arXiv:2005.09007",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="u2net",
                precision="bfloat16",
                gpu_precision="float16",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="input.1",
                        shape=("N", 3, SIDE, SIDE),
                        range="mean 0, deviation 1",
                        meaning="RGB",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="1959", shape=("N", 1, SIDE, SIDE), range="[0, 1]", meaning="saliency", kind="picture"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=1300, cpus=1.0, max_replicas=2),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        (fed,) = self.engines["main"].spec.inputs
        _, _, height, width = fed.shape
        small = cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        # As in training: divided by the picture's own maximum, not by 255.
        scaled = (small / max(float(small.max()), 1.0) - MEAN) / DEVIATION
        return {fed.name: np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> Mask:
        (told,) = self.engines["main"].spec.outputs
        saliency: Map = outputs[told.name][0, 0]
        low, high = float(saliency.min()), float(saliency.max())
        if high - low < FAINTEST:
            return Mask(np.zeros(x.shape[:2], np.uint8))
        return refine((saliency - low) / (high - low), x)


def refine(coarse: Map, image: RGBImage) -> Mask:
    """Fit a coarse outline to the picture's edges.

    coarse:  [h, w] float32, 0-1, any size
    image:   [H, W, 3] uint8 RGB
    returns: [H, W] uint8
    """
    height, width = image.shape[:2]
    if max(height, width) > FINISHED_SIDE:
        f = FINISHED_SIDE / max(height, width)
        small = cv2.resize(image, None, fx=f, fy=f, interpolation=cv2.INTER_AREA)
        finished = refine(coarse, RGBImage(np.asarray(small, np.uint8)))
        return Mask(np.asarray(cv2.resize(finished, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8))
    scale = min(1.0, REFINED_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    guide: Map = np.float32(1 / 255) * cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha: Map = np.clip(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), 0, 1).astype(np.float32)
    # The blur of the 320 px outline, in pixels of the refined size.
    radius = max(2, round(max(size) / 120))
    sharper = alpha
    for _ in range(ROUNDS - 1):
        slope, offset = _guided_coefficients(guide, sharper, radius, eps=1e-3)
        sharper = np.clip((slope * guide).sum(axis=2) + offset, 0, 1).astype(np.float32)
    slope, offset = _guided_coefficients(guide, sharper, radius, eps=1e-3)
    full_slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
    full_offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    fitted = (full_slope * (image.astype(np.float32) / 255)).sum(axis=2) + full_offset
    # Well inside and well outside, the network knows better than colour does.
    trust = cv2.resize(_plateau(alpha, radius), (width, height), interpolation=cv2.INTER_LINEAR)
    coarse_full = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
    mixed = trust * coarse_full + (1 - trust) * np.clip(fitted, 0, 1)
    # The ends are what the eye calls opaque and clear.
    return Mask(np.rint(np.clip((mixed - 0.06) / 0.88, 0, 1) * 255).astype(np.uint8))


def _plateau(alpha: Map, radius: int) -> Map:
    """1 where everything within `radius` is settled (nearly 0 or nearly 1), 0 along the outline."""
    edge = ((alpha > 0.05) & (alpha < 0.95)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    band = cv2.dilate(edge, kernel).astype(np.float32)
    return np.asarray(1 - cv2.GaussianBlur(band, (0, 0), radius / 2), np.float32)


def _guided_coefficients(guide: Map, alpha: Map, radius: int, eps: float) -> tuple[Map, Map]:
    """Local linear model alpha = slope . colour + offset.

    guide: [h, w, 3], 0-1; alpha: [h, w]; returns slope [h, w, 3], offset [h, w]
    """

    def mean(of: Map) -> Map:
        return np.asarray(cv2.blur(of, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT), np.float32)

    centre, level = mean(guide), mean(alpha)
    products = guide[..., :, None] * guide[..., None, :]
    spread = mean(products.reshape(*guide.shape[:2], 9)).reshape(products.shape)
    spread = spread - centre[..., :, None] * centre[..., None, :] + eps * np.eye(3, dtype=np.float32)
    cross = mean(guide * alpha[..., None]) - centre * level[..., None]
    slope = np.linalg.solve(spread, cross[..., None])[..., 0].astype(np.float32)
    offset = level - (slope * centre).sum(axis=2)
    return mean(slope), mean(offset)
