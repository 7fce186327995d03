"""Structural similarity on held-out pictures, by category, into `figures.json`; and a contact sheet."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from skimage.metrics import structural_similarity
from torch import nn

from weights.recipes.sketch_to_garment.card import FIGURES
from weights.recipes.sketch_to_garment.dataset import MEASURED_POINTS, Garment, load, measured
from weights.recipes.sketch_to_garment.prepare import CATEGORIES
from weights.recipes.sketch_to_garment.sheet import contact_sheet, to_picture
from weights.recipes.sketch_to_garment.train import network_builder

SHOWN = 4


def paint(
    network: nn.Module, garment: Garment, number: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """The sketch of a held-out garment with so many hint points, painted."""
    sketch, photograph = measured(garment, number)
    with torch.no_grad():
        return sketch, network(torch.from_numpy(sketch)[None])[0].numpy(), photograph


def similarity(picture: NDArray[np.uint8], photograph: NDArray[np.uint8]) -> float:
    """SSIM in colour, 7 x 7 windows, white background included. uint8 [H, W, 3] each."""
    return float(structural_similarity(picture, photograph, channel_axis=2, data_range=255))


def measure(network: nn.Module, held_out: dict[str, list[Garment]]) -> dict[str, dict[str, float]]:
    """Per category: number of pictures, mean SSIM with hints and without, and that of a blank picture.

    The blank picture is the floor: what the white background gives for nothing.
    """
    figures = {}
    for category, garments in held_out.items():
        scores: dict[str, list[float]] = {"ssim": [], "ssim_without_hints": [], "ssim_of_blank": []}
        for garment in garments:
            for name, number in (("ssim", MEASURED_POINTS), ("ssim_without_hints", 0)):
                _, painted, photograph = paint(network, garment, number)
                scores[name].append(similarity(to_picture(painted), photograph))
            scores["ssim_of_blank"].append(similarity(np.full_like(photograph, 255), photograph))
        means = {name: round(float(np.mean(values)), 3) for name, values in scores.items()}
        figures[category] = {"pictures": len(garments), **means}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=Path, required=True, help="what `prepare` wrote")
    parser.add_argument("--weights", type=Path, default=Path("weights/trained/sketch_to_garment.safetensors"))
    parser.add_argument("--network", default="deployments.pix2pix_garment.network:build", help="module:function")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--sheet", type=Path, default=Path("deployments/pix2pix_garment/held_out.jpg"))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    network = network_builder(asked.network)(load_file(asked.weights))
    held_out = load(asked.tiles, held_out=True)
    with safe_open(asked.weights, "pt") as weights:
        steps = int(weights.metadata()["steps"])
    report = json.loads((asked.tiles / "report.json").read_text())
    figures = {"steps": steps, "categories": measure(network, held_out), "photographs": report}
    asked.figures.write_text(json.dumps(figures, indent=2) + "\n")
    # The first few by id: nobody chose them.
    rows = [paint(network, g, MEASURED_POINTS) for c in CATEGORIES for g in held_out[c][:SHOWN]]
    sheet = cv2.cvtColor(contact_sheet(rows, columns=SHOWN), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(asked.sheet), sheet, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
