"""CenterFace: faces of any size as points with sizes, many at once.

Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019, arXiv:1911.03599.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import Face, SmallFaceDetection
from modiste.geometry import Box
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

LONG_SIDE = 800
"""What the longer side of a picture is scaled down to; smaller pictures stay as they are."""
MULTIPLE = 32
USUAL_WIDTH = 608
"""Of an upright photo with sides as 3 to 4."""
STRIDE = 4
SURE = 0.5
"""Score from which on something is a face."""
SAME = 0.3
"""Overlap from which on two predictions are of one face."""


class CenterFace(SmallFaceDetection):
    """Heat map of face centres at a quarter of the size."""

    spec = ModelSpec(
        id="centerface",
        role="SmallFaceDetection",
        paper="Xu et al., CenterFace, 2019, arXiv:1911.03599",
        licence="MIT",
        engines={
            "main": EngineSpec(
                weights="centerface",
                max_batch=8,
                inputs=(TensorSpec(name="input.1", shape=("N", 3, "H", "W"), range="[0, 255]", meaning="RGB"),),
                outputs=(
                    TensorSpec(name="537", shape=("N", 1, "H/4", "W/4"), range="[0, 1]", meaning="a face's centre"),
                    TensorSpec(name="538", shape=("N", 2, "H/4", "W/4"), range="log of cells", meaning="height, width"),
                    TensorSpec(name="539", shape=("N", 2, "H/4", "W/4"), range="cells", meaning="centre's rest, y, x"),
                    TensorSpec(
                        name="540",
                        shape=("N", 10, "H/4", "W/4"),
                        range="box sizes from its corner",
                        meaning="y, x of the image-left eye, right eye, nose, left and right mouth corner",
                    ),
                ),
                sizes={"H": LONG_SIDE, "W": USUAL_WIDTH},
                buckets=({"H": (MULTIPLE, LONG_SIDE), "W": (MULTIPLE, LONG_SIDE)},),
            )
        },
        resources=Resources(gpu_memory_mb=2000, cpus=1.0, min_replicas=1),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        height, width, scale = network_size(*x.shape[:2])
        size = (max(1, round(x.shape[1] * scale)), max(1, round(x.shape[0] * scale)))
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(x, size, interpolation=cv2.INTER_AREA)
        return {"input.1": np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> tuple[Face, ...]:
        boxes, eyes, scores = decode(*(outputs[name][0] for name in ("537", "538", "539", "540")))
        corners_and_sizes = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        kept = cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), scores.tolist(), SURE, SAME)
        scale = network_size(*x.shape[:2])[2]
        faces = []
        for i in np.asarray(kept, np.int64).ravel():
            place = eyes[i] / scale - 0.5  # pixel edges scale about 0, pixel centres about -0.5
            faces.append(
                Face(
                    box=Box(*(float(edge) for edge in boxes[i] / scale)),
                    score=float(scores[i]),
                    eyes=place[np.argsort(place[:, 0])],
                )
            )
        return tuple(faces)


def network_size(height: int, width: int) -> tuple[int, int, float]:
    """The padded height and width that the network sees, and the scale of the picture in its top left corner."""
    scale = min(1.0, LONG_SIDE / max(height, width))
    return _padded(height * scale), _padded(width * scale), scale


def _padded(length: float) -> int:
    return -(-max(1, round(length)) // MULTIPLE) * MULTIPLE


def decode(
    heat: NDArray[np.float32], log_size: NDArray[np.float32], rest: NDArray[np.float32], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Every cell that is sure of a face, in pixels of the network's picture.

    heat: [1, h, w]; log_size, rest: [2, h, w]; points: [10, h, w]
    returns: boxes [K, 4] (left, top, right, bottom), eyes [K, 2, 2] (x, y), scores [K]
    """
    rows, columns = np.nonzero(heat[0] > SURE)
    tall, wide = np.exp(log_size[:, rows, columns]) * STRIDE
    top = (rows + rest[0, rows, columns] + 0.5) * STRIDE - tall / 2
    left = (columns + rest[1, rows, columns] + 0.5) * STRIDE - wide / 2
    y = top + points[[0, 2]][:, rows, columns] * tall
    x = left + points[[1, 3]][:, rows, columns] * wide
    boxes = np.stack([left, top, left + wide, top + tall], axis=1).astype(np.float32)
    return boxes, np.stack([x.T, y.T], axis=2).astype(np.float32), heat[0, rows, columns]
