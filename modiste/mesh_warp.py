"""Bending one mesh of points onto another: a dense map for `cv2.remap`."""

import cv2
import numpy as np
from numpy.typing import NDArray

from modiste.face_mesh import Triangles
from modiste.geometry import Points

Map = NDArray[np.float32]
"""float32 [H, W, 2]: where in the source each pixel of the destination comes from, x and y."""

_SHADED = (
    cv2.TriangleRasterizeSettings()
    .setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    .setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    .setGlCompatibleMode(cv2.RASTERIZE_COMPAT_DISABLED)
)
_FAR = 10_000.0
"""Distance of the mesh from the camera, against a depth of 1: perspective bends the map by under a ten-thousandth."""


def inverse_map(
    destination: NDArray[np.float32], source: NDArray[np.float32], triangles: Triangles, height: int, width: int
) -> tuple[Map, NDArray[np.bool_]]:
    """Piecewise affine: every triangle of the destination is filled from the same triangle of the source.

    destination: [K, 3]: x, y, and a depth that decides what is in front (smaller = nearer)
    source:      [K, 2+]
    returns:     the map, and where it is defined; triangles that face away in either picture are left out
    """
    to, of = destination[:, :2].astype(np.float64), source[:, :2].astype(np.float64)
    triangles = triangles[(_turn(to, triangles) > 1e-3) & (_turn(of, triangles) > 1e-3)]
    # With a field of view of 90 degrees, what lies at distance z is seen at (x, y) / z, in half heights of the picture.
    deep = destination[:, 2] - destination[:, 2].min()
    distance = _FAR + deep / max(float(deep.max()), 1e-6)
    x, y = to[:, 0] + 0.5 - width / 2, height / 2 - to[:, 1] - 0.5
    corners = np.stack([x * distance * (2 / height), y * distance * (2 / height), -distance], axis=-1)
    extent = float(max(np.abs(of).max(), 1.0))  # colours, which the places stand for, go from 0 to 1
    drawn, _ = cv2.triangleRasterize(
        corners.astype(np.float32),
        triangles,
        np.column_stack([of / extent, np.ones(len(of))]).astype(np.float32),
        np.full((height, width, 3), -1, np.float32),
        np.full((height, width), 2 * _FAR, np.float32),
        np.eye(4, dtype=np.float32),
        np.pi / 2,
        _FAR / 2,
        _FAR * 2,
        _SHADED,
    )
    inside = drawn[..., 2] > 0
    found = np.where(inside[..., None], drawn[..., :2] * np.float32(extent), np.float32(-1))
    return np.asarray(found, np.float32), inside


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
