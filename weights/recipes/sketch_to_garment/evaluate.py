"""Structural similarity on held-out pictures, by category; the model card's table and contact sheet."""

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

from weights.recipes.sketch_to_garment.dataset import MEASURED_POINTS, Garment, load, measured
from weights.recipes.sketch_to_garment.prepare import CATEGORIES
from weights.recipes.sketch_to_garment.sheet import Row, contact_sheet, to_picture
from weights.recipes.sketch_to_garment.train import network_builder

FIGURES = Path(__file__).parent / "figures.json"
PUBLISHED = {"top": 0.69, "trousers": 0.73, "skirt": 0.78, "hat": 0.83}
SHOWN = 4
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def paint(network: nn.Module, garment: Garment, number: int) -> Row:
    sketch, photograph = measured(garment, number)
    with torch.no_grad():
        return sketch, network(torch.from_numpy(sketch)[None])[0].numpy(), photograph


def similarity(row: Row) -> float:
    """SSIM in colour, 7 x 7 windows, 128 px, white background included."""
    _, painted, photograph = row
    return float(structural_similarity(to_picture(painted), photograph, channel_axis=2, data_range=255))


def blank_similarity(garment: Garment) -> float:
    """What an empty white picture scores: the floor that the white background gives for nothing."""
    _, photograph = measured(garment, 0)
    blank: NDArray[np.uint8] = np.full_like(photograph, 255)
    return float(structural_similarity(blank, photograph, channel_axis=2, data_range=255))


def measure(network: nn.Module, held_out: dict[str, list[Garment]]) -> dict[str, dict[str, float]]:
    """Per category: number of pictures, mean SSIM with hints and without, and of a blank picture."""
    figures = {}
    for category, garments in held_out.items():
        with_hints = [similarity(paint(network, garment, MEASURED_POINTS)) for garment in garments]
        without = [similarity(paint(network, garment, 0)) for garment in garments]
        blank = [blank_similarity(garment) for garment in garments]
        means = {"ssim": with_hints, "ssim_without_hints": without, "ssim_of_blank": blank}
        figures[category] = {name: round(float(np.mean(values)), 3) for name, values in means.items()}
        figures[category]["pictures"] = len(garments)
    return figures


def table(figures: dict[str, dict[str, float]]) -> str:
    """The model card's table."""
    lines = [
        f"| category | held-out pictures | SSIM, {MEASURED_POINTS} hint points | SSIM, no hints | SSIM of a blank picture "
        "| published SSIM |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for category, row in figures.items():
        published = f"{PUBLISHED[category]:.2f}" if category in PUBLISHED else "-"
        lines.append(
            f"| {category} | {row['pictures']:.0f} | {row['ssim']:.3f} | {row['ssim_without_hints']:.3f} "
            f"| {row['ssim_of_blank']:.3f} | {published} |"
        )
    return "\n".join(lines)


def write_card(card: Path, figures: dict[str, dict[str, float]]) -> None:
    """Put the table between the two marks in the card."""
    text = card.read_text()
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{card}: expected the marks {BEGIN} and {END}")
    card.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tiles", type=Path, help="what `prepare` wrote; without it, only the card is written again"
    )
    parser.add_argument("--weights", type=Path, default=Path("weights/trained/sketch_to_garment.safetensors"))
    parser.add_argument(
        "--network", default="deployments.pix2pix_garment.network:build", help="module:function"
    )
    parser.add_argument("--card", type=Path, default=Path("deployments/pix2pix_garment/README.md"))
    parser.add_argument("--sheet", type=Path, default=Path("deployments/pix2pix_garment/held_out.jpg"))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.tiles is not None:
        network = network_builder(asked.network)(load_file(asked.weights))
        held_out = load(asked.tiles, held_out=True)
        with safe_open(asked.weights, "pt") as weights:
            steps = int(weights.metadata()["steps"])
        report = json.loads((asked.tiles / "report.json").read_text())
        figures = {"steps": steps, "categories": measure(network, held_out), "pictures": report}
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
        # The first few by id: nobody chose them.
        rows = [paint(network, g, MEASURED_POINTS) for c in CATEGORIES for g in held_out[c][:SHOWN]]
        sheet = contact_sheet(rows, columns=SHOWN)
        cv2.imwrite(str(asked.sheet), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    write_card(asked.card, json.loads(FIGURES.read_text())["categories"])


if __name__ == "__main__":
    main()
