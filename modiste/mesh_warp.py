"""Bending one mesh of points onto another: a dense map for `cv2.remap`."""

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.face_mesh import Triangles
from modiste.geometry import Points

Map = NDArray[np.float32]
"""float32 [H, W, 2]: where in the source each pixel of the destination comes from, x and y."""

_SUBPIXEL = 4
"""Fractional bits of triangle corners when they are drawn."""


def inverse_map(
    destination: NDArray[np.float32], source: NDArray[np.float32], triangles: Triangles, height: int, width: int
) -> tuple[Map, NDArray[np.bool_]]:
    """Piecewise affine: every triangle of the destination is filled from the same triangle of the source.

    destination: [K, 3]: x, y, and a depth that decides which triangle is in front (smaller = nearer)
    source:      [K, 2+]
    returns:     the map, and where it is defined; triangles that face away in either picture are left out
    """
    to, of = destination[:, :2].astype(np.float64), source[:, :2].astype(np.float64)
    triangles = triangles[(_turn(to, triangles) > 1e-3) & (_turn(of, triangles) > 1e-3)]
    order = np.argsort(-destination[triangles, 2].mean(axis=1), kind="stable")
    triangles = triangles[order]

    # Affine [2, 3] of each triangle, destination to source, about its first corner.
    a, b, c = (to[triangles[:, k]] for k in range(3))
    edges_to = np.stack([b - a, c - a], axis=-1)
    s, t, u = (of[triangles[:, k]] for k in range(3))
    linear = np.stack([t - s, u - s], axis=-1) @ np.linalg.inv(edges_to)
    shift = s - np.einsum("tij,tj->ti", linear, a)

    which = np.full((height, width), -1, np.int32)
    scaled = np.rint(to[triangles] * (1 << _SUBPIXEL)).astype(np.int32)
    for number, corners in enumerate(scaled):
        cv2.fillConvexPoly(which, corners, number, lineType=cv2.LINE_8, shift=_SUBPIXEL)
    inside = which >= 0
    y, x = np.nonzero(inside)
    at = np.stack([x, y], axis=-1).astype(np.float64)
    found = np.full((height, width, 2), -1, np.float32)
    found[y, x] = np.einsum("tij,tj->ti", linear[which[y, x]], at) + shift[which[y, x]]
    return found, inside


def _turn(points: NDArray[np.float64], triangles: Triangles) -> NDArray[np.float64]:
    """Twice the area of each triangle, negative where it is seen from behind."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return np.asarray((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))


def resample(image: NDArray[np.uint8], where: Map) -> NDArray[np.uint8]:
    """Colours [H, W, 3] or a mask [H, W] at the places of the map; 0 where it points outside."""
    return np.asarray(cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.uint8)


def shrunk(image: NDArray[np.uint8], points: Points, factor: float) -> tuple[NDArray[np.uint8], Points]:
    """A picture and its points made smaller by area, so that a later warp does not alias. factor: under 1."""
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
    moved = points[:, :2] * np.array([fx, fy], np.float32) + np.array([fx, fy], np.float32) / 2 - 0.5
    return np.asarray(small, np.uint8), moved.astype(np.float32)
