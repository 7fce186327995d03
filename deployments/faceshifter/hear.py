"""FaceShifter in two stages, as published: AEI-Net swaps, HEAR-Net brings back what covered the face.

Li et al., "FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping", 2019, arXiv:1912.13457, in the form
of taotaonice's re-implementation; identity by ArcFace (Deng et al., CVPR 2019, arXiv:1801.07698) on IR-SE50.
"""

from collections.abc import Mapping

import numpy as np

from compile.engine import Engine, Tensors
from deployments.faceshifter.align import corners_kept
from deployments.faceshifter.identity import Floats, Identities, planes, signed, to_image
from deployments.roles import FaceSwap, FaceView, SwapInput, SwappedFace
from modiste.face_alignment import arcface_template, five_points, landmarks_of_mesh
from modiste.face_blend import lay_in, skin_colour
from modiste.geometry import Matrix, similarity, warp
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE, IDENTITY_SIDE = 256, 112
EMBEDDING = 512
INNER = 0.85
"""Share of the crop's side that ArcFace's template has; the rest lies around it."""
SEEN = (19, 237)
"""Rows and columns, of 256, that the identity network is shown."""


class FaceShifterHear(FaceSwap):
    """What a swap of the target with its own identity loses of the target tells HEAR-Net what was in front."""

    spec = ModelSpec(
        id="faceshifter_hear",
        role="FaceSwap",
        paper="Li et al., FaceShifter, 2019, arXiv:1912.13457",
        licence="that of the data you train on; identity network of InsightFace's: non-commercial",
        engines={
            "main": EngineSpec(
                weights="aei_taotaonice_own",
                max_batch=4,
                inputs=(
                    TensorSpec(name="target", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="BGR, aligned"),
                    TensorSpec(name="identity", shape=("N", EMBEDDING), range="length 1", meaning="source's"),
                ),
                outputs=(
                    TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="BGR", kind="picture"),
                ),
            ),
            "hear": EngineSpec(
                weights="hear_taotaonice_own",
                max_batch=4,
                inputs=(
                    TensorSpec(
                        name="swapped_and_lost",
                        shape=("N", 6, SIDE, SIDE),
                        range="[-1, 1], [-2, 2]",
                        meaning="BGR of the swapped face, then what a swap with itself loses",
                    ),
                ),
                outputs=(
                    TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="BGR", kind="picture"),
                ),
            ),
            "identity": EngineSpec(
                weights="ir_se50",
                inputs=(
                    TensorSpec(
                        name="face", shape=("N", 3, IDENTITY_SIDE, IDENTITY_SIDE), range="[-1, 1]", meaning="BGR"
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="embedding", shape=("N", EMBEDDING), range="length 1", meaning="identity", kind="embedding"
                    ),
                ),
            ),
        },
        resources=Resources(gpu_memory_mb=2700, cpus=1.0),
    )

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__(engines)
        self._identity = Identities(engines["identity"])
        self._side, self._seen = (int(engines[name].spec.inputs[0].shape[2]) for name in ("main", "identity"))

    def preprocess(self, x: SwapInput) -> Tensors:
        source, target = self._aligned(x.source), self._aligned(x.target)
        return {"target": planes(target), "identity": self._who(source), "own": self._who(target)}

    def infer(self, feeds: Tensors) -> Tensors:
        swap, target = self.engines["main"], feeds["target"]
        swapped = swap({"target": target, "identity": feeds["identity"]})["face"]
        lost = target - swap({"target": target, "identity": feeds["own"]})["face"]
        return self.engines["hear"]({"swapped_and_lost": np.concatenate([swapped, lost], axis=1)})

    def postprocess(self, outputs: Tensors, x: SwapInput) -> SwappedFace:
        target, source = x.target, x.source
        image, mask = lay_in(
            target.image,
            target.landmarks,
            target.labels,
            to_image(outputs["face"][0, ::-1]),
            self._matrix(target),
            skin=skin_colour(source.image, source.landmarks, source.labels),
            tone=x.tone,
        )
        return SwappedFace(image=image, mask=mask)

    def _aligned(self, view: FaceView) -> Floats:
        """[S, S, 3], BGR, -1 to 1"""
        return signed(warp(view.image, self._matrix(view), self._side, self._side))[..., ::-1]

    def _who(self, aligned: Floats) -> Floats:
        first, last = (round(edge * self._side / SIDE) for edge in SEEN)
        return self._identity(planes(corners_kept(aligned[first:last, first:last], self._seen)))

    def _matrix(self, view: FaceView) -> Matrix:
        template = (arcface_template(IDENTITY_SIDE) - IDENTITY_SIDE / 2) * INNER + IDENTITY_SIDE / 2
        wanted = (template * (self._side / IDENTITY_SIDE)).astype(np.float32)
        return similarity(five_points(landmarks_of_mesh(view.landmarks)), wanted)
