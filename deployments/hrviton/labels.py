"""The label maps of HR-VITON: 20 classes of the person parser, 13 that are seen, 7 that are painted."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from modiste.image import LabelMap
from modiste.labels import Clothes

PARSED: Final = tuple(part.name.lower() for part in Clothes)

SEEN: Final = {
    "background": ("background", "torso_skin"),
    "hair": ("hat", "hair"),
    "face": ("sunglasses", "face"),
    "upper": ("upper_clothes", "dress", "coat"),
    "bottom": ("pants", "skirt"),
    "left_arm": ("left_arm",),
    "right_arm": ("right_arm",),
    "left_leg": ("left_leg",),
    "right_leg": ("right_leg",),
    "left_shoe": ("left_shoe",),
    "right_shoe": ("right_shoe",),
    "socks": ("socks",),
    "noise": ("glove", "scarf"),
}
"""What the condition generator is shown and gives: class -> those of the parser."""

PAINTED: Final = {
    "background": ("background",),
    "paste": ("face", "bottom", "left_leg", "right_leg", "left_shoe", "right_shoe", "socks"),
    "upper": ("upper",),
    "hair": ("hair",),
    "left_arm": ("left_arm",),
    "right_arm": ("right_arm",),
    "noise": ("noise",),
}
"""What the image generator is told: class -> those that are seen."""


def _table(merged: dict[str, tuple[str, ...]], names: tuple[str, ...]) -> NDArray[np.uint8]:
    table = np.zeros(len(names), np.uint8)
    for index, parts in enumerate(merged.values()):
        table[[names.index(part) for part in parts]] = index
    return table


_SEEN_OF_PARSED: Final = _table(SEEN, PARSED)
_PAINTED_OF_SEEN: Final = _table(PAINTED, tuple(SEEN))


def seen(parsed: LabelMap) -> LabelMap:
    """The 13 classes of a label map of 20."""
    return LabelMap(_SEEN_OF_PARSED[parsed])


def painted(seen_map: LabelMap) -> LabelMap:
    """The 7 classes of a label map of 13."""
    return LabelMap(_PAINTED_OF_SEEN[seen_map])


def one_hot(labels: LabelMap, classes: int) -> NDArray[np.float32]:
    """[H, W] -> float32 [classes, H, W]."""
    return np.equal(labels[None], np.arange(classes, dtype=np.uint8)[:, None, None]).astype(np.float32)
