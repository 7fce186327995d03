"""The dlib face recognition network: ResNet-29, 128 numbers a face.

King, "High Quality Face Recognition with Deep Metric Learning", dlib 2017; layers after He et al., CVPR 2016,
arXiv:1512.03385. Trained so that the distance between two pictures of one person is under 0.6.
"""

import numpy as np

from compile.engine import Tensors
from deployments.roles import IdentityEmbedding, IdentityInput
from modiste.geometry import Matrix, similarity, warp
from modiste.image import Embedding, Landmarks
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 150
PADDING = 0.25
MEAN = np.array([122.782, 117.001, 104.298], np.float32)

POINTS = (33, 133, 362, 263, 2)
"""Mesh points at the outer and inner corner of the image-left eye, inner and outer of the other, and under the nose."""
TEMPLATE = np.array(
    [[0.1206, 0.2137], [0.3341, 0.2291], [0.6461, 0.2290], [0.8596, 0.2135], [0.4901, 0.6278]], np.float32
)
"""Where they lie in the aligned face, 0-1 without padding; the mean shape that the network's chips were cut by."""


class DlibResNet(IdentityEmbedding):
    """Faces are aligned by five points and cut with a quarter of margin."""

    same_person = 0.91  # a distance of 0.6 between vectors of length 1.43

    spec = ModelSpec(
        id="dlib_resnet",
        role="IdentityEmbedding",
        paper="King, High Quality Face Recognition with Deep Metric Learning, dlib 2017; ResNet, arXiv:1512.03385",
        licence="public domain",
        engines={
            "main": EngineSpec(
                weights="dlib_resnet",
                gpu_precision="float16",
                max_batch=16,
                inputs=(
                    TensorSpec(
                        name="face",
                        shape=("N", 3, SIDE, SIDE),
                        range="[-0.48, 0.59], 0-255 less the mean, / 256",
                        meaning="RGB, aligned",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="embedding", shape=("N", 128), range="length about 1", meaning="identity", kind="embedding"
                    ),
                ),
            )
        },
        resources=Resources(cpus=0.5, min_replicas=1),
    )

    def preprocess(self, x: IdentityInput) -> Tensors:
        chip = warp(x.image, to_chip(x.landmarks), SIDE, SIDE).astype(np.float32)
        return {"face": np.ascontiguousarray(((chip - MEAN) / 256).transpose(2, 0, 1)[None])}

    def postprocess(self, outputs: Tensors, x: IdentityInput) -> Embedding:
        embedding = outputs["embedding"][0]
        return Embedding(embedding / np.linalg.norm(embedding))


def to_chip(landmarks: Landmarks) -> Matrix:
    """From the picture's points to those of the aligned 150 px face."""
    target = (TEMPLATE + PADDING) / (1 + 2 * PADDING) * SIDE
    return similarity(landmarks[list(POINTS), :2], target)
