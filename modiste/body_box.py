"""How far a person reaches, told by the joints that were seen.

Proportions are those of a standing adult (Winter, "Biomechanics and Motor Control of Human Movement", 2009), in units
of the way from the neck to the hips.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from modiste.geometry import Box, bounding_box
from modiste.image import Keypoints
from modiste.labels import JOINT

BELOW_HIP, BELOW_KNEE, BELOW_ANKLE = 1.9, 1.1, 0.25
"""To the end of the foot."""
BEYOND_WRIST, ABOVE_NECK = 0.3, 0.55
"""To the finger tips; to the eyes."""
SHOULDERS = 1.4
"""Neck to hips in shoulder widths, where the hips are not seen."""

_HEAD: Final = [JOINT[name] for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear")]


def body_box(keypoints: Keypoints, height: int, width: int) -> Box:
    """The part of a picture that shows a person, from the eyes to the feet and to both hands.

    Legs that are not seen are taken to go on below what is: they leave the picture, or something stands in front.
    keypoints:     at least one seen (score over 0); all seen ones lie in the picture
    height, width: of the picture
    """
    seen = keypoints[:, 2] > 0
    places = [*np.asarray(keypoints[seen, :2], np.float64)]

    def at(name: str) -> NDArray[np.float64] | None:
        joint = keypoints[JOINT[name]]
        return np.asarray(joint[:2], np.float64) if joint[2] > 0 else None

    neck, hips, right, left = (at(name) for name in ("neck", "mid_hip", "right_shoulder", "left_shoulder"))
    down, torso = np.array([0.0, 1.0]), 0.0
    if neck is not None and hips is not None:
        torso = float(np.linalg.norm(hips - neck))
        down = (hips - neck) / max(torso, 1e-6)
    if right is not None and left is not None:
        # Seen along its own axis a trunk is short; shoulders keep their width.
        torso = max(torso, SHOULDERS * float(np.linalg.norm(right - left)) * (0.7 if torso else 1.0))
    if neck is not None and not seen[_HEAD].any():
        places.append(neck - down * ABOVE_NECK * torso)
    if neck is not None and hips is None:
        places.append(neck + down * (1 + BELOW_HIP) * torso)
    for side in ("right", "left"):
        hip, knee, ankle = (at(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        elbow, wrist = at(f"{side}_elbow"), at(f"{side}_wrist")
        if ankle is not None:
            places.append(ankle + _towards(knee, ankle, down) * BELOW_ANKLE * torso)
        elif knee is not None:
            places.append(knee + _towards(hip, knee, down) * BELOW_KNEE * torso)
        elif hip is not None:
            places.append(hip + down * BELOW_HIP * torso)
        if wrist is not None and elbow is not None:
            places.append(wrist + _towards(elbow, wrist, down) * BEYOND_WRIST * torso)
    return bounding_box(np.array(places, np.float32)).clipped(height, width)


def _towards(
    start: NDArray[np.float64] | None, end: NDArray[np.float64], otherwise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Length 1; `otherwise` where the start is unknown or is the end."""
    if start is None or np.allclose(start, end):
        return otherwise
    way = end - start
    return np.asarray(way / np.linalg.norm(way), np.float64)
