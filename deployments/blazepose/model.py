"""BlazePose: person detector, then 33 body landmarks in a crop turned with the body.

Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking", CVPR workshops 2020, arXiv:2006.10204.
"""

import numpy as np

from compile.engine import Tensors
from deployments.blazepose.detector import SIDE as DETECTOR_SIDE
from deployments.blazepose.detector import Detection, decode, frame, letterbox
from deployments.blazepose.landmarks import CENTRE, RIM, SIDE, Located, body_25, look, read, region
from deployments.roles import Pose, PoseEstimation
from modiste.geometry import Matrix, bounding_box
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

PASSES = 2
"""Looks at each person: the first finds where the body really is, the second measures there."""
MOST_PEOPLE = 4
LEAST_SCORE = 0.5


class BlazePose(PoseEstimation):
    """Detector on the letterboxed picture; landmarks twice, the second time where the first saw the body."""

    main = "detector"
    spec = ModelSpec(
        id="blazepose",
        role="PoseEstimation",
        paper="Bazarevsky et al., BlazePose, CVPR workshops 2020, arXiv:2006.10204",
        licence="Apache-2.0",
        engines={
            "detector": EngineSpec(
                weights="blazepose_detector",
                gpu_precision="float16",
                max_batch=16,
                inputs=(
                    TensorSpec(
                        name="input_1",
                        shape=("N", DETECTOR_SIDE, DETECTOR_SIDE, 3),
                        range="[-1, 1]",
                        meaning="RGB, letterboxed",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="Identity",
                        shape=("N", 2254, 12),
                        range="pixels",
                        meaning="a box, 4 points",
                    ),
                    TensorSpec(name="Identity_1", shape=("N", 2254, 1), range="logit", meaning="person"),
                ),
            ),
            "landmark": EngineSpec(
                weights="blazepose_landmark",
                gpu_precision="float16",
                inputs=(TensorSpec(name="input_1", shape=("N", SIDE, SIDE, 3), range="[0, 1]", meaning="RGB"),),
                outputs=(
                    TensorSpec(
                        name="Identity",
                        shape=("N", 195),
                        range="pixels, logits",
                        meaning="39 x (x, y, z, visibility, presence)",
                    ),
                    TensorSpec(name="Identity_1", shape=("N", 1), range="[0, 1]", meaning="a person is there"),
                ),
            ),
        },
        resources=Resources(gpu_memory_mb=600, cpus=1.0),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        return {"input_1": letterbox(x)[None]}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> tuple[Pose, ...]:
        people = decode(outputs["Identity"][0], outputs["Identity_1"][0, :, 0], frame(x))
        poses = [pose for person in people[:MOST_PEOPLE] if (pose := self._pose(x, person)) is not None]
        return tuple(sorted(poses, key=lambda pose: -pose.box.area * pose.score))

    def _pose(self, image: RGBImage, person: Detection) -> Pose | None:
        """Joints of one detected person; None where the closer look finds none."""
        matrix = region(person.hips, person.rim)
        for _ in range(PASSES):
            located = self._located(image, matrix)
            if located.score < LEAST_SCORE:
                return None
            centre, rim = located.points[CENTRE], located.points[RIM]
            matrix = region((float(centre[0]), float(centre[1])), (float(rim[0]), float(rim[1])))
        height, width = image.shape[:2]
        body = bounding_box(located.points[:33]).clipped(height, width)
        return Pose(keypoints=body_25(located, height, width), box=body, score=located.score)

    def _located(self, image: RGBImage, matrix: Matrix) -> Located:
        outputs = self.engines["landmark"]({"input_1": np.ascontiguousarray(look(image, matrix))})
        return read(outputs["Identity"][0], float(outputs["Identity_1"][0, 0]), matrix)
