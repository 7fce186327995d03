"""What HR-VITON's two networks are fed, made as in its training, numbers and rounding included.

Pictures are float32 [3, H, W] RGB, -1 to 1, H x W = 1024 x 768 (or another size of that shape) unless said otherwise.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deployments.hrviton.agnostic import Joints, agnostic_labels
from deployments.hrviton.labels import PAINTED, SEEN, one_hot, painted, seen
from modiste.image import LabelMap, Mask, RGBImage

Array = NDArray[np.float32]

WIDTH: Final = 768
COARSE: Final = (256, 192)
"""Height and width that the condition generator sees."""
BLUR_SIDE, BLUR_DEVIATION = 15, 3.0
UPPER: Final = list(SEEN).index("upper")
UNDER: Final = [list(SEEN).index(name) for name in ("background", "upper", "bottom")]
"""What a garment may lie over; it is hidden behind everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A body and a garment, ready.

    dense_pose:   the coloured parts of the body, black elsewhere
    labels:       uint8 [H, W], 13 classes, without the old garment
    garment_mask: float32 [1, H, W], 0 or 1
    """

    dense_pose: Array
    labels: LabelMap
    garment: Array
    garment_mask: Array


def prepare(
    *,
    labels: LabelMap,
    joints: Joints,
    dense_pose: RGBImage,
    garment: RGBImage,
    garment_mask: Mask,
    width: int = WIDTH,
) -> Prepared:
    """Forget the old garment, at full size, then bring everything to the networks' size and range.

    dense_pose:   uint8 [1024, 768, 3] RGB; labels: uint8 [1024, 768], 20 classes; joints: in their pixels
    garment:      uint8 [1024, 768, 3] RGB on a light background; garment_mask: 255 = garment
    """
    sharp = Image.Resampling.NEAREST
    inside = resized(garment_mask, width, sharp) >= 128
    return Prepared(
        dense_pose=shown(dense_pose, width),
        labels=seen(LabelMap(resized(agnostic_labels(labels, joints), width, sharp))),
        garment=shown(garment, width),
        garment_mask=inside.astype(np.float32)[None],
    )


def condition_inputs(person: Prepared, size: tuple[int, int] = COARSE) -> tuple[Array, Array]:
    """The condition generator's two inputs, [1, 4, h, w] and [1, 16, h, w]; size: h and w."""
    garment = np.concatenate(
        [_coarse(person.garment, size, cv2.INTER_LINEAR), _coarse(person.garment_mask, size, cv2.INTER_NEAREST)]
    )
    labels = cv2.resize(person.labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    body = np.concatenate([one_hot(LabelMap(labels), len(SEEN)), _coarse(person.dense_pose, size, cv2.INTER_LINEAR)])
    return garment[None], body[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """garment: where the flow puts it; shown: float32 [1, H, W], 0-1, how much of it nothing lies in front of

    labels: uint8 [H, W], 7 classes
    """

    garment: Array
    shown: Array
    labels: LabelMap


def fit(person: Prepared, *, flow: Array, labels: Array, warped_mask: Array) -> Fitted:
    """Bend the garment, and keep it from what lies in front of it: arms, hair, face, legs.

    flow, labels, warped_mask: the condition generator's, [2, 128, 96], [13, 256, 192] and [1, 256, 192]
    """
    height, width = person.labels.shape
    planes = labels.copy()
    planes[UPPER] *= warped_mask[0]
    blurred = np.stack([_blurred(cv2.resize(plane, (width, height))) for plane in planes])
    leading, peak = _leading(blurred)
    garment, inside = warped(np.concatenate([person.garment, person.garment_mask]), flow)
    return Fitted(garment=garment, shown=inside * _share(blurred - peak, UNDER), labels=painted(leading))


def generator_picture(agnostic: Array, dense_pose: Array, garment: Array, inside: Array) -> Array:
    """The image generator's picture input [1, 9, H, W]; the garment lies on white."""
    return np.concatenate([agnostic, dense_pose, garment * inside + (1 - inside)])[None]


def generator_labels(labels: LabelMap) -> Array:
    """The image generator's label input, float32 [1, 7, H, W]."""
    return one_hot(labels, len(PAINTED))[None]


def warped(layers: Array, flow: Array) -> tuple[Array, Array]:
    """A garment and its mask, [4, H, W], where the flow puts them: [3, H, W] and [1, H, W]; edge pixels go on outside.

    Rounded at every step as the reference rounds it: along a garment's edges a flow that differs in its last bit gives
    colours that differ by 1e-4.
    """
    height, width = layers.shape[1:]
    coarse_height, coarse_width = flow.shape[1:]
    fine = _enlarged(_enlarged(flow, width, 2), height, 1)
    across = fine[0] / np.float32((coarse_width - 1) / 2) + _even(width)
    down = fine[1] / np.float32((coarse_height - 1) / 2) + _even(height)[:, None]
    one = np.float32(1)
    x = _fused(across + one, width / 2, -0.5)
    y = _fused(down + one, height / 2, -0.5)
    moved = cv2.remap(
        np.ascontiguousarray(layers.transpose(1, 2, 0)), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    planes = moved.transpose(2, 0, 1)
    return planes[:-1], planes[-1:]


def shown(image: RGBImage, width: int) -> Array:
    """A picture as the networks are shown it, [3, H, W]."""
    return normalised(resized(image, width, Image.Resampling.BILINEAR))


def normalised(image: NDArray[np.uint8]) -> Array:
    """uint8 [H, W, 3] -> float32 [3, H, W], -1 to 1."""
    half = np.float32(0.5)
    return (np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / np.float32(255) - half) / half


def resized(image: NDArray[np.uint8], width: int, method: Image.Resampling) -> NDArray[np.uint8]:
    """A picture or label map at another width, its shape kept."""
    height = width * image.shape[0] // image.shape[1]
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), method))


def _coarse(planes: Array, size: tuple[int, int], method: int) -> Array:
    return np.stack([cv2.resize(plane, size[::-1], interpolation=method) for plane in planes])


def _blurred(plane: Array) -> Array:
    """Gaussian blur that takes everything outside for zero."""
    blurred: Array = cv2.GaussianBlur(plane, (BLUR_SIDE, BLUR_SIDE), BLUR_DEVIATION, borderType=cv2.BORDER_CONSTANT)
    return blurred


def _leading(planes: Array) -> tuple[LabelMap, Array]:
    """Which class is the largest, the first of equals, and how large."""
    index, peak = np.zeros(planes.shape[1:], np.uint8), planes[0].copy()
    for number, plane in enumerate(planes[1:], 1):
        np.copyto(index, np.uint8(number), where=plane > peak)
        np.maximum(peak, plane, out=peak)
    return LabelMap(index), peak


def _share(planes: Array, chosen: list[int]) -> Array:
    """How much of all the classes' probability the chosen ones have, [1, H, W]; planes: at most 0, overwritten."""
    likely = np.exp(planes, out=planes)
    return np.asarray(likely[chosen].sum(axis=0) / likely.sum(axis=0))[None]


def _fused(a: Array, b: Array | float, c: Array | float) -> Array:
    """a * b + c, rounded once."""
    return (a.astype(np.float64) * b + c).astype(np.float32)


def _even(count: int) -> Array:
    """From -1 to 1, counted from both ends."""
    step = np.float64(np.float32(2) / np.float32(count - 1))
    place = np.arange(count)
    return np.where(place < count // 2, step * place - 1, 1 - step * (count - 1 - place)).astype(np.float32)


def _enlarged(planes: Array, size: int, axis: int) -> Array:
    """Linear interpolation along an axis of [2, h, w], pixel centres at halves."""
    count = planes.shape[axis]
    half = np.float32(0.5)
    place = np.maximum((np.arange(size, dtype=np.float32) + half) * np.float32(count / size) - half, 0)
    before = place.astype(np.intp)
    after = np.minimum(before + 1, count - 1)
    share = (place - before).astype(np.float32)
    if axis == 1:
        share = share[:, None]
    return _fused(planes.take(before, axis), 1 - share, planes.take(after, axis) * share)
