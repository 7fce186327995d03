"""Write the measured figures into the model card: `figures.json` is the one place where they are kept."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from weights.recipes.sketch_to_garment.dataset import MEASURED_POINTS

FIGURES = Path(__file__).parent / "figures.json"
PUBLISHED = {"top": 0.69, "trousers": 0.73, "skirt": 0.78, "hat": 0.83}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

Figures = Mapping[str, Mapping[str, float]]


def table(figures: Figures) -> str:
    """Markdown, one row per category."""
    lines = [
        f"| category | held-out pictures | SSIM, {MEASURED_POINTS} hint points | SSIM, no hints "
        "| SSIM of a blank picture | published SSIM |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for category, row in figures.items():
        published = f"{PUBLISHED[category]:.2f}" if category in PUBLISHED else "-"
        lines.append(
            f"| {category} | {row['pictures']:.0f} | {row['ssim']:.3f} | {row['ssim_without_hints']:.3f} "
            f"| {row['ssim_of_blank']:.3f} | {published} |"
        )
    return "\n".join(lines)


def write_card(card: Path, figures: Figures) -> None:
    """Put the table between the two marks in the card."""
    text = card.read_text()
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{card}: expected the marks {BEGIN} and {END}")
    card.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", type=Path, default=Path("deployments/pix2pix_garment/README.md"))
    asked = parser.parse_args()
    write_card(asked.card, json.loads(FIGURES.read_text())["categories"])


if __name__ == "__main__":
    main()
