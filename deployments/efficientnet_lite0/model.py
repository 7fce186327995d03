"""What an article looks like: EfficientNet-Lite0 features beside its colours and its silhouette.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv:1905.11946.
The network was trained to name things whatever their colour, so colour is measured apart: a histogram over CIE Lab,
compared by its square roots (Hellinger distance).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.efficientnet_lite0.cutout import SIDE, Cutout, cut_out
from deployments.roles import Article, FashionEmbedding
from modiste.image import Embedding, Mask, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

NETWORK, COLOUR, SHAPE = 1.0, 0.7, 1.0
"""Length of each part of the embedding."""
BINS = (6, 9, 9)
"""Steps of L, a and b."""
GRID = 24
"""Side of the silhouette."""

Vector = NDArray[np.float32]


class EfficientNetLite0(FashionEmbedding):
    """1280 numbers from the network, 486 of colour, 576 of shape."""

    spec = ModelSpec(
        id="efficientnet_lite0",
        role="FashionEmbedding",
        paper="Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946; colour and shape: classical",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="efficientnet_lite0",
                gpu_precision="float16",
                max_batch=64,
                inputs=(TensorSpec(name="image", shape=("N", 3, SIDE, SIDE), range="about [-1, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="embedding", shape=("N", 1280), range="[0, 6]", meaning="mean features", kind="embedding"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=900, cpus=0.5),
    )

    def preprocess(self, x: Article) -> Tensors:
        cutout = cut_out(x.image)
        seen = cutout.image
        if not x.coloured:
            seen = RGBImage(cv2.cvtColor(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
        planes = np.ascontiguousarray((seen.transpose(2, 0, 1)[None].astype(np.float32) - 127) / 128)
        return {"image": planes, "seen": seen[None], "mask": cutout.mask[None]}

    def infer(self, feeds: Tensors) -> Tensors:
        """The network sees the image alone; what colour and shape are measured on goes past it."""
        return {**self.engines["main"]({"image": feeds["image"]}), "seen": feeds["seen"], "mask": feeds["mask"]}

    def postprocess(self, outputs: Tensors, x: Article) -> Embedding:
        cutout = Cutout(RGBImage(outputs["seen"][0]), Mask(outputs["mask"][0]))
        parts = [
            NETWORK * unit(np.sqrt(outputs["embedding"][0].clip(0))),
            (COLOUR if x.coloured else 0.0) * colours(cutout),
            SHAPE * silhouette(cutout),
        ]
        return Embedding(unit(np.concatenate(parts)))


def unit(vector: Vector) -> Vector:
    """The same direction with length 1."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


def colours(cutout: Cutout) -> Vector:
    """[486], length 1: square roots of a soft histogram over CIE Lab, smoothed so that near colours are alike."""
    lab = cv2.cvtColor(cutout.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[cutout.mask > 127]
    low, high = np.array([0, -70, -70], np.float32), np.array([100, 70, 70], np.float32)
    # Greys differ little in a and b, yet it is there that the eye tells colours: the axes are bent towards 0.
    bent = lab.copy()
    bent[:, 1:] = np.sign(lab[:, 1:]) * np.sqrt(np.abs(lab[:, 1:]) * 70)
    place = np.clip((bent - low) / (high - low), 0, 1) * (np.array(BINS) - 1)
    floor = np.minimum(place.astype(np.int64), np.array(BINS) - 2)
    rest = place - floor
    histogram = np.zeros(BINS, np.float64)
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, rest, 1 - rest), axis=1)
        np.add.at(histogram, tuple((floor + corner).T), share)
    return unit(np.sqrt(_blurred(histogram)).ravel().astype(np.float32))


def _blurred(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = np.array([0.2, 0.6, 0.2])
    for axis in range(3):
        histogram = np.apply_along_axis(lambda row: np.convolve(row, kernel, mode="same"), axis, histogram)
    return histogram


def silhouette(cutout: Cutout) -> Vector:
    """[576], length 1: where the article is and where it is not, coarse."""
    coarse = cv2.resize(cutout.mask, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float32) / 127.5 - 1
    return unit(coarse.ravel())
