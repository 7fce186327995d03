"""Pictures to look at: sketch, hints, what was painted, and the photograph, side by side."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Row = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8] | None]
"""Network input [10, H, W], output [3, H, W], and the photograph [H, W, 3] where there is one."""


def to_picture(painted: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float [3, H, W] in [-1, 1] -> uint8 [H, W, 3] RGB."""
    return np.asarray(np.clip((painted.transpose(1, 2, 0) + 1) * 127.5, 0, 255).round(), np.uint8)


def contact_sheet(rows: Sequence[Row], columns: int) -> NDArray[np.uint8]:
    """uint8 RGB; each entry shows lines with hints | painted | photograph, `columns` entries to a row."""
    entries = []
    for sketch, painted, photograph in rows:
        paper = np.repeat(((1 - sketch[0]) * 255)[..., None], 3, axis=2)
        hints = (sketch[1:4].transpose(1, 2, 0) + 1) * 127.5
        drawn = np.where(sketch[4][..., None] > 0, hints, paper).round().astype(np.uint8)
        pictures = [drawn, to_picture(painted)] + ([] if photograph is None else [photograph])
        framed = [np.pad(p, ((2, 2), (2, 2), (0, 0)), constant_values=160) for p in pictures]
        entries.append(np.hstack(framed))
    blank = np.full_like(entries[0], 255)
    entries += [blank] * (-len(entries) % columns)
    return np.vstack([np.hstack(entries[at : at + columns]) for at in range(0, len(entries), columns)])
