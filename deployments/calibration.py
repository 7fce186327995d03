"""What int8 is calibrated with: pictures of people that the parity gate does not look at.

Only parsers and detectors are offered int8. Their golden inputs (deployments/golden.py) are pictures of other people
and of other views, so an engine is not judged by what its scales were fitted to.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from deployments.roles import Face, LandmarksInput, ParsingInput
from modiste.errors import InvalidOption
from modiste.geometry import Box, crop
from modiste.image import Keypoints, RGBImage, decode
from modiste.labels import BODY_25
from modiste.settings import settings

CLIP = "video/head_turn_two"
"""Leo and Mei turn their heads; where their faces are in each frame is known."""
FRAMES = range(0, 100, 20)
STANDING = ("leo", "mei", "sam")
STORE = ("store/store_dress_terracotta.jpg", "store/store_jacket_bluegrey.jpg")


def calibration_inputs(role: str) -> list[Any]:
    """What a model of this role is called with, in one call.

    raises: InvalidOption for a role that is not offered int8
    """
    if role not in CALIBRATION:
        raise InvalidOption(f"Expected one of {', '.join(CALIBRATION)}, which int8 is offered for; got {role}.")
    return list(CALIBRATION[role]())


@cache
def _faces() -> tuple[LandmarksInput, ...]:
    """Both faces of the frames, each in its frame."""
    import av  # every replica imports this module, and few of them read clips

    known = json.loads((settings().samples / f"{CLIP}.faces.json").read_text())["frames"]
    with av.open(settings().samples / f"{CLIP}.mp4") as clip:
        pictures = [RGBImage(frame.to_ndarray(format="rgb24").astype(np.uint8)) for frame in clip.decode(video=0)]
    return tuple(LandmarksInput(image=pictures[at], face=_face(found)) for at in FRAMES for found in known[at]["faces"])


def _face(found: Mapping[str, Any]) -> Face:
    """From the box of the whole head, and eyes."""
    left, top, right, bottom = found["head_bbox"]
    eyes = np.array(found["nose_reye_leye_rear_lear"][1:3], np.float32)
    brow = eyes[:, 1].mean() - 0.2 * (bottom - top)
    return Face(box=Box(left, brow, right, bottom), score=1.0, eyes=eyes[np.argsort(eyes[:, 0])])


def _scenes() -> list[RGBImage]:
    """Whole frames, each once."""
    return [found.image for found in _faces()[::2]]


def _heads() -> list[RGBImage]:
    return [crop(found.image, found.face.box.scaled(2.0))[0] for found in _faces()]


def _people() -> list[RGBImage]:
    return [_picture(f"persons/{name}.jpg") for name in STANDING] + [_picture(name) for name in STORE]


def _picture(name: str) -> RGBImage:
    return decode((settings().samples / name).read_bytes())


def _keypoints(name: str) -> Keypoints:
    """The joints that the picture was rendered with."""
    known = json.loads((settings().samples / f"persons/{name}.keypoints.json").read_text())["keypoints"]
    named = {
        joint["name"].replace("r_", "right_").replace("l_", "left_"): (joint["x"], joint["y"], float(joint["in_frame"]))
        for joint in known
    }
    right, left = named["right_hip"], named["left_hip"]
    named["mid_hip"] = ((right[0] + left[0]) / 2, (right[1] + left[1]) / 2, min(right[2], left[2]))
    return Keypoints(np.array([named.get(joint, (0.0, 0.0, 0.0)) for joint in BODY_25], np.float32))


def _varied(pictures: Iterable[RGBImage]) -> list[RGBImage]:
    """As they are, and mirrored in other light: darker, brighter, warm and cold, with a camera's grain."""
    listed = list(pictures)
    generator = np.random.default_rng(0)
    for picture in listed[:]:
        light, grain = generator.uniform(0.5, 1.5) * generator.uniform(0.85, 1.15, 3), generator.uniform(2, 8)
        seen = picture[:, ::-1] * light + generator.normal(0, grain, picture.shape)
        listed.append(RGBImage(np.clip(seen, 0, 255).astype(np.uint8)))
    return listed


CALIBRATION: Mapping[str, Callable[[], Iterable[Any]]] = {
    "FaceDetection": lambda: _varied(_scenes()),
    "SmallFaceDetection": lambda: _varied([*_scenes(), *map(_picture, STORE)]),
    "FaceLandmarks": _faces,
    "FaceParsing": lambda: _varied(_heads()),
    "PoseEstimation": lambda: _varied(_people()),
    "HumanParsing": lambda: [
        ParsingInput(image=_picture(f"persons/{name}.jpg"), keypoints=_keypoints(name)) for name in STANDING
    ],
    "Matting": lambda: _varied(_people()),
}
