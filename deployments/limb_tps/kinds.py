"""What kind of garment an outline is."""

import numpy as np

from deployments.limb_tps.half_outline import Chain, find_armpits, lone_sleeve
from deployments.limb_tps.look import Style, kind_of
from deployments.limb_tps.shapes import DEPTHS_PER_WIDTH, Kind, TopShape
from deployments.roles import Category

DRESS_LENGTH = 1.85
"""Collar to hem over chest width, above which a garment with sleeves is a dress."""
DRESS_SLIMNESS = 1.65
"""Height over width, above which a garment without sleeves is a dress."""
TROUSERS_SLIMNESS = 2.0
"""Height over width, above which a garment with a waistband is trousers with closed legs."""
STRAPLESS = 0.86
"""Width of the upper edge over that of the chest from which on there are no shoulders."""
NOTCH = 0.12
"""Height of the opening between two legs, over the garment's height."""


def decide(chains: tuple[Chain, Chain], category: Category | None, probable: dict[Style, float] | None) -> Kind | None:
    """The kind that was asked for, else by look and outline (None: a top or dress with sleeves)."""
    if category in ("upper", "dress"):
        return category
    if category == "lower":
        return lower_kind(chains)
    outline = sleeveless_kind(chains)
    if probable is None:
        return outline
    return kind_of(probable, outline)


def sleeveless_kind(chains: tuple[Chain, Chain]) -> Kind | None:
    """The kind of a garment without sleeves; None where there are sleeves."""
    waistband = has_waistband(chains)
    if waistband and _notch(chains) > NOTCH:
        return "trousers"
    # A belt's end or a pocket beside a waistband is no sleeve.
    if find_armpits(chains) is not None or (not waistband and lone_sleeve(chains) is not None):
        return None
    if waistband or _notch(chains) > NOTCH:
        return lower_kind(chains)
    height = max(float(np.ptp(chain[:, 1])) for chain in chains)
    widest = sum(float(chain[:, 0].max()) for chain in chains)
    return "dress" if height / widest > DRESS_SLIMNESS else "upper"


def is_dress(top: TopShape) -> bool:
    """Whether a garment with sleeves reaches below the hips."""
    armpits = [half.armhole[-1] for half in top.halves]
    collar = float(top.halves[0].shoulder[0, 1])
    depth = float(np.mean([point[1] for point in armpits])) - collar
    # Slender and boxy garments differ in width, not in the height of the armhole.
    chest = max(float(np.linalg.norm(armpits[0] - armpits[1])), DEPTHS_PER_WIDTH * depth)
    return (float(top.hem[:, 1].mean()) - collar) / chest > DRESS_LENGTH


def lower_kind(chains: tuple[Chain, Chain]) -> Kind:
    """Trousers or skirt, by the notch between the legs or the slimness of closed ones."""
    height = max(float(chain[:, 1].max()) for chain in chains) - min(float(chain[0, 1]) for chain in chains)
    width = sum(float(chain[:, 0].max()) for chain in chains)
    return "trousers" if _notch(chains) > NOTCH or height / max(width, 1.0) > TROUSERS_SLIMNESS else "skirt"


def _notch(chains: tuple[Chain, Chain]) -> float:
    """Height of the opening at the middle of the lower edge over the garment's height."""
    bottom = max(float(chain[:, 1].max()) for chain in chains)
    top = min(float(chain[0, 1]) for chain in chains)
    return (bottom - min(float(chain[-1, 1]) for chain in chains)) / max(bottom - top, 1.0)


def has_waistband(chains: tuple[Chain, Chain]) -> bool:
    """Whether the top edge is wide, nearly straight and has corners; collars and shoulders widen from the top."""
    top = min(float(chain[:, 1].min()) for chain in chains)
    height = max(float(np.ptp(chain[:, 1])) for chain in chains)
    dip = (min(float(chain[0, 1]) for chain in chains) - top) / height
    widths = [
        sum(float(np.interp(top + share * height, *_level(chain)[::-1])) for chain in chains) for share in (0.02, 0.07)
    ]
    widest = sum(float(chain[:, 0].max()) for chain in chains)
    return dip < 0.1 and widths[0] > 0.8 * widths[1] and widths[0] > 0.38 * widest


def is_strapless(chains: tuple[Chain, Chain]) -> bool:
    """Whether a top begins with a straight edge as wide as the chest: shoulders are narrower than what is below."""
    top = min(float(chain[:, 1].min()) for chain in chains)
    height = max(float(np.ptp(chain[:, 1])) for chain in chains)
    edge, chest = (
        sum(float(np.interp(top + share * height, *_level(chain)[::-1])) for chain in chains) for share in (0.02, 0.15)
    )
    return find_armpits(chains) is None and has_waistband(chains) and edge > STRAPLESS * chest


def _level(chain: Chain) -> tuple[Chain, Chain]:
    """Widest x per height, as two arrays x and y for interpolation."""
    y = chain[:, 1]
    levels = np.linspace(y.min(), y.max(), 100)
    x = np.array([chain[np.abs(y - level) <= np.ptp(y) / 60, 0].max(initial=0.0) for level in levels])
    return x, levels
