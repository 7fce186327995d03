"""Which new faces are worth super-resolution, and at which size."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from deployments.roles import FaceView, RestorationInput
from graphs.base import Step
from graphs.face_finding import Closeup
from modiste.geometry import bounding_box
from modiste.image import Landmarks, RGBImage

FINEST = 1.6
"""How many times finer than the virtual face the photo may be before the new face is restored."""
_RESTORED_SIDE = 256
"""Side of the crop that is restored, pixels: what super-resolution on a CPU can bear."""


async def restored(
    patches: Sequence[RGBImage],
    targets: Sequence[Closeup],
    source: FaceView,
    wish: Literal["auto", "always", "never"],
    restore: Step[RestorationInput, RGBImage],
) -> list[RGBImage]:
    """The new faces in the size they came in, those that need it restored.

    "auto": where the photo shows its face with many more pixels than the virtual face has; smaller faces are only
    ever shrunk from the virtual one, and sharper than the photo already.
    """
    chosen = [
        index
        for index, target in enumerate(targets)
        if wish == "always" or (wish == "auto" and _finer(target, source) > FINEST)
    ]
    sharp = await restore.many([_small(patches[index], targets[index].view.landmarks) for index in chosen])
    result = list(patches)
    for index, image in zip(chosen, sharp, strict=True):
        height, width = patches[index].shape[:2]
        result[index] = RGBImage(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return result


def _small(patch: RGBImage, landmarks: Landmarks) -> RestorationInput:
    """landmarks: in the patch"""
    height, width = patch.shape[:2]
    image = cv2.resize(patch, (_RESTORED_SIDE, _RESTORED_SIDE), interpolation=cv2.INTER_AREA)
    factors = np.array([_RESTORED_SIDE / width, _RESTORED_SIDE / height, _RESTORED_SIDE / width], np.float32)
    half = np.array([0.5, 0.5, 0], np.float32)
    points = Landmarks(((landmarks + half) * factors - half).astype(np.float32))
    return RestorationInput(image=RGBImage(image), landmarks=points, scale=4)


def _finer(target: Closeup, source: FaceView) -> float:
    """Pixels of the photo's face over pixels of the virtual one."""
    crop = float(np.sqrt(abs(np.linalg.det(target.cutting.matrix[:, :2]))))
    ours = bounding_box(target.view.landmarks).height / crop
    return ours / bounding_box(source.landmarks).height
