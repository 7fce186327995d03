"""Train the layer of `look` on labelled photos of garments: `python -m deployments.limb_tps.train_look GARMENTS`.

GARMENTS has one folder of .jpg for each label; our own renders in samples/garments count twice.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from deployments import open_model
from deployments.limb_tps.look import STYLES, WEIGHTS, Style, features
from deployments.roles import Article
from modiste.image import RGBImage, decode

LABELS: dict[str, Style] = {
    **dict.fromkeys(("Longsleeve", "Hoodie", "Outwear", "Blazer", "Shirt", "Blouse"), "long"),
    **dict.fromkeys(("T-Shirt", "Polo"), "short"),
    **dict.fromkeys(("Undershirt", "Top"), "none"),
    **dict.fromkeys(("Pants", "Shorts"), "trousers"),
    "Dress": "dress",
    "Skirt": "skirt",
}
RENDERS: dict[str, Style] = {
    **dict.fromkeys(("longsleeve", "shirt", "blouse", "jacket"), "long"),
    **dict.fromkeys(("jeans", "chinos"), "trousers"),
    "tee": "short",
    "dress": "dress",
    "skirt": "skirt",
}
SAMPLES = Path("samples/garments")
MOST = 76
"""Photos per label."""
DECAY = 3e-4


def labelled(folder: Path) -> Iterator[tuple[Path, Style]]:
    """Photos drawn by seed, then the renders twice."""
    rng = np.random.default_rng(5)
    for label, style in LABELS.items():
        paths = sorted((folder / label).glob("*.jpg"))
        yield from ((paths[i], style) for i in rng.permutation(len(paths))[:MOST])
    for path in 2 * sorted(SAMPLES.glob("*.jpg")):
        yield path, RENDERS[path.name.split("_")[1]]


def fit(values: NDArray[np.float64], styles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Multinomial logistic regression, rare styles weighted up; [features + 1, styles], the bias last."""
    count, kinds = len(values), len(STYLES)
    weight = 1 / np.sqrt(np.maximum(np.bincount(styles, minlength=kinds), 1))[styles]
    weight /= weight.mean()
    inputs, wanted = np.column_stack([values, np.ones(count)]), np.eye(kinds)[styles]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        layer = flat.reshape(-1, kinds)
        logits = inputs @ layer
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        error = -float((weight * np.log(shares[np.arange(count), styles] + 1e-12)).mean())
        slope = inputs.T @ ((shares - wanted) * weight[:, None]) / count
        slope[:-1] += 2 * DECAY * layer[:-1]
        return error + DECAY * float((layer[:-1] ** 2).sum()), slope.ravel()

    found: Any = minimize(
        loss, np.zeros(inputs.shape[1] * kinds), jac=True, method="L-BFGS-B", options={"maxiter": 200}
    )
    return np.asarray(found.x.reshape(-1, kinds), np.float64)


def main(folder: Path) -> None:
    matting, embedding = open_model("u2net"), open_model("efficientnet_lite0")
    values, styles = [], []
    for path, style in labelled(folder):
        photo = decode(path.read_bytes())
        share = matting([photo])[0][..., None].astype(np.float32) / 255
        on_white = RGBImage(np.rint(photo * share + 255 * (1 - share)).astype(np.uint8))
        values.append(features(embedding([Article(image=on_white)])[0]))
        styles.append(STYLES.index(style))
    layer = fit(np.stack(values), np.array(styles, np.int64))
    np.savez_compressed(WEIGHTS, layer=layer.astype(np.float16))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
