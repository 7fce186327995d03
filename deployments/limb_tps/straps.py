"""A top whose upper edge is straight: its straps, too thin for the matte, are drawn anew."""

from dataclasses import replace

import cv2
import numpy as np

from deployments.limb_tps.half_outline import SAMPLES, Chain, farthest
from deployments.limb_tps.shapes import COUNT, Half, TopShape, resample
from deployments.limb_tps.top_outline import to_picture
from deployments.limb_tps.upright import Cutout
from modiste.image import RGBAImage

RISE = 0.95
"""Length of a strap over half the width of the upper edge."""
INNER, OUTER = 0.56, 0.66
"""Where a strap lies between the middle and the corner of the upper edge."""


def strapped(cutout: Cutout, chains: tuple[Chain, Chain]) -> tuple[Cutout, TopShape]:
    """The cut-out with straps of its own cloth's colour, and its shape."""
    corners = [farthest(chain, 0, int(np.argmin(np.abs(chain[:, 1] - chain[:, 1].mean()))))[0] for chain in chains]
    width = float(np.mean([chain[i, 0] for chain, i in zip(chains, corners, strict=True)]))
    edge = float(np.mean([chain[i, 1] for chain, i in zip(chains, corners, strict=True)]))
    room = max(0, round(RISE * width - edge) + 20)
    texture = cv2.copyMakeBorder(cutout.texture, room, 0, 0, 0, cv2.BORDER_REPLICATE)
    texture[: room + max(0, int(edge)), :, 3] = 0
    cutout = replace(cutout, mask=cv2.copyMakeBorder(cutout.mask, room, 0, 0, 0, cv2.BORDER_CONSTANT, value=0))
    edge += room
    top, x = edge - RISE * width, cutout.axis
    near = texture[int(edge + 0.1 * width) : int(edge + 0.3 * width), int(x - 0.5 * width) : int(x + 0.5 * width), :3]
    halves = []
    for side, sign in ((0, -1), (1, 1)):
        line = chains[side] + np.array([0.0, room])
        hem, _ = farthest(line, corners[side], SAMPLES - 1)
        inner, outer = (x + sign * share * width for share in (INNER, OUTER))
        band = np.array([[inner, top - 20], [outer, top - 20], [outer, edge + 6], [inner, edge + 6]])
        strap = np.zeros(texture.shape[:2], np.uint8)
        cv2.fillPoly(strap, [np.round(band * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        grown = strap > 0
        texture[grown & (texture[..., 3] < 128), :3] = np.median(near.reshape(-1, 3), axis=0).astype(np.uint8)
        texture[..., 3] = np.maximum(texture[..., 3], strap)
        corner = to_picture(cutout, side, line[corners[side]][None])[0]
        armhole = np.array([[outer, top], [outer, edge - 0.15 * width], [outer + sign * 0.1 * width, edge], corner])
        halves.append(
            Half(
                shoulder=resample(np.array([[inner, top], [outer, top]], np.float32), 6),
                armhole=resample(armhole.astype(np.float32), 8),
                side=resample(to_picture(cutout, side, line[corners[side] : hem + 1]), COUNT),
                sleeve=None,
            )
        )
    hems = [
        to_picture(cutout, side, chain[farthest(chain, corners[side], SAMPLES - 1)[0] :] + np.array([0.0, room]))
        for side, chain in enumerate(chains)
    ]
    neck = np.array([[-INNER, top], [-INNER, edge], [INNER, edge], [INNER, top]]) * np.array([width, 1.0]) + np.array(
        [x, 0.0]
    )
    line = resample(neck.astype(np.float32), 21)
    shape = TopShape(
        halves=(halves[0], halves[1]),
        collar=line,
        neckline=line,
        hem=resample(np.concatenate([hems[0], hems[1][::-1]]), COUNT),
    )
    return replace(cutout, texture=RGBAImage(texture)), shape
