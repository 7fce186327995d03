"""Sample pairs: the picture of each number, 256 px, as <number>.jpg. What it is a picture of follows from its number.

The work can be stopped and started again, and shared out between processes by `--first` and `--count`.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from weights.recipes.latent_encoder.generator import GENERATOR, mapping, styles, synthesis

SIDE = 256
QUALITY = 95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="folder with mean_style.npy")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--first", type=int, default=0, help="number to begin with")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    picture, of, mean = synthesis(), mapping(), np.load(asked.generator / "mean_style.npy")
    for number in range(asked.first, asked.count):
        file = asked.out / f"{number:06}.jpg"
        if file.exists():
            continue
        large = picture(styles(range(number, number + 1), mean, of))
        small = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        partial = file.with_suffix(".part.jpg")
        cv2.imwrite(str(partial), cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        partial.rename(file)


if __name__ == "__main__":
    main()
