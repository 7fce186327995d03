"""Arms and legs as strips: a smooth axis with the distance to the outline on both sides."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates, median_filter

from modiste.geometry import Points

STEPS = 49
"""Samples from shoulder to wrist, or hip to ankle; the joint between them is in the middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limb:
    """axis: [STEPS, 2]; normal: [STEPS, 2], unit, away from the body's middle; radius: [STEPS] pixels.

    seen: [STEPS] bool, where the outer outline was measured and not assumed
    """

    axis: Points
    normal: Points
    radius: NDArray[np.float32]
    seen: NDArray[np.bool_]

    def at(self, reach: float | NDArray[np.float64]) -> tuple[Points, Points, NDArray[np.float32]]:
        """Axis points, normals and radii at reach 0 (shoulder, hip) to 2 (wrist, ankle), a little beyond allowed."""
        position = np.atleast_1d(np.asarray(reach, np.float64)) / 2 * (STEPS - 1)
        inside = np.clip(position, 0, STEPS - 1)
        columns = [np.interp(inside, np.arange(STEPS), self.axis[:, i]) for i in (0, 1)]
        normals = np.stack([np.interp(inside, np.arange(STEPS), self.normal[:, i]) for i in (0, 1)], 1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        tangents = np.stack([np.interp(inside, np.arange(STEPS), np.gradient(self.axis[:, i])) for i in (0, 1)], 1)
        points = np.stack(columns, 1) + tangents * (position - inside)[:, None]
        radii = np.interp(inside, np.arange(STEPS), self.radius)
        return points.astype(np.float32), normals.astype(np.float32), radii.astype(np.float32)


def trace(
    joints: tuple[Points, Points, Points],
    solid: NDArray[np.bool_],
    own: NDArray[np.bool_],
    outward: float,
    expected: NDArray[np.float64],
    limits: tuple[float, float],
) -> Limb:
    """Follow a limb through its three joints and measure its width.

    solid:    [H, W] the person
    own:      [H, W] pixels certainly of this limb (bare skin)
    outward:  -1 where the body's middle is to the right of the limb in the picture, else 1
    expected: [STEPS] usual radius, pixels; limits: smallest and largest accepted, as factors of it
    """
    first, middle, last = (np.asarray(j, np.float64) for j in joints)
    half = STEPS // 2
    weights = np.linspace(0, 1, half + 1)[:, None]
    axis = np.concatenate([first + (middle - first) * weights, (middle + (last - middle) * weights)[1:]])
    axis = gaussian_filter1d(axis, STEPS / 16, axis=0, mode="nearest")
    normal = _normals(axis, outward)
    out_reach = _leave(axis, normal, solid, own, 2.4 * expected)
    in_reach = _leave(axis, -normal, solid, own, 2.4 * expected)
    low, high = limits[0] * expected, limits[1] * expected
    both = (out_reach + in_reach > 2 * low) & (out_reach + in_reach < 2 * high)
    # Where a limb touches the body, the inner distance runs on into the body: its own slimmer parts tell.
    girth = (out_reach + in_reach) / (2 * expected)
    usual = float(np.quantile(girth[both], 0.35)) if both.sum() >= 5 else 1.0
    both &= (girth < 1.22 * usual) & (girth > 0.7 * usual)
    outer = (out_reach > -0.8 * low) & (out_reach < 2 * high)
    inner_only = (in_reach > -0.8 * low) & (in_reach < 1.3 * high) & ~outer
    shift = np.zeros(STEPS)
    radius = expected.copy()
    radius[both] = ((out_reach + in_reach) / 2)[both]
    radius[~both] = expected[~both] * usual
    shift[both] = ((out_reach - in_reach) / 2)[both]
    alone = outer & ~both
    shift[alone] = out_reach[alone] - radius[alone]
    shift[inner_only & ~both] = radius[inner_only & ~both] - in_reach[inner_only & ~both]
    known = both | alone | inner_only
    shift = median_filter(_fill(shift, known), 9, mode="nearest")
    shift = np.clip(shift, -0.7 * expected, 0.7 * expected)
    radius = gaussian_filter1d(np.clip(radius, low, high), 2.0, mode="nearest")
    axis = axis + normal * gaussian_filter1d(shift, 3.0, mode="nearest")[:, None]
    axis = gaussian_filter1d(axis, 1.5, axis=0, mode="nearest")
    return Limb(
        axis=axis.astype(np.float32),
        normal=_normals(axis, outward).astype(np.float32),
        radius=radius.astype(np.float32),
        seen=both | alone,
    )


def _normals(axis: NDArray[np.float64], outward: float) -> NDArray[np.float64]:
    tangent = np.gradient(axis, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
    # Walking down the limb, the viewer's left is at tangent turned by +90 degrees in picture coordinates.
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) * outward


def _leave(
    axis: NDArray[np.float64],
    normal: NDArray[np.float64],
    solid: NDArray[np.bool_],
    own: NDArray[np.bool_],
    farthest: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Distance along the normal to the last pixel of the limb; negative where the axis itself lies outside."""
    count = 60
    reach = np.linspace(-0.5, 1.0, count)[None, :] * farthest[:, None]
    points = axis[:, None] + normal[:, None] * reach[..., None]
    coordinates = [points[..., 1].ravel(), points[..., 0].ravel()]
    body = map_coordinates(solid.astype(np.uint8), coordinates, order=0, mode="nearest").reshape(-1, count) > 0
    bare = map_coordinates(own.astype(np.uint8), coordinates, order=0, mode="nearest").reshape(-1, count) > 0
    zero = int(np.argmin(np.abs(reach[0])))
    distances = np.empty(len(axis))
    for i in range(len(axis)):
        line = bare[i] if bare[i, zero] else body[i]
        if line[zero]:
            after = np.flatnonzero(~line[zero:])
            distances[i] = reach[i, zero + after[0] - 1] if len(after) else farthest[i]
        else:
            before = np.flatnonzero(line[:zero])
            distances[i] = reach[i, before[-1]] if len(before) else -farthest[i]
    return distances


def _fill(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not known.any():
        return np.zeros_like(values)
    index = np.arange(len(values))
    return np.interp(index, index[known], values[known])
