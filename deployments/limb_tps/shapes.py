"""What a garment's outline is made of, on the flat garment and on the body alike.

A warp needs the same points twice; both `outline` (garment) and `fit` (body) fill these shapes. Sides are those of
the viewer: index 0 is left in the picture (the person's right).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Polyline = NDArray[np.float32]
"""float32 [K, 2], (x, y) in pixels."""

DEPTHS_PER_WIDTH = 1.75
"""Shoulder width over the height from collar to armpit."""

COUNT = 14
"""Points per section of an outline."""

Kind = Literal["upper", "dress", "trousers", "skirt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeve:
    """outer: shoulder tip to cuff; inner: armpit to cuff; seam: shoulder tip to armpit, where the sleeve begins;
    reach: 0 = shoulder, 1 = elbow, 2 = wrist."""

    outer: Polyline
    inner: Polyline
    seam: Polyline
    reach: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One side of an upper garment or dress.

    shoulder: collar point to shoulder tip; armhole: tip to armpit; side: armpit to hem corner
    sleeve:   None where the garment ends at the armhole
    """

    shoulder: Polyline
    armhole: Polyline
    side: Polyline
    sleeve: Sleeve | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopShape:
    """collar: upper edge between the collar points, hood or standing collar included; neckline: front edge of the
    neck opening; hem: lower edge; all from left to right in the picture."""

    halves: tuple[Half, Half]
    collar: Polyline
    neckline: Polyline
    hem: Polyline

    @property
    def shoulder_width(self) -> float:
        return float(np.linalg.norm(self.halves[0].shoulder[-1] - self.halves[1].shoulder[-1]))

    @property
    def unit(self) -> float:
        """Shoulder width as the seam, the armhole's height and the chest tell it, whichever is between."""
        depth = float(np.mean([half.armhole[-1, 1] - half.shoulder[0, 1] for half in self.halves]))
        chest = float(np.linalg.norm(self.halves[0].armhole[-1] - self.halves[1].armhole[-1]))
        return usual_width(self.shoulder_width, depth, chest)


def usual_width(seam: float, depth: float, chest: float) -> float:
    """Shoulder width from its own measure, the height from collar to armpit and the width between the armpits."""
    return float(np.median([seam, DEPTHS_PER_WIDTH * depth, 0.92 * chest]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """outer: waist corner to hem; inner: crotch to hem."""

    outer: Polyline
    inner: Polyline


@dataclass(frozen=True, slots=True, kw_only=True)
class TrousersShape:
    """waist: from left to right in the picture."""

    waist: Polyline
    crotch: NDArray[np.float32]
    legs: tuple[Leg, Leg]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkirtShape:
    """waist and hem from left to right in the picture, sides from waist to hem."""

    waist: Polyline
    sides: tuple[Polyline, Polyline]
    hem: Polyline


Shape = TopShape | TrousersShape | SkirtShape


def resample(line: Polyline, count: int) -> Polyline:
    """[N, 2] -> [count, 2] at equal distances along the line, ends kept."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    if along[-1] <= 0:
        return np.repeat(line[:1], count, axis=0).astype(np.float32)
    wanted = np.linspace(0, along[-1], count)
    return np.column_stack([np.interp(wanted, along, line[:, axis]) for axis in (0, 1)]).astype(np.float32)


def length(line: Polyline) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
