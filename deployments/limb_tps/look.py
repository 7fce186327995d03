"""What a garment is by the look of its photo: a linear layer over the article's embedding.

Trained by `python -m deployments.limb_tps.train_look` on 968 labelled phone photos of garments.
"""

from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deployments.limb_tps.shapes import Kind
from modiste.image import Embedding

Style = Literal["long", "short", "none", "dress", "trousers", "skirt"]
"""Tops by their sleeves, then the others."""
STYLES: tuple[Style, ...] = get_args(Style)
KINDS: dict[Style, Kind] = {
    "long": "upper",
    "short": "upper",
    "none": "upper",
    "dress": "dress",
    "trousers": "trousers",
    "skirt": "skirt",
}
WEIGHTS = Path(__file__).with_name("look.npz")
COLOURS = slice(1280, 1766)
"""Part of the embedding that is only colour, which says nothing about the kind."""
CLEAR = 0.6
"""Share among the tops from which on the length of the sleeves is clear."""
OUTLINE = 2.0
"""How much likelier a kind is when the outline says so too."""
LENGTH = 6.0
"""Length to which the rest is brought."""


def styles(look: Embedding) -> dict[Style, float]:
    """Probability of each style.

    look: `FashionEmbedding` of the garment on white, from the model `efficientnet_lite0`
    """
    layer = _layer()
    values = features(look)
    if len(values) + 1 != len(layer):
        raise ValueError(f"expected an embedding of efficientnet_lite0, got {len(look)} numbers")
    logits = np.append(values, 1.0) @ layer
    powers = np.exp(logits - logits.max())
    return dict(zip(STYLES, (powers / powers.sum()).tolist(), strict=True))


def features(look: Embedding) -> NDArray[np.float64]:
    """The embedding without its colours, at one length."""
    kept = np.delete(look.astype(np.float64), np.arange(COLOURS.start, COLOURS.stop))
    return np.asarray(kept * (LENGTH / max(float(np.linalg.norm(kept)), 1e-9)), np.float64)


def kind_of(probable: dict[Style, float], outline: Kind | None) -> Kind:
    """The likeliest kind; a doubtful look is decided by the outline's (None: a top or dress with sleeves)."""
    shares: dict[Kind, float] = {}
    for style, probability in probable.items():
        kind = KINDS[style]
        agrees = kind == outline or (outline is None and kind in ("upper", "dress"))
        shares[kind] = shares.get(kind, 0.0) + probability * (OUTLINE if agrees else 1.0)
    return max(shares, key=lambda kind: shares[kind])


def sleeves(probable: dict[Style, float]) -> Style | None:
    """How long the sleeves of a top or a dress are; None where that is not clear."""
    tops = [style for style in STYLES if KINDS[style] == "upper"]
    likeliest = max(tops, key=lambda style: probable[style])
    return likeliest if probable[likeliest] > CLEAR * sum(probable[style] for style in tops) else None


@cache
def _layer() -> NDArray[np.float64]:
    with np.load(WEIGHTS) as weights:
        return np.asarray(weights["layer"], np.float64)
