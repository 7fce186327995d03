"""What DensePose says about a person's box, as a picture: parts, positions on them, and colours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.kit import Arrays, difference
from deployments.networks import Procedure
from modiste.dense_pose import COLOURS
from modiste.image import LabelMap, RGBImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """parts: uint8 [h, w]; uv: float32 [2, h, w], 0 to 1, 0 on the background; corner: left and top, pixels."""

    parts: LabelMap
    uv: NDArray[np.float32]
    corner: tuple[int, int]


def surface(
    coarse: NDArray[np.float32],
    fine: NDArray[np.float32],
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    box: NDArray[np.float32],
) -> Surface:
    """The body's surface at the picture's size.

    coarse: [2, s, s] logits of background and body; fine: [25, s, s] of background and parts; u, v: [25, s, s]
    box:    [4] left, top, right, bottom in the picture's pixels
    """
    left, top = (int(at) for at in box[:2])
    width, height = (max(int(side), 1) for side in (box[2] - box[0], box[3] - box[1]))
    parts = np.where(_best(coarse, width, height) > 0, _best(fine, width, height), 0).astype(np.uint8)
    rows, columns = np.nonzero(parts)
    values = _sampled(np.stack((u, v)), parts[rows, columns], rows, columns, width, height)
    uv = np.zeros((2, height, width), np.float32)
    uv[:, rows, columns] = values
    return Surface(parts=LabelMap(parts), uv=uv, corner=(left, top))


def _best(maps: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    """The channel of the largest value at each place of the enlarged maps; [C, s, s] -> [height, width]."""
    best, largest = np.zeros((height, width), np.uint8), np.full((height, width), -np.inf, np.float32)
    for channel, plane in enumerate(np.asarray(maps, np.float32)):
        enlarged = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
        better = enlarged > largest
        best[better] = channel
        np.maximum(largest, enlarged, out=largest)
    return best


def _sampled(
    maps: NDArray[np.float32],
    channels: NDArray[np.uint8],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    width: int,
    height: int,
) -> NDArray[np.float32]:
    """Values of maps [M, C, s, s] enlarged to width x height, at P places each in a channel of its own; [M, P]."""
    above, below, down = _between(maps.shape[2], height)
    before, after, across = _between(maps.shape[3], width)
    down, across = down[rows], across[columns]
    upper, lower = (
        maps[:, channels, near[rows], before[columns]] * (1 - across)
        + maps[:, channels, near[rows], after[columns]] * across
        for near in (above, below)
    )
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def _between(size: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The two cells of a row that each of the wanted places lies between, and the share of the second."""
    at = ((np.arange(wanted) + 0.5) * (size / wanted) - 0.5).clip(0, size - 1)
    low = at.astype(np.intp)
    return low, np.minimum(low + 1, size - 1), np.asarray(at - low, np.float32)


def iuv(found: Surface, height: int, width: int) -> NDArray[np.uint8]:
    """Part, u and v (0-255) of every pixel of the picture, [height, width, 3]; for the person of the best box."""
    picture = np.zeros((height, width, 3), np.uint8)
    place, part = _overlap(found, height, width)
    picture[place] = np.dstack((found.parts, *(found.uv.clip(0, 1) * 255).astype(np.uint8)))[part]
    return picture


def coloured(found: Surface, height: int, width: int) -> RGBImage:
    """Parts in the colours that HR-VITON was trained with, on black."""
    canvas = RGBImage(np.zeros((height, width, 3), np.uint8))
    return over(canvas, found)


def over(canvas: RGBImage, found: Surface, alpha: float = 1.0) -> RGBImage:
    """Parts in colours over a picture; alpha: 1 hides the picture beneath."""
    picture = canvas.copy()
    place, part = _overlap(found, *canvas.shape[:2])
    parts, beneath = found.parts[part], canvas[place]
    mixed = beneath * (1 - alpha) + COLOURS[parts] * alpha
    picture[place] = np.where(parts[..., None] > 0, mixed, beneath).astype(np.uint8)
    return RGBImage(picture)


def _overlap(found: Surface, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the box lies in a picture, and which part of the box that is."""
    (left, top), (tall, wide) = found.corner, found.parts.shape
    rows, columns = slice(max(top, 0), min(top + tall, height)), slice(max(left, 0), min(left + wide, width))
    return (rows, columns), (
        slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    )  # fmt: skip


def _reproduce(arrays: Arrays) -> Mapping[str, float]:
    maps = (arrays[name][0] for name in ("coarse_segm", "fine_segm_f16", "u_f16", "v_f16"))
    coarse, fine, u, v = maps
    found = surface(coarse, fine, u, v, arrays["box_xyxy"][0])
    results: dict[str, NDArray[Any]] = {"labels": found.parts, "uv": found.uv}
    black, grey = "vis_parula_alpha1_on_black_bgr", "vis_parula_alpha0.7_on_grey90_bgr"
    results[black] = coloured(found, *arrays[black].shape[:2])[:, :, ::-1]
    results[grey] = over(RGBImage(np.full(arrays[grey].shape, 90, np.uint8)), found, 0.7)[:, :, ::-1]
    return {name: difference(arrays[name], result) for name, result in results.items()}


CONVERSION = Procedure(
    knows=lambda names: {"coarse_segm", "fine_segm_f16", "u_f16", "v_f16", "box_xyxy", "labels"} <= names,
    reproduce=_reproduce,
)
