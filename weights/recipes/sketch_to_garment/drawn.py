"""Sketches drawn with straight strokes, as a user might, through the whole path: normalised, painted, shown.

A network that only knows edges of photographs may fail on these; no figure shows it, so look at the sheet.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from weights.recipes.sketch_to_garment.dataset import planes
from weights.recipes.sketch_to_garment.hints import Hints
from weights.recipes.sketch_to_garment.sheet import Row, contact_sheet
from weights.recipes.sketch_to_garment.train import network_builder

Polyline = Sequence[tuple[int, int]]
PAPER = 512
LINES: dict[str, tuple[str, list[Polyline]]] = {
    "T-shirt": (
        "top",
        [
            [(190, 90), (130, 110), (50, 190), (105, 240), (150, 200), (145, 430), (365, 430), (360, 200)],
            [(360, 200), (405, 240), (462, 190), (382, 110), (322, 90), (190, 90)],
            [(190, 90), (210, 118), (256, 130), (302, 118), (322, 90)],
        ],
    ),
    "jumper": (
        "top",
        [
            [(195, 70), (140, 95), (100, 190), (60, 390), (105, 402), (150, 230), (150, 440), (362, 440)],
            [(362, 440), (362, 230), (407, 402), (452, 390), (412, 190), (372, 95), (317, 70), (195, 70)],
            [(195, 70), (225, 100), (287, 100), (317, 70)],
            [(150, 418), (362, 418)],
        ],
    ),
    "trousers": (
        "trousers",
        [
            [(180, 50), (332, 50), (345, 180), (365, 470), (290, 470), (256, 200), (222, 470), (147, 470)],
            [(147, 470), (167, 180), (180, 50)],
            [(178, 75), (334, 75)],
            [(256, 75), (256, 200)],
            [(185, 80), (205, 120), (175, 140)],
            [(327, 80), (307, 120), (337, 140)],
        ],
    ),
    "shorts": (
        "trousers",
        [
            [(150, 130), (362, 130), (400, 380), (275, 385), (256, 260), (237, 385), (112, 380), (150, 130)],
            [(148, 155), (364, 155)],
            [(256, 155), (256, 260)],
        ],
    ),
    "skirt": (
        "skirt",
        [
            [(190, 100), (322, 100), (430, 400), (350, 425), (256, 432), (160, 425), (82, 400), (190, 100)],
            [(182, 125), (330, 125)],
            [(200, 125), (146, 412)],
            [(256, 125), (256, 432)],
            [(312, 125), (366, 412)],
        ],
    ),
    "brimmed hat": (
        "hat",
        [
            [(56, 330), (115, 295), (150, 288), (362, 288), (397, 295), (456, 330), (397, 366), (256, 380)],
            [(256, 380), (115, 366), (56, 330)],
            [(150, 288), (165, 170), (200, 130), (256, 145), (312, 130), (347, 170), (362, 288)],
        ],
    ),
    "beanie": (
        "hat",
        [
            [(100, 330), (110, 220), (180, 120), (256, 95), (332, 120), (402, 220), (412, 330)],
            [(90, 330), (422, 330), (422, 420), (90, 420), (90, 330)],
        ],
    ),
    "dress": (
        "dress",
        [
            [(200, 40), (215, 90), (256, 110), (297, 90), (312, 40), (335, 50), (330, 170), (318, 220)],
            [(318, 220), (400, 460), (112, 460), (194, 220), (182, 170), (177, 50), (200, 40)],
            [(194, 220), (318, 220)],
        ],
    ),
}
COLOURS = ((200, 40, 40), (40, 90, 170), (60, 120, 60), (225, 175, 50), (120, 60, 130), (230, 225, 215))
STROKE: Polyline = ((225, 240), (245, 275), (240, 320))


def draw(lines: Sequence[Polyline], colour: tuple[int, int, int] | None) -> NDArray[np.uint8]:
    """uint8 [512, 512, 3] RGB: lines of one pixel and, where a colour is given, one stroke of six."""
    paper = np.full((PAPER, PAPER, 3), 255, np.uint8)
    for line in lines:
        cv2.polylines(paper, [np.array(line, np.int32)], False, (0, 0, 0), 1, cv2.LINE_AA)
    if colour is not None:
        cv2.polylines(paper, [np.array(STROKE, np.int32)], False, colour, 6, cv2.LINE_AA)
    return paper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("weights/trained/sketch_to_garment.safetensors"))
    parser.add_argument("--network", default="deployments.pix2pix_garment.network:build", help="module:function")
    parser.add_argument("--normalise", default="modiste.sketch:normalise_sketch")
    parser.add_argument("--sheet", type=Path, default=Path("deployments/pix2pix_garment/drawn.jpg"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    network = network_builder(asked.network)(load_file(asked.weights))
    module, _, function = asked.normalise.partition(":")
    normalise = getattr(import_module(module), function)
    rows: list[Row] = []
    for number, (category, lines) in enumerate(LINES.values()):
        for colour in (None, COLOURS[number % 6], COLOURS[(number + 2) % 6]):
            drawing = draw(lines, colour)
            found = normalise(drawing)
            sketch = planes(found.edges, Hints(rgb=found.hint_rgb, mask=found.hint_mask), category)
            with torch.no_grad():
                painted = network(torch.from_numpy(sketch)[None])[0].numpy()
            small = cv2.resize(drawing, (128, 128), interpolation=cv2.INTER_AREA)
            rows.append((sketch, painted, np.asarray(small, np.uint8)))
    sheet = cv2.cvtColor(contact_sheet(rows, columns=3), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(asked.sheet), sheet, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
