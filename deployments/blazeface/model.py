"""BlazeFace short range: near faces in a millisecond.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019, arXiv:1907.05047.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import Face, FaceDetection
from modiste.geometry import Box
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 128
GRIDS = ((16, 2), (8, 6))
"""(cells a side, anchors a cell) of the two layers that predict."""
SURE = 0.5
"""Score from which on something is a face."""
SAME = 0.3
"""Overlap from which on two predictions are of one face."""


class BlazeFace(FaceDetection):
    """The whole picture at 128 px; predictions of one face are averaged by score."""

    spec = ModelSpec(
        id="blazeface",
        role="FaceDetection",
        paper="Bazarevsky et al., BlazeFace, 2019, arXiv:1907.05047",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="blazeface",
                gpu_precision="float16",
                max_batch=16,
                inputs=(TensorSpec(name="input", shape=("N", SIDE, SIDE, 3), range="[-1, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="regressors",
                        shape=("N", 896, 16),
                        range="pixels of 128, relative to the anchor",
                        meaning="box centre and size, then right eye, left eye, nose, mouth, right ear, left ear",
                    ),
                    TensorSpec(name="classificators", shape=("N", 896, 1), range="logits", meaning="face or not"),
                ),
            )
        },
        resources=Resources(cpus=0.5, min_replicas=1),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        scale, left, top = letterbox(*x.shape[:2])
        size = (max(1, round(x.shape[1] * scale)), max(1, round(x.shape[0] * scale)))
        square = np.zeros((SIDE, SIDE, 3), np.uint8)
        square[top : top + size[1], left : left + size[0]] = cv2.resize(x, size, interpolation=cv2.INTER_AREA)
        return {"input": square[None].astype(np.float32) / 127.5 - 1}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> tuple[Face, ...]:
        scores = 1 / (1 + np.exp(-np.clip(outputs["classificators"][0, :, 0], -50, 50)))
        sure = scores >= SURE
        found = merge(decode(outputs["regressors"][0])[sure], scores[sure])
        scale, left, top = letterbox(*x.shape[:2])
        to_picture = np.array([left, top], np.float32)
        faces = []
        for points, score in found:
            # Pixel edges scale about 0, pixel centres about -0.5.
            (x0, y0), (x1, y1) = (points[:2] - to_picture) / scale
            eyes = (points[2:4] - to_picture) / scale - 0.5
            box = Box(float(x0), float(y0), float(x1), float(y1))
            faces.append(Face(box=box, score=score, eyes=eyes[np.argsort(eyes[:, 0])]))
        return tuple(faces)


def letterbox(height: int, width: int) -> tuple[float, int, int]:
    """Where a picture lies in the network's square: scale, left, top."""
    scale = SIDE / max(height, width)
    return scale, (SIDE - max(1, round(width * scale))) // 2, (SIDE - max(1, round(height * scale))) // 2


@cache
def anchors() -> NDArray[np.float32]:
    """float32 [896, 2]: centres of the anchors, pixels of 128; all have the same size."""
    centres = []
    for cells, repeats in GRIDS:
        middle = (np.arange(cells) + 0.5) * SIDE / cells
        grid = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode(regressors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Predictions as points.

    regressors: [896, 16], offsets from the anchors
    returns:    [896, 8, 2], pixels of 128: top left, bottom right, right eye, left eye, nose, mouth, ears
    """
    points = regressors.reshape(-1, 8, 2) + anchors()[:, None]
    centre, half = points[:, 0], regressors[:, 2:4] / 2
    return np.concatenate([(centre - half)[:, None], (centre + half)[:, None], points[:, 2:]], axis=1)


def merge(points: NDArray[np.float32], scores: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], float]]:
    """One face for each cluster of overlapping predictions: their mean, weighted by score; the best score counts.

    points: [K, 8, 2] as `decode` gives them; scores: [K]
    returns: highest score first
    """
    order = np.argsort(-scores)
    boxes = [Box(*map(float, points[i, :2].ravel())) for i in order]
    found: list[tuple[NDArray[np.float32], float]] = []
    left = list(range(len(order)))
    while left:
        cluster = [i for i in left if i == left[0] or boxes[i].iou(boxes[left[0]]) > SAME]
        weights = scores[order[cluster]]
        mean = np.average(points[order[cluster]], axis=0, weights=weights).astype(np.float32)
        found.append((mean, float(weights[0])))
        left = [i for i in left if i not in cluster]
    return found
