"""FaceShifter in GHOST's form: the source's identity in the target's pose, expression and light.

Li et al., "FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping", 2019, arXiv:1912.13457; Groshev et
al., "GHOST - A New Face Swap Approach for Image and Video Domains", IEEE Access 2022; identity by ArcFace (Deng et al.,
CVPR 2019, arXiv:1801.07698).
"""

from collections.abc import Mapping

from compile.engine import Engine, Tensors
from deployments.faceshifter.align import alignment, corners_kept, resized
from deployments.faceshifter.identity import Floats, Identities, planes, signed, to_image
from deployments.roles import FaceSwap, FaceView, SwapInput, SwappedFace
from modiste.face_alignment import five_points, landmarks_of_mesh
from modiste.face_blend import lay_in, skin_colour
from modiste.geometry import Matrix, Points, warp
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE, IDENTITY_SIDE = 256, 112
ALIGNED = 224
"""Side of GHOST's aligned faces: twice what the identity network sees."""
EMBEDDING = 512


class FaceShifter(FaceSwap):
    """Aligned by five points; the whole aligned face comes from the network, of which the face alone is laid in."""

    spec = ModelSpec(
        id="faceshifter",
        role="FaceSwap",
        paper="Li et al., FaceShifter, 2019, arXiv:1912.13457; Groshev et al., GHOST, IEEE Access 2022",
        licence="Apache-2.0; trained on VGGFace2 and CelebA-HQ with InsightFace's identity network: non-commercial",
        engines={
            "main": EngineSpec(
                weights="ghost_2blocks",
                max_batch=4,
                inputs=(
                    TensorSpec(name="target", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB, aligned"),
                    TensorSpec(name="identity", shape=("N", EMBEDDING), range="length about 20", meaning="source's"),
                ),
                outputs=(
                    TensorSpec(name="face", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB", kind="picture"),
                ),
            ),
            "identity": EngineSpec(
                weights="arcface_r100_glint360k",
                inputs=(
                    TensorSpec(
                        name="face", shape=("N", 3, IDENTITY_SIDE, IDENTITY_SIDE), range="[-1, 1]", meaning="RGB"
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="embedding",
                        shape=("N", EMBEDDING),
                        range="not normalised",
                        meaning="identity",
                        kind="embedding",
                    ),
                ),
            ),
        },
        resources=Resources(gpu_memory_mb=2500, cpus=1.0),
    )

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__(engines)
        self._identity = Identities(engines["identity"])
        self._side, self._seen = (int(engines[name].spec.inputs[0].shape[2]) for name in ("main", "identity"))

    def preprocess(self, x: SwapInput) -> Tensors:
        aligned = warp(x.source.image, alignment(_points(x.source), 2 * self._seen), 2 * self._seen, 2 * self._seen)
        identity = self._identity(planes(corners_kept(signed(aligned), self._seen)))
        return {"target": self._aligned(x.target), "identity": identity}

    def postprocess(self, outputs: Tensors, x: SwapInput) -> SwappedFace:
        target, source = x.target, x.source
        image, mask = lay_in(
            target.image,
            target.landmarks,
            target.labels,
            to_image(outputs["face"][0]),
            self._matrix(target),
            skin=skin_colour(source.image, source.landmarks, source.labels),
            tone=x.tone,
        )
        return SwappedFace(image=image, mask=mask)

    def _aligned(self, view: FaceView) -> Floats:
        return planes(signed(warp(view.image, self._matrix(view), self._side, self._side)))

    def _matrix(self, view: FaceView) -> Matrix:
        """Picture to what the network sees: GHOST's aligned face, resized, in one step."""
        return resized(alignment(_points(view), ALIGNED), self._side / ALIGNED)


def _points(view: FaceView) -> Points:
    return five_points(landmarks_of_mesh(view.landmarks))
