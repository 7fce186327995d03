"""Lightweight OpenPose: heat maps and affinity fields, grouped to people, as BODY_25.

Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019, arXiv:1811.12004.
"""

import numpy as np

from compile.engine import Tensors
from deployments.lightweight_openpose.group import group
from deployments.lightweight_openpose.prepare import HEIGHT, WIDEST, body_25, enlarged, placed, prepare
from deployments.roles import Pose, PoseEstimation
from modiste.body_box import body_box
from modiste.image import Keypoints, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec


class LightweightOpenPose(PoseEstimation):
    """One look at the whole picture, 256 pixels high, however many people are in it."""

    spec = ModelSpec(
        id="lightweight_openpose",
        role="PoseEstimation",
        paper="Osokin, Lightweight OpenPose, ICPRAM 2019, arXiv:1811.12004",
        licence="none of its own",
        engines={
            "main": EngineSpec(
                weights="lightweight_openpose",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="image",
                        shape=("N", 3, HEIGHT, "W"),
                        range="[-0.5, 0.5]",
                        meaning="BGR; the width is a multiple of 8",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="heatmaps",
                        shape=("N", 19, HEIGHT // 8, "w"),
                        range="[0, 1]",
                        meaning="18 joints, background",
                    ),
                    TensorSpec(
                        name="fields",
                        shape=("N", 38, HEIGHT // 8, "w"),
                        range="[-1, 1]",
                        meaning="direction along 19 limbs",
                    ),
                ),
                sizes={"W": 344},
                buckets=({"W": (HEIGHT, WIDEST * HEIGHT)},),
            )
        },
        resources=Resources(gpu_memory_mb=1600, cpus=1.0),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        return {"image": prepare(x, self._height)[0]}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> tuple[Pose, ...]:
        height, width = x.shape[:2]
        people = group(enlarged(outputs["heatmaps"][0]), enlarged(outputs["fields"][0]))
        _, _, placement = placed(x, self._height)
        found = [_pose(keypoints, height, width) for keypoints in body_25(people, placement, height, width)]
        poses = [pose for pose in found if pose is not None]
        return tuple(sorted(poses, key=lambda pose: -pose.box.area * pose.score))

    @property
    def _height(self) -> int:
        height = self.engines["main"].spec.inputs[0].shape[2]
        assert isinstance(height, int)
        return height


def _pose(keypoints: Keypoints, height: int, width: int) -> Pose | None:
    """score: mean of the joints that were seen; None where none of them is in the picture."""
    seen = keypoints[:, 2] > 0
    if not seen.any():
        return None
    return Pose(
        keypoints=keypoints,
        box=body_box(keypoints, height, width),
        score=float(np.mean(keypoints[seen, 2])),
    )
