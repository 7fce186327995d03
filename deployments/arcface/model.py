"""ArcFace on iResNet-100: 512 numbers a face.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, arXiv:1801.07698. The weights
come from CosFace's margin (Wang et al., CVPR 2018, arXiv:1801.09414) in the same project.
"""

import numpy as np

from compile.engine import Tensors
from deployments.roles import IdentityEmbedding, IdentityInput
from modiste.face_alignment import arcface_template, crop_by_template, five_points, landmarks_of_mesh
from modiste.image import Embedding
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec


class ArcFace(IdentityEmbedding):
    """Eyes, nose and corners of the mouth are brought to the mean face; black beyond the picture."""

    same_person = 0.28  # within the 0.25 to 0.35 that are usual for it; its authors publish none
    spec = ModelSpec(
        id="arcface",
        role="IdentityEmbedding",
        paper="Deng et al., ArcFace, CVPR 2019, arXiv:1801.07698",
        licence="MIT (code); weights for non-commercial research only",
        engines={
            "main": EngineSpec(
                weights="arcface_r100_glint360k",
                max_batch=16,
                inputs=(TensorSpec(name="face", shape=("N", 3, 112, 112), range="[-1, 1]", meaning="RGB, aligned"),),
                outputs=(
                    TensorSpec(
                        name="embedding", shape=("N", 512), range="of any length", meaning="identity", kind="embedding"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=1000, cpus=1.0, min_replicas=1),
    )

    def preprocess(self, x: IdentityInput) -> Tensors:
        side = self.engines["main"].spec.inputs[0].shape[2]
        assert isinstance(side, int)
        points = five_points(landmarks_of_mesh(x.landmarks))
        face, _ = crop_by_template(x.image, points, arcface_template(side), side)
        return {"face": np.ascontiguousarray(face.transpose(2, 0, 1)[None], np.float32) / 127.5 - 1}

    def postprocess(self, outputs: Tensors, x: IdentityInput) -> Embedding:
        embedding = outputs["embedding"][0]
        return Embedding(embedding / np.linalg.norm(embedding))
