"""Face mesh: 468 points on one face, with depth.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019, arXiv:1907.06724.
The network sees a square 1.5 times the face, turned until the eyes are level.
"""

import numpy as np

from compile.engine import Tensors
from deployments.roles import Face, FaceLandmarks, FaceMesh, LandmarksInput
from modiste.geometry import Matrix, invert, transform, warp
from modiste.image import Landmarks
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE = 192
MARGIN = 1.5


class FaceMeshModel(FaceLandmarks):
    """Points come back in the picture's coordinates; z is scaled like x and y."""

    spec = ModelSpec(
        id="face_mesh",
        role="FaceLandmarks",
        paper="Kartynnik et al., Face Mesh, 2019, arXiv:1907.06724",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="face_mesh",
                max_batch=16,
                inputs=(TensorSpec(name="input_1", shape=("N", SIDE, SIDE, 3), range="[0, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="conv2d_21",
                        shape=("N", 1, 1, 1404),
                        range="pixels of 192",
                        meaning="468 times x, y, z",
                        kind="points",
                    ),
                    TensorSpec(name="conv2d_31", shape=("N", 1, 1, 1), range="logit", meaning="a face is there"),
                ),
            )
        },
        resources=Resources(cpus=0.5, min_replicas=1),
    )

    def preprocess(self, x: LandmarksInput) -> Tensors:
        upright = warp(x.image, roi(x.face), SIDE, SIDE)
        return {"input_1": np.multiply(upright[None], np.float32(1 / 255), dtype=np.float32)}

    def postprocess(self, outputs: Tensors, x: LandmarksInput) -> FaceMesh:
        to_picture = invert(roi(x.face))
        mesh = outputs["conv2d_21"].reshape(-1, 3).astype(np.float32)
        # The network's 0 and 192 are the outer edges of the first and the last pixel.
        flat = transform(mesh[:, :2] - 0.5, to_picture)
        depth = mesh[:, 2:] * np.float32(np.sqrt(np.linalg.det(to_picture[:, :2])))
        logit = float(np.clip(outputs["conv2d_31"].item(), -50, 50))
        return FaceMesh(points=Landmarks(np.hstack([flat, depth])), score=1 / (1 + float(np.exp(-logit))))


def roi(face: Face) -> Matrix:
    """From the picture's points to those of the network's upright square."""
    across = face.eyes[1].astype(np.float64) - face.eyes[0]
    turn = np.arctan2(across[1], across[0])
    scale = SIDE / (MARGIN * max(face.box.width, face.box.height, 1.0))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[cos, sin], [-sin, cos]])
    centre = np.array(face.box.centre) - 0.5  # box edges to pixel centres
    return np.column_stack([linear, np.full(2, (SIDE - 1) / 2) - linear @ centre])
