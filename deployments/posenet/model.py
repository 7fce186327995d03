"""PoseNet: keypoints that each grow a person along the body, as BODY_25.

Papandreou et al., "PersonLab: Person Pose Estimation and Instance Segmentation with a Bottom-Up, Part-Based, Geometric
Embedding Model", ECCV 2018, arXiv:1803.08225.
"""

import numpy as np

from compile.engine import Tensors
from deployments.posenet.decode import Floats, decode
from deployments.posenet.prepare import body_25, placed, squared
from deployments.roles import Pose, PoseEstimation
from modiste.body_box import body_box
from modiste.image import Keypoints, RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE, STRIDE = 513, 16
MOST_PEOPLE, LEAST_SCORE = 10, 0.25
"""People who are looked for, and the least mean score of one's keypoints."""

_CELLS = (SIDE - 1) // STRIDE + 1


class PoseNet(PoseEstimation):
    """One look at the whole picture in a square, however many people are in it."""

    spec = ModelSpec(
        id="posenet_101",
        role="PoseEstimation",
        paper="Papandreou et al., PersonLab, ECCV 2018, arXiv:1803.08225",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights="posenet_101",
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="image", shape=("N", 3, SIDE, SIDE), range="[-1, 1]", meaning="RGB, black around it"
                    ),
                ),
                outputs=tuple(
                    TensorSpec(name=name, shape=("N", channels, _CELLS, _CELLS), range=values, meaning=meaning)
                    for name, channels, values, meaning in (
                        ("heatmap", 17, "[0, 1]", "keypoints"),
                        ("offset", 34, "pixels", "y, then x, from the cell to the keypoint"),
                        ("forward", 32, "pixels", "y, then x, to the next keypoint outwards"),
                        ("backward", 32, "pixels", "y, then x, to the next keypoint inwards"),
                    )
                ),
            )
        },
        resources=Resources(gpu_memory_mb=1000, cpus=1.0),
    )

    def preprocess(self, x: RGBImage) -> Tensors:
        return {"image": squared(x, self._side)}

    def postprocess(self, outputs: Tensors, x: RGBImage) -> tuple[Pose, ...]:
        heatmap, offset, forward, backward = (outputs[name][0] for name in ("heatmap", "offset", "forward", "backward"))
        stride = (self._side - 1) // (heatmap.shape[1] - 1)
        people = decode(
            heatmap, offset, forward, backward, stride, most=MOST_PEOPLE, person_score=LEAST_SCORE
        )  # fmt: skip
        _, placement = placed(x.shape[0], x.shape[1], self._side)
        poses = []
        for points, scores, score in zip(people.points, people.keypoint_scores, people.scores, strict=True):
            keypoints = _within(points - placement.corner, scores, placement.back, x)
            if (keypoints[:, 2] > 0).any():
                poses.append(Pose(keypoints=keypoints, box=body_box(keypoints, *x.shape[:2]), score=float(score)))
        return tuple(sorted(poses, key=lambda pose: -pose.box.area * pose.score))

    @property
    def _side(self) -> int:
        side = self.engines["main"].spec.inputs[0].shape[2]
        assert isinstance(side, int)
        return side


def _within(points: Floats, scores: Floats, back: Floats, picture: RGBImage) -> Keypoints:
    """BODY_25 in the picture; what lies outside it is not seen."""
    inside = ((points * back >= -0.5) & (points * back <= np.array(picture.shape[:2]) - 0.5)).all(axis=1)
    return body_25(points, scores * inside, back)
